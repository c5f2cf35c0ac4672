"""Gather a study's measurements into one table, and fit their slopes."""

from lowrank.analyse.efficiency import collect_profiles
from lowrank.base import cli
from lowrank.base.thesis import read_thesis


def main() -> None:
    parser = cli.parser(__doc__, "thesis", "table", "fits")
    parser.add_argument("--records", nargs="+", required=True)
    arguments = parser.parse_args()
    slopes = read_thesis(arguments.thesis, "efficiency_slopes")
    collect_profiles(arguments.records, slopes, arguments.table, arguments.fits)


if __name__ == "__main__":
    cli.run(main)
