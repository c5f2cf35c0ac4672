"""Render the loss curves of a study's recoveries for one model."""

from lowrank.base import cli
from lowrank.figures import losses


def main() -> None:
    parser = cli.parser(
        __doc__, "label", "subtitle", "csv", "pdf", "png", curves="JSON: series and label of each"
    )
    parser.add_argument("--files", nargs="+", required=True, help="the loss curves, in order")
    losses.render(**vars(parser.parse_args()))


if __name__ == "__main__":
    cli.run(main)
