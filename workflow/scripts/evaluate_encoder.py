"""Score one configuration of an encoder on one benchmark."""

from lowrank import cli
from lowrank.devices import lease
from lowrank.encoder_evaluation import evaluate


def main() -> None:
    names = ("weights", "compressed", "questions", "output", "samples")
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
        )


if __name__ == "__main__":
    cli.run(main)
