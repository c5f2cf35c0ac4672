"""Typeset a table with Typst: PDF and PNG from the same rows that the CSV holds."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import typst

from lowrank.files import atomic_path

_TEMPLATE = """
#set page(width: auto, height: auto, margin: 6pt)
#set document(title: {title}, date: none)
#set text(font: "New Computer Modern", size: 9pt)
#set par(justify: false)
#let columns = {alignment}
#let header = {header}
#let rows = {rows}
#let notes = {notes}
#table(
  columns: columns.map(name => if name == "wide" {{ 23em }} else {{ auto }}),
  align: columns.map(name => if name == "right" {{ right }} else {{ left }}),
  stroke: none,
  inset: (x: 5pt, y: 3pt),
  table.hline(stroke: 0.8pt),
  table.header(..header.map(name => strong(name))),
  table.hline(stroke: 0.4pt),
  ..rows.flatten(),
  table.hline(stroke: 0.8pt),
)
#block(width: {note_width})[
  #set text(size: 7.5pt)
  #for note in notes [#note #linebreak()]
]
"""


def render_table(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    alignment: Sequence[str],
    notes: Sequence[str],
    csv_output: str | Path,
    pdf: str | Path,
    png: str | Path,
    note_width: str = "36em",
) -> None:
    """Write a table as CSV, PDF and PNG.

    Parameters
    ----------
    title
        Title of the PDF document.
    header, rows
        Cells as text.
    alignment
        `left`, `right` or `wide` (left, wrapped) for each column.
    notes
        Lines below the table.
    csv_output, pdf, png
        The files to write; none holds a time stamp.
    note_width
        Width that the notes wrap at.
    """
    with atomic_path(csv_output) as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    source = _TEMPLATE.format(
        title=_literal(title),
        header=_literal(list(header)),
        rows=_literal([list(row) for row in rows]),
        alignment=_literal(list(alignment)),
        notes=_literal(list(notes)),
        note_width=note_width,
    )
    for path in map(Path, (pdf, png)):
        with atomic_path(path) as temporary:
            temporary.write_bytes(typst.compile(source.encode(), format=path.suffix[1:], ppi=300.0))


def _literal(value: str | list) -> str:
    """Write text and lists of text as a Typst literal; nothing in them is markup."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return "(" + "".join(f"{_literal(item)}, " for item in value) + ")"
