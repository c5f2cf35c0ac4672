"""Tokenize the questions of a benchmark's training split, for a recovery."""

from lowrank.assets.training import prepare_training
from lowrank.base import cli


def main() -> None:
    names = ("weights", "questions", "asked", "shown", "output")
    arguments = cli.parser(__doc__, *names).parse_args()
    prepare_training(
        arguments.weights,
        arguments.questions,
        arguments.asked,
        arguments.shown,
        arguments.output,
    )


if __name__ == "__main__":
    cli.run(main)
