"""Typeset by Typst; a table as CSV, PDF and PNG, and booktabs rows for LaTeX."""

from __future__ import annotations

import argparse
import csv
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import typst

from lowrank.base.files import atomic_path, write_text

_TEMPLATE = """
#set page(width: auto, height: auto, margin: 6pt)
#set document(title: {title}, date: none)
#set text(font: "New Computer Modern", size: 9pt)
#set par(justify: false)
#let columns = {alignment}
#let groups = {groups}
#let header = {header}
#let rows = {rows}
#let notes = {notes}
// Text between the marks is mathematics; nothing else is markup.
#let typeset(text) = {{
  for (index, part) in text.split({mark}).enumerate() {{
    if calc.odd(index) {{ eval(part, mode: "math") }} else {{ part }}
  }}
}}
#let grouped((name, span)) = table.cell(
  colspan: span,
  align: center,
  inset: (x: 5pt, top: 3pt, bottom: 0pt),
  if name != "" {{ stack(spacing: 3pt, strong(name), line(length: 100%, stroke: 0.4pt)) }},
)
#table(
  columns: columns.map(name => if name == "wide" {{ 23em }} else {{ auto }}),
  align: columns.map(name => if name == "right" {{ right }} else {{ left }}),
  stroke: none,
  inset: (x: 5pt, y: 3pt),
  table.hline(stroke: 0.8pt),
  table.header(..groups.map(grouped), ..header.map(name => strong(typeset(name)))),
  table.hline(stroke: 0.4pt),
  ..rows.flatten().map(typeset),
  table.hline(stroke: 0.8pt),
)
#block(width: {note_width})[
  #set text(size: 7.5pt)
  #for note in notes [#typeset(note) #linebreak()]
]
"""

OUTPUTS = ("csv", "pdf", "png", "tex")
"""The files of a table, by their options."""

_MARK = "\ue000"  # no text of a user's holds this character, of private use


def mathematics(text: str) -> str:
    """Mark what stands between dollar signs of a text as mathematics.

    For texts of the code's own: in a user's, a dollar is a dollar.
    """
    return text.replace("$", _MARK)


@dataclass(frozen=True)
class Table:
    """What a table says.

    Attributes
    ----------
    title
        Title of the PDF document.
    header, rows
        Cells as text; `mathematics` marks what is more.
    alignment
        `left`, `right` or `wide` (left, wrapped) for each column.
    notes
        Lines below the table, written as cells are.
    note_width
        Width that the notes wrap at.
    groups
        A row above the header: (name, number of columns) from left to right; no name, no rule.
    data
        Lines of the CSV where it holds more than is printed (exact values); else header and rows.

    Raises
    ------
    ValueError
        If its parts differ in the number of columns.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    alignment: Sequence[str]
    notes: Sequence[str] = ()
    note_width: str = "36em"
    groups: Sequence[tuple[str, int]] = ()
    data: Sequence[Sequence[str]] | None = None

    def __post_init__(self) -> None:
        counts = {len(self.header), len(self.alignment), *map(len, self.rows)}
        if self.groups:
            counts.add(sum(columns for _, columns in self.groups))
        if len(counts) != 1 or len({len(line) for line in self.data or ()}) > 1:
            raise ValueError(f"{self.title}: header, rows and alignment differ in their columns")


def parse_and_write(parser: argparse.ArgumentParser, make: Callable[..., Table]) -> None:
    """Make a table from a script's arguments and write it to the four files that they name."""
    for name in OUTPUTS:
        parser.add_argument(f"--{name}", required=True)
    arguments = vars(parser.parse_args())
    files = {name: arguments.pop(name) for name in OUTPUTS}
    write_table(make(**arguments), **files)


def write_table(
    table: Table, csv: str | Path, pdf: str | Path, png: str | Path, tex: str | Path
) -> None:
    """Write a table as CSV, PDF, PNG and LaTeX (for the package booktabs), without a time stamp."""
    write_csv(csv, table.data or [table.header, *table.rows])
    source = _TEMPLATE.format(
        mark=_literal(_MARK),
        title=_literal(table.title),
        groups=_literal([list(group) for group in table.groups]),
        header=_literal(list(table.header)),
        rows=_literal([list(row) for row in table.rows]),
        alignment=_literal(list(table.alignment)),
        notes=_literal([note.replace("'", "’") for note in table.notes]),
        note_width=table.note_width,
    )
    for path in map(Path, (pdf, png)):
        with atomic_path(path) as temporary:
            temporary.write_bytes(
                typst.compile(
                    source.encode(), format=path.suffix[1:], ppi=300.0, ignore_system_fonts=True
                )
            )
    write_text(tex, as_booktabs(table))


