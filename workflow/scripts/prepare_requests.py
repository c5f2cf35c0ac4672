"""Choose a benchmark's questions, or windows of its text, and tokenize them for one model."""

from lowrank.base import cli


def main() -> None:
    from lowrank.evaluate.preparing import prepare

    names = ("weights", "questions", "asked", "requests")
    arguments = cli.parser(__doc__, *names, benchmark="JSON", settings="JSON").parse_args()
    prepare(
        arguments.weights,
        arguments.questions,
        arguments.benchmark,
        arguments.settings,
        arguments.asked,
        arguments.requests,
    )


if __name__ == "__main__":
    cli.run(main)
