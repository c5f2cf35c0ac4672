"""Render Table 3.1."""

from lowrank.base import cli
from lowrank.tables.table_3_1 import table
from lowrank.tables.typesetting import parse_and_write


def main() -> None:
    parse_and_write(cli.parser(__doc__, "thesis", models="JSON"), table)


if __name__ == "__main__":
    cli.run(main)
