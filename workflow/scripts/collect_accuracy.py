"""Gather a study's scores into one table."""

from lowrank import cli
from lowrank.results import collect_accuracy


def main() -> None:
    parser = cli.parser(__doc__, "output", labels="JSON pairs", benchmarks="JSON pairs")
    parser.add_argument("--results", nargs="+", required=True)
    arguments = parser.parse_args()
    collect_accuracy(
        dict(arguments.labels), dict(arguments.benchmarks), arguments.results, arguments.output
    )


if __name__ == "__main__":
    cli.run(main)
