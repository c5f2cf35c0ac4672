"""Measure one configuration beside the dense model."""

from lowrank import cli
from lowrank.devices import lease


def main() -> None:
    parser = cli.parser(__doc__, "weights", "compressed", "output", labels="JSON", settings="JSON")
    parser.add_argument("--requests", nargs="*", default=[])
    arguments = parser.parse_args()
    with lease(arguments.settings["device"]):
        from lowrank.profiling.job import profile

        requests = dict(zip(arguments.labels, arguments.requests, strict=True))
        profile(
            arguments.weights, arguments.compressed, requests, arguments.settings, arguments.output
        )


if __name__ == "__main__":
    cli.run(main)
