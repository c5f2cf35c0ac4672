"""Measure the memory of a step of QLoRA over one configuration and over the dense model."""

from lowrank.base import cli
from lowrank.running.devices import lease


def main() -> None:
    parser = cli.parser(__doc__, "weights", "compressed", "output", settings="JSON")
    arguments = parser.parse_args()
    with lease(arguments.settings["device"], 1):
        from lowrank.profile.training_memory import profile_training

        profile_training(**vars(arguments))


if __name__ == "__main__":
    cli.run(main)
