"""The ledger of claims as a table."""

from __future__ import annotations

import csv as csv_module
from pathlib import Path

from lowrank.claims.ledger import HEADER, SUMMARY_HEADER, as_rows, as_summary
from lowrank.files import atomic_path, read_json
from lowrank.tables.typesetting import render_table


def render(
    ledger: str | Path,
    csv: str | Path,
    verdicts: str | Path,
    pdf: str | Path,
    png: str | Path,
    tex: str | Path,
) -> None:
    """Write the ledger as CSV, PDF, PNG and LaTeX, and one line a claim as CSV.

    Parameters
    ----------
    ledger
        The JSON of `lowrank.claims.ledger.judge_claims`.
    csv, verdicts, pdf, png, tex
        The files to write.
    """
    content = read_json(ledger)
    counts = ", ".join(f"{number} {verdict}" for verdict, number in content["counts"].items())
    allowed = [f"{row['id']} allowed: {row['allowed']}" for row in content["claims"]]
    notes = [
        f"{counts}. A verdict holds for the model and device that it names.",
        content["method"],
        *allowed,
    ]
    alignment = ("left", *["wide"] * 10)
    render_table(
        "Claims", HEADER, as_rows(content), alignment, notes, csv, pdf, png, tex, note_width="100em"
    )
    with atomic_path(verdicts) as temporary, open(temporary, "w", newline="") as file:
        writer = csv_module.writer(file, lineterminator="\n")
        writer.writerows([SUMMARY_HEADER, *as_summary(content)])
