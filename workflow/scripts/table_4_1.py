"""Render Table 4.1."""

from lowrank.base import cli
from lowrank.tables.table_4_1 import render


def main() -> None:
    parser = cli.parser(__doc__, "thesis", "csv", "pdf", "png", "tex", benchmarks="JSON")
    parser.add_argument("--manifests", nargs="*", default=[])
    arguments = parser.parse_args()
    render(
        arguments.benchmarks,
        arguments.manifests,
        arguments.thesis,
        arguments.csv,
        arguments.pdf,
        arguments.png,
        arguments.tex,
    )


if __name__ == "__main__":
    cli.run(main)
