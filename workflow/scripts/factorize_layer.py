"""Factorize the decomposable tensors of one layer."""

from lowrank.base import cli
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.running.devices import lease
from lowrank.space.architecture import Architecture


def main() -> None:
    names = ("weights", "layer", "rank", "method", "device", "output")
    parser = cli.parser(__doc__, *names, architecture="JSON")
    parser.add_argument("--gpus", type=int, default=1, help="how many to lease on `cuda`")
    arguments = parser.parse_args()
    with lease(arguments.device, arguments.gpus):
        factorize_layer(
            arguments.weights,
            Architecture.from_config(arguments.architecture),
            int(arguments.layer),
            int(arguments.rank),
            arguments.method,
            arguments.output,
            arguments.device,
        )


if __name__ == "__main__":
    cli.run(main)
