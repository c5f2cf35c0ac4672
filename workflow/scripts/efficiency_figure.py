"""Render Figure 4.2, 4.3 or 4.4 for one model."""

from lowrank.base import cli
from lowrank.figures.efficiency import render


def main() -> None:
    names = ("data", "fits", "metric", "label", "csv", "pdf", "png")
    render(**vars(cli.parser(__doc__, *names).parse_args()))


if __name__ == "__main__":
    cli.run(main)
