"""Render Figure 4.1 for one model."""

from lowrank import cli
from lowrank.figures.figure_4_1 import render


def main() -> None:
    arguments = cli.parser(__doc__, "data", "label", "subtitle", "csv", "pdf", "png").parse_args()
    render(
        arguments.data,
        arguments.label,
        arguments.subtitle,
        arguments.csv,
        arguments.pdf,
        arguments.png,
    )


if __name__ == "__main__":
    cli.run(main)
