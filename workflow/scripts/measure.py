"""Measure one configuration beside the dense model."""

from lowrank.base import cli
from lowrank.running.devices import lease


def main() -> None:
    parser = cli.parser(__doc__, "weights", "compressed", "output", labels="JSON", settings="JSON")
    parser.add_argument("--requests", nargs="*", default=[])
    parser.add_argument("--questions", nargs="*", default=[])
    arguments = parser.parse_args()
    settings = arguments.settings
    with lease(settings["device"], settings["gpus"]):
        from lowrank.profile.job import profile

        benchmarks = zip(arguments.labels, arguments.requests, arguments.questions, strict=True)
        profile(arguments.weights, arguments.compressed, benchmarks, settings, arguments.output)


if __name__ == "__main__":
    cli.run(main)
