"""Gather the numbers that the report's text states."""

from lowrank import cli
from lowrank.paper.facts import gather_facts


def main() -> None:
    arguments = cli.parser(__doc__, "output", models="JSON", tables="JSON").parse_args()
    gather_facts(arguments.models, arguments.tables, arguments.output)


if __name__ == "__main__":
    cli.run(main)
