"""Render Table 4.1."""

from lowrank.base import cli
from lowrank.tables.table_4_1 import table
from lowrank.tables.typesetting import parse_and_write


def main() -> None:
    parser = cli.parser(__doc__, "thesis", benchmarks="JSON")
    parser.add_argument("--manifests", nargs="*", default=[])
    parse_and_write(parser, table)


if __name__ == "__main__":
    cli.run(main)
