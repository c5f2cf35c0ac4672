"""Write a model's layers by their block influence, as the moments of a calibration set have it."""

from lowrank.base import cli
from lowrank.decompose.influence import write_influence
from lowrank.space.architecture import Architecture


def main() -> None:
    names = ("model", "moments", "calibration", "base-manifest", "output")
    arguments = cli.parser(__doc__, *names, architecture="JSON").parse_args()
    write_influence(
        arguments.moments,
        Architecture.from_config(arguments.architecture).layers,
        arguments.model,
        arguments.calibration,
        arguments.base_manifest,
        arguments.output,
    )


if __name__ == "__main__":
    cli.run(main)
