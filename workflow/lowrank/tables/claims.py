"""The ledger of claims as a table."""

from __future__ import annotations

from pathlib import Path

from lowrank.claims.ledger import as_rows
from lowrank.files import read_json
from lowrank.tables.typesetting import render_table

HEADER = ("", "Claim", "Test", "Allowed", "Measured", "Test says", "Verdict")


def render(
    ledger: str | Path, csv: str | Path, pdf: str | Path, png: str | Path, tex: str | Path
) -> None:
    """Write the ledger as CSV, PDF, PNG and LaTeX.

    Parameters
    ----------
    ledger
        The JSON of `lowrank.claims.ledger.judge_claims`.
    csv, pdf, png, tex
        The files to write.
    """
    content = read_json(ledger)
    counts = ", ".join(f"{number} {verdict}" for verdict, number in content["counts"].items())
    notes = [
        f"{counts}. Intervals are 95%; a verdict holds for the model and device that it names.",
    ]
    alignment = ("left", "wide", "wide", "left", "wide", "left", "wide")
    render_table("Claims", HEADER, as_rows(content), alignment, notes, csv, pdf, png, tex)
