"""Render a figure that is drawn from no data."""

from importlib import import_module

from lowrank.base import cli


def main() -> None:
    arguments = vars(cli.parser(__doc__, "figure", "pdf", "png").parse_args())
    import_module(f"lowrank.figures.{arguments.pop('figure')}").render(**arguments)


if __name__ == "__main__":
    cli.run(main)
