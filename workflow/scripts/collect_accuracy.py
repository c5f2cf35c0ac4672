"""Gather a study's scores into one table."""

from lowrank.analyse.accuracy import collect_accuracy
from lowrank.base import cli


def main() -> None:
    parser = cli.parser(__doc__, "folder", "output", rows="JSON", benchmarks="JSON pairs")
    parser.add_argument("--baselines", nargs="*", default=[], help="results of baselines")
    arguments = parser.parse_args()
    collect_accuracy(
        arguments.rows,
        dict(arguments.benchmarks),
        arguments.folder,
        arguments.output,
        arguments.baselines,
    )


if __name__ == "__main__":
    cli.run(main)
