"""Multiply a configuration out into a dense Hugging Face directory."""

from lowrank.base import cli
from lowrank.decompose.export import export_dense


def main() -> None:
    arguments = cli.parser(__doc__, "weights", "compressed", "dtype", "output").parse_args()
    export_dense(arguments.weights, arguments.compressed, arguments.dtype, arguments.output)


if __name__ == "__main__":
    cli.run(main)
