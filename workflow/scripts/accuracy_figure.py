"""Render a figure of one study for one model."""

from importlib import import_module

from lowrank.base import cli


def main() -> None:
    names = ("figure", "data", "label", "subtitle", "csv", "pdf", "png")
    parser = cli.parser(__doc__, *names)
    parser.add_argument("--authors", nargs="?", help="their table, where the figure shows it")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    import_module(given.pop("figure")).render(**given)


if __name__ == "__main__":
    cli.run(main)
