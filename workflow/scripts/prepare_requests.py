"""Choose a benchmark's questions and tokenize lm-eval's requests for one model."""

from lowrank.base import cli


def main() -> None:
    from lowrank.evaluate.requests import prepare_requests

    names = ("weights", "questions", "asked", "requests")
    arguments = cli.parser(__doc__, *names, benchmark="JSON", settings="JSON").parse_args()
    prepare_requests(
        arguments.weights,
        arguments.questions,
        arguments.benchmark,
        arguments.settings,
        arguments.asked,
        arguments.requests,
    )


if __name__ == "__main__":
    cli.run(main)
