"""Factorize the decomposable tensors of one layer."""

from pathlib import Path

from lowrank.base import cli
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.moments import moments_file
from lowrank.running.devices import lease
from lowrank.space.architecture import Architecture


def main() -> None:
    names = ("weights", "layer", "rank", "method", "device", "output")
    parser = cli.parser(__doc__, *names, architecture="JSON")
    parser.add_argument("--moments", nargs="*", default=[], help="the folder that the method reads")
    parser.add_argument("--gpus", type=int, default=1, help="how many to lease on `cuda`")
    arguments = parser.parse_args()
    layer = int(arguments.layer)
    moments = Path(arguments.moments[0], moments_file(layer)) if arguments.moments else None
    with lease(arguments.device, arguments.gpus):
        factorize_layer(
            arguments.weights,
            Architecture.from_config(arguments.architecture),
            layer,
            int(arguments.rank),
            arguments.method,
            arguments.output,
            arguments.device,
            moments,
        )


if __name__ == "__main__":
    cli.run(main)
