"""Pack a run as a research object crate; unpacked in a clone, nothing reruns."""

from pathlib import Path

from lowrank.archive.packing import pack
from lowrank.base import cli


def main() -> None:
    arguments = cli.parser(__doc__, "results", "figures", "output").parse_args()
    count = pack(".", arguments.results, arguments.figures, arguments.output)
    size = Path(arguments.output).stat().st_size
    print(f"{arguments.output}: {count} files, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    cli.run(main)
