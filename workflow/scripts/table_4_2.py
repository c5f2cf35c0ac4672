"""Render Table 4.2 for one model."""

from lowrank import cli
from lowrank.table_4_2 import render


def main() -> None:
    names = ("label", "depth", "csv", "pdf", "png")
    arguments = cli.parser(__doc__, *names, architecture="JSON", rows="JSON").parse_args()
    render(
        arguments.label,
        arguments.architecture,
        arguments.rows,
        int(arguments.depth) != arguments.architecture["num_hidden_layers"],
        arguments.csv,
        arguments.pdf,
        arguments.png,
    )


if __name__ == "__main__":
    cli.run(main)
