"""Score one configuration on one benchmark."""

from lowrank import cli
from lowrank.devices import lease
from lowrank.evaluation import evaluate


def main() -> None:
    names = ("weights", "compressed", "questions", "output", "samples", "scores")
    arguments = cli.parser(__doc__, *names, benchmark="JSON", settings="JSON").parse_args()
    with lease(arguments.settings["device"]):
        evaluate(
            arguments.weights,
            arguments.compressed,
            arguments.questions,
            arguments.benchmark,
            arguments.settings,
            arguments.output,
            arguments.samples,
            arguments.scores,
        )


if __name__ == "__main__":
    cli.run(main)
