"""Render Table 1.1."""

from lowrank.base import cli
from lowrank.tables.table_1_1 import render


def main() -> None:
    names = ("thesis", "csv", "pdf", "png", "tex")
    render(**vars(cli.parser(__doc__, *names, models="JSON").parse_args()))


if __name__ == "__main__":
    cli.run(main)
