"""Render Table 4.2 for one model."""

from lowrank.base import cli
from lowrank.tables.table_4_2 import table
from lowrank.tables.typesetting import parse_and_write


def main() -> None:
    options = {"architecture": "JSON", "rows": "JSON", "carried-over": "JSON"}
    parse_and_write(cli.parser(__doc__, "label", "subtitle", **options), table)


if __name__ == "__main__":
    cli.run(main)
