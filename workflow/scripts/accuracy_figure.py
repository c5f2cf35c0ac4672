"""Render a figure of one study for one model."""

from importlib import import_module

from lowrank.base import cli


def main() -> None:
    names = ("figure", "data", "label", "subtitle", "csv", "pdf", "png")
    arguments = vars(cli.parser(__doc__, *names).parse_args())
    import_module(f"lowrank.figures.{arguments.pop('figure')}").render(**arguments)


if __name__ == "__main__":
    cli.run(main)
