"""Render Table 4.2 for one model."""

import json

from lowrank.base import cli
from lowrank.tables.table_4_2 import render


def main() -> None:
    names = ("label", "subtitle", "csv", "pdf", "png", "tex")
    parser = cli.parser(__doc__, *names, architecture="JSON", rows="JSON")
    parser.add_argument("--carried-over", type=json.loads, required=True)
    arguments = parser.parse_args()
    render(
        arguments.label,
        arguments.subtitle,
        arguments.architecture,
        arguments.rows,
        arguments.carried_over,
        arguments.csv,
        arguments.pdf,
        arguments.png,
        arguments.tex,
    )


if __name__ == "__main__":
    cli.run(main)
