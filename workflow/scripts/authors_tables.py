"""Set the authors' published figures as the tables of a study."""

from lowrank.analyse.authors import authors_tables
from lowrank.base import cli
from lowrank.base.thesis import read_thesis


def main() -> None:
    names = ("folder", "thesis", "scores", "table", "fits")
    texts = dict.fromkeys(("architecture", "labels", "benchmarks"), "JSON")
    arguments = vars(cli.parser(__doc__, *names, **texts).parse_args())
    slopes = read_thesis(arguments.pop("thesis"), "efficiency_slopes")
    authors_tables(**arguments, thesis_slopes=slopes)


if __name__ == "__main__":
    cli.run(main)
