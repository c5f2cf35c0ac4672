"""Typeset the ledger of claims."""

from lowrank import cli
from lowrank.tables.claims import render


def main() -> None:
    render(**vars(cli.parser(__doc__, "ledger", "csv", "pdf", "png", "tex").parse_args()))


if __name__ == "__main__":
    cli.run(main)
