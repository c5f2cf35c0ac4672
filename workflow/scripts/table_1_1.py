"""Render Table 1.1."""

from lowrank import cli
from lowrank.tables.table_1_1 import render


def main() -> None:
    arguments = cli.parser(__doc__, "thesis", "csv", "pdf", "png", models="JSON").parse_args()
    render(arguments.models, arguments.thesis, arguments.csv, arguments.pdf, arguments.png)


if __name__ == "__main__":
    cli.run(main)
