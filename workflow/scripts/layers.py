"""Draw the floors of the library: each package with the packages that it imports."""

from lowrank.base import cli
from lowrank.running.imports import drawing


def main() -> None:
    print(drawing(cli.parser(__doc__, "contract").parse_args().contract))


if __name__ == "__main__":
    cli.run(main)
