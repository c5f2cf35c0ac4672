"""The ledger of claims as a table."""

from __future__ import annotations

import csv as csv_module
from pathlib import Path

from lowrank.claims.ledger import as_rows
from lowrank.files import atomic_path, read_json
from lowrank.tables.typesetting import render_table

HEADER = ("", "Claim", "Test", "Allowed", "Measured", "Test says", "Verdict")


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
    notes = [
        f"{counts}. Intervals are 95%; a verdict holds for the model and device that it names.",
    ]
    alignment = ("left", "wide", "wide", "left", "wide", "left", "wide")
    render_table("Claims", HEADER, as_rows(content), alignment, notes, csv, pdf, png, tex)
    with atomic_path(verdicts) as temporary, open(temporary, "w", newline="") as file:
        writer = csv_module.writer(file, lineterminator="\n")
        writer.writerow(("", "Claim", "Shown by", "Verdict"))
        for row in content["claims"]:
            names = [name.replace("_", " ", 1).replace("_", ".") for name in row["figures"]]
            writer.writerow((row["id"], row["claim"], ", ".join(names), row["statement"]))
