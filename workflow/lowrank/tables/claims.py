"""The ledger of claims: one page at a glance, and every test as a table."""

from __future__ import annotations

from pathlib import Path

from lowrank.base.files import read_json, write_text
from lowrank.claims.rendering import TESTS_HEADER, rows_of_tests, rows_of_verdicts
from lowrank.tables.typesetting import Table, as_booktabs, compile_document, write_csv

_PAGE = """#import "verdicts.typ": verdict-page
#verdict-page(json("claims.json"))
"""

_SHOWN = ("", "Claim", "Scope", "Verdict", "Test", "Expected (allowed)", "Measured", "Test says")
"""The columns of the LaTeX table: those of `TESTS_HEADER` that a page has room for."""

_PPI = 160.0
"""Pixels an inch of the picture: so much text in more of them is too large to be kept."""

_WIDE = ("Claim", "Verdict", "Test", "Measured")


def render(
    ledger: str | Path,
    template: str | Path,
    csv: str | Path,
    verdicts: str | Path,
    pdf: str | Path,
    png: str | Path,
    tex: str | Path,
) -> None:
    """Write the verdicts as a page and as CSV, and every test as CSV and LaTeX.

    Parameters
    ----------
    ledger
        The JSON of `lowrank.claims.ledger.judge_claims`.
    template
        The Typst source that lays the verdicts out, `paper/verdicts.typ`.
    csv, tex
        The files to write for the tests, a row each.
    verdicts, pdf, png
        The files to write for the verdicts, a row a claim.
    """
    content = read_json(ledger)
    compile_document(_PAGE, {"verdicts.typ": template, "claims.json": ledger}, pdf, png, ppi=_PPI)
    write_csv(verdicts, rows_of_verdicts(content))
    rows = rows_of_tests(content)
    write_csv(csv, [TESTS_HEADER, *rows])
    places = [TESTS_HEADER.index(name) for name in _SHOWN]
    shown = [[row[place] for place in places] for row in rows]
    alignment = ["wide" if name in _WIDE else "left" for name in _SHOWN]
    notes = [f"{row['id']} allowed: {row['allowed']}" for row in content["claims"]]
    tests = Table("Claims", _SHOWN, shown, alignment, [content["method"], *notes])
    write_text(tex, as_booktabs(tests))
