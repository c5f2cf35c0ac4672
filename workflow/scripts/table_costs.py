"""Render the table of what compressing takes, for one study of one model."""

from lowrank.base import cli
from lowrank.tables.costs import table
from lowrank.tables.typesetting import parse_and_write


def main() -> None:
    parser = cli.parser(__doc__, "label", "subtitle", "device", "threads", rows="JSON")
    parser.add_argument("--manifests", nargs="+", required=True)
    parse_and_write(parser, table)


if __name__ == "__main__":
    cli.run(main)
