"""Gather the numbers that the report's text states."""

from lowrank.base import cli
from lowrank.paper.facts import gather_facts


def main() -> None:
    names = ("thesis", "published", "output")
    parser = cli.parser(__doc__, *names, models="JSON", tables="JSON", run="JSON")
    gather_facts(**vars(parser.parse_args()))


if __name__ == "__main__":
    cli.run(main)
