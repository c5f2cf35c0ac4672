"""Render the table of what a study's configurations take in bytes and in time."""

from lowrank.base import cli
from lowrank.tables.sizes import table
from lowrank.tables.typesetting import parse_and_write


def main() -> None:
    parser = cli.parser(__doc__, "label", "subtitle", "dtype", rows="JSON")
    parser.add_argument("--manifests", nargs="+", required=True, help="one a row")
    parser.add_argument("--profiles", nargs="*", default=[], help="one where it is measured")
    parse_and_write(parser, table)


if __name__ == "__main__":
    cli.run(main)
