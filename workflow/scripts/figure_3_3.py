"""Render Figure 3.3: the decomposable tensors of a layer."""

from lowrank.base import cli
from lowrank.figures.figure_3_3 import render


def main() -> None:
    arguments = cli.parser(__doc__, "pdf", "png").parse_args()
    render(arguments.pdf, arguments.png)


if __name__ == "__main__":
    cli.run(main)
