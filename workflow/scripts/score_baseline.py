"""Score what answers a benchmark's questions without a model."""

from lowrank.base import cli


def main() -> None:
    from lowrank.evaluate.baselines import score_baseline

    names = ("questions", "output")
    arguments = cli.parser(__doc__, *names, benchmark="JSON", settings="JSON").parse_args()
    score_baseline(arguments.questions, arguments.benchmark, arguments.settings, arguments.output)


if __name__ == "__main__":
    cli.run(main)
