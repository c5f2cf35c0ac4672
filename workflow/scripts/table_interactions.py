"""Render the table of what compression and quantization cost, alone and together."""

from lowrank.base import cli
from lowrank.tables.interactions import table
from lowrank.tables.typesetting import parse_and_write


def main() -> None:
    parse_and_write(
        cli.parser(__doc__, "label", "subtitle", "folder", rows="JSON", benchmarks="JSON"), table
    )


if __name__ == "__main__":
    cli.run(main)
