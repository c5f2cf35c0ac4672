"""Gather a study's scores into one table."""

from lowrank.analyse.accuracy import collect_accuracy
from lowrank.base import cli


def main() -> None:
    parser = cli.parser(__doc__, "folder", "output", rows="JSON", benchmarks="JSON pairs")
    arguments = parser.parse_args()
    collect_accuracy(arguments.rows, dict(arguments.benchmarks), arguments.folder, arguments.output)


if __name__ == "__main__":
    cli.run(main)
