"""Render Figure 1.1: Tucker decomposition."""

from lowrank.base import cli
from lowrank.figures.figure_1_1 import render


def main() -> None:
    arguments = cli.parser(__doc__, "pdf", "png").parse_args()
    render(arguments.pdf, arguments.png)


if __name__ == "__main__":
    cli.run(main)
