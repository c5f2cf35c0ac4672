"""Store the weights of a compressed model in few bits."""

from lowrank.base import cli
from lowrank.quantize.stored import quantize_compressed
from lowrank.running.devices import lease


def main() -> None:
    names = ("weights", "compressed", "name", "dtype", "device", "output")
    parser = cli.parser(__doc__, *names, settings="JSON: the quantization's entry")
    parser.add_argument("--gpus", type=int, default=1, help="how many to lease on `cuda`")
    arguments = parser.parse_args()
    with lease(arguments.device, arguments.gpus):
        quantize_compressed(
            arguments.weights,
            arguments.compressed,
            arguments.name,
            arguments.settings,
            arguments.output,
            arguments.dtype,
            arguments.device,
        )


if __name__ == "__main__":
    cli.run(main)
