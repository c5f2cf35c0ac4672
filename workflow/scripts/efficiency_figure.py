"""Render Figure 4.2, 4.3 or 4.4 for one model."""

from lowrank.base import cli
from lowrank.figures.efficiency import render


def main() -> None:
    names = ("data", "fits", "metric", "label", "csv", "pdf", "png")
    parser = cli.parser(__doc__, *names)
    parser.add_argument("--authors", nargs="?", help="their table, where the figure shows it")
    render(**vars(parser.parse_args()))


if __name__ == "__main__":
    cli.run(main)
