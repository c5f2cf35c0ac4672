"""Render the table of what a study's configurations take in bytes."""

from lowrank.base import cli
from lowrank.tables.sizes import table
from lowrank.tables.typesetting import parse_and_write


def main() -> None:
    parser = cli.parser(__doc__, "label", "subtitle", "dtype", rows="JSON")
    parser.add_argument("--manifests", nargs="+", required=True, help="one a row")
    parse_and_write(parser, table)


if __name__ == "__main__":
    cli.run(main)