def write_csv(output: str | Path, lines: Iterable[Sequence[str]]) -> None:
    """Write lines of cells as CSV, mathematics between dollar signs."""
    with atomic_path(output) as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [cell.replace(_MARK, "$") for cell in line] for line in lines
        )


def compile_document(
    source: str, files: Mapping[str, str | Path], *outputs: str | Path, ppi: float = 200.0
) -> None:
    """Compile a Typst document that reads files, and nothing else, to PDF or PNG.

    Parameters
    ----------
    source
        The document. It is the same bytes whenever it is compiled from the same files.
    files
        From the name that the document uses to the file.
    outputs
        The files to write; their suffix says which form each has.
    ppi
        Pixels an inch of a PNG.

    Raises
    ------
    RuntimeError
        If the document does not compile; the message is Typst's.
    """
    with tempfile.TemporaryDirectory() as workspace:
        folder = Path(workspace)
        for name, path in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        (folder / "document.typ").write_text(source, encoding="utf-8")
        for output in map(Path, outputs):
            made = typst.compile(
                folder / "document.typ",
                root=folder,
                format=output.suffix[1:],
                ppi=ppi,
                ignore_system_fonts=True,
                timestamp=0,
            )
            with atomic_path(output) as temporary:
                temporary.write_bytes(made)


def as_booktabs(table: Table) -> str:
    """Return a table as a LaTeX `tabular` with booktabs rules; needs no other package.

    The notes follow the tabular as small paragraphs: its marks have nothing to refer to otherwise.
    """
    kinds = {"right": "r", "wide": r"p{0.22\linewidth}"}
    columns = "".join(kinds.get(kind, "l") for kind in table.alignment)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    if table.groups:
        spans = [rf"\multicolumn{{{span}}}{{c}}{{{_latex(name)}}}" for name, span in table.groups]
        lines.append(" & ".join(spans) + r" \\")
    lines += [" & ".join(map(_latex, table.header)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(_latex, row)) + r" \\" for row in table.rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        lines += ["", r"{\footnotesize", *(rf"{_latex(note)}\par" for note in table.notes), "}"]
    return "\n".join([*lines, ""])


_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%#_{}$"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "×": r"$\times$",
    "²": "$^2$",
    "–": "--",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "…": r"\ldots{}",
}


def _latex(text: str) -> str:
    """Write a cell for LaTeX; Typst's mathematics becomes LaTeX's."""
    parts = text.split(_MARK)
    for index, part in enumerate(parts):
        if index % 2:
            part = re.sub(r"\b(times|log)(?![a-z])", r"\\\1 ", part)
            part = re.sub(r"\^\(([^)]*)\)|\^(\d+)", lambda m: f"^{{{m[1] or m[2]}}}", part)
            parts[index] = f"${part}$"
        else:
            parts[index] = "".join(_LATEX.get(character, character) for character in part)
    return "".join(parts)


def _literal(value: str | int | list) -> str:
    """Write text, numbers and lists of them as a Typst literal; nothing in them is markup."""
    if isinstance(value, str | int):
        return json.dumps(value, ensure_ascii=False)
    return "(" + "".join(f"{_literal(item)}, " for item in value) + ")"


def difference_percent(value: float, reference: float) -> str:
    """Return the difference between a value and a reference in percent of the reference."""
    text = f"{100 * (value - reference) / reference:+.1f}%"
    return text[1:] if text in ("+0.0%", "-0.0%") else text.replace("-", "−")


def scientific(value: int) -> str:
    """Return a large whole number as mathematics, 2.23 × 10^15, rounded from all its digits."""
    mantissa, exponent = f"{Decimal(value):.2e}".split("e+")
    return mathematics(f"${mantissa} times 10^{exponent}$")
