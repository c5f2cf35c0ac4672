"""Typeset the ledger of claims: the verdicts on one page, and a table of the tests."""

from lowrank.base import cli
from lowrank.tables.claims import render


def main() -> None:
    names = ("ledger", "template", "csv", "verdicts", "pdf", "png", "tex")
    render(**vars(cli.parser(__doc__, *names).parse_args()))


if __name__ == "__main__":
    cli.run(main)
