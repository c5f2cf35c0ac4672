"""Render Figure 3.1: the axes of a decomposition configuration."""

from lowrank.base import cli
from lowrank.figures.figure_3_1 import render


def main() -> None:
    arguments = cli.parser(__doc__, "pdf", "png").parse_args()
    render(arguments.pdf, arguments.png)


if __name__ == "__main__":
    cli.run(main)
