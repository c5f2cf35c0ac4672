"""The ledger of claims as a table."""

from __future__ import annotations

import csv as csv_module
from collections.abc import Sequence
from pathlib import Path

from lowrank.base.files import atomic_path, read_json
from lowrank.claims.ledger import HEADER, SUMMARY_HEADER, as_rows, as_summary
from lowrank.tables.typesetting import render_table

PRINTED = (
    "",
    "Claim and verdict",
    "Test",
    "Expected (allowed)",
    "Measured",
    "Test says (where; flags)",
    "Shown by; computed from",
)
"""The columns on a page: those of `HEADER`, some of them in one."""


def _printed(row: Sequence[str]) -> list[str]:
    cells = dict(zip(HEADER, row, strict=True))
    doubts = f"flags: {cells['Flags']}" if cells["Flags"] else ""
    where = "; ".join(filter(None, (cells["Holds for"], doubts)))
    return [
        cells[""],
        f"{cells['Claim']} Verdict {cells['Verdict']}" if cells["Claim"] else "",
        *(cells[name] for name in ("Test", "Expected (allowed)", "Measured")),
        cells["Test says"] + (f" ({where})" if where else ""),
        "; ".join(filter(None, (cells["Shown by"], cells["Computed from"]))),
    ]


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
    rows = as_rows(content)
    render_table(
        "Claims",
        PRINTED,
        [_printed(row) for row in rows],
        ("left", "wide", "wide", "left", "wide", "wide", "wide"),
        notes,
        csv,
        pdf,
        png,
        tex,
        note_width="100em",
        data=[HEADER, *rows],
    )
    with atomic_path(verdicts) as temporary, open(temporary, "w", newline="") as file:
        writer = csv_module.writer(file, lineterminator="\n")
        writer.writerows([SUMMARY_HEADER, *as_summary(content)])
