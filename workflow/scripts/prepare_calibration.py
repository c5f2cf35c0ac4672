"""Draw windows of a text as the tokens of one model."""

from lowrank.base import cli


def main() -> None:
    from lowrank.assets.calibration import prepare_calibration

    arguments = cli.parser(__doc__, "weights", "text", "output", settings="JSON").parse_args()
    prepare_calibration(
        arguments.weights, arguments.text, output=arguments.output, **arguments.settings
    )


if __name__ == "__main__":
    cli.run(main)
