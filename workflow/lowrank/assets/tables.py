"""Tables of questions in the forms that people have them in: Parquet, Arrow, JSON lines, CSV."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from lowrank.base.errors import LowrankError, one_line
from lowrank.base.files import require_content


def read_table(path: str | Path) -> pa.Table:
    """Read a table whose form its name says; a name that says none is taken for Parquet.

    Parameters
    ----------
    path
        A file. `.jsonl`, `.ndjson` and `.json` hold an object a line, or a list of them; `.csv` and
        `.tsv` begin with the names of their columns; `.gz` after these is compressed.

    Raises
    ------
    LowrankError
        If it is not the file itself, cannot be read in that form, or has no rows.
    """
    path = Path(path)
    require_content(path)
    form = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    is_text = form in _TEXTS
    try:
        if is_text:
            data = path.read_bytes()
            data = gzip.decompress(data) if path.name.lower().endswith(".gz") else data
            table = rows_to_table(_TEXTS[form](data.decode("utf-8-sig")))
        elif form == "arrow":
            table = read_arrow(path)
        else:
            table = pyarrow.parquet.read_table(path)
        table = _without_views(table)
    except LowrankError as error:
        raise LowrankError(f"{path}: {error}") from None
    except (OSError, EOFError, ValueError, RecursionError, csv.Error, pa.ArrowException) as error:
        name = form if is_text or form == "arrow" else "Parquet"
        raise LowrankError(
            f"{path} cannot be read as {name} ({one_line(error)[:200]}); Parquet, Arrow's streams "
            "(.arrow), JSON lines (.jsonl) and CSV (.csv) are read, after the name of the file"
        ) from None
    if not len(table):
        raise LowrankError(f"{path} has no rows")
    return table


def _without_views(table: pa.Table) -> pa.Table:
    """Return a table with plain text in place of views of it, which not all that follows knows."""
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    fields = [field.with_type(plain.get(field.type, field.type)) for field in table.schema]
    return table.cast(pa.schema(fields, table.schema.metadata))


def read_arrow(path: Path) -> pa.Table:
    """Return a file of Arrow's stream format."""
    with pa.memory_map(str(path)) as data:
        return pa.ipc.open_stream(data).read_all()


def rows_to_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows as a table with the columns of all of them; what a row lacks is null.

    Raises
    ------
    LowrankError
        If a column holds values of several kinds.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {}
    for name in names:
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowException, OverflowError, TypeError) as error:
            raise LowrankError(
                f"the column {name!r} holds values of several kinds ({one_line(error)[:100]})"
            ) from None
    return pa.table(columns)


def _json_rows(text: str) -> list[dict[str, Any]]:
    if text.lstrip().startswith("["):
        rows = json.loads(text)
    else:
        rows = []
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except (ValueError, RecursionError) as error:
                    raise LowrankError(f"line {number} is not JSON ({error})") from None
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise LowrankError(f"row {number} is no object with the columns as its keys")
    return rows


def _separated_rows(text: str, delimiter: str) -> list[dict[str, Any]]:
    """Return rows of text; a column of whole numbers alone, such as labels, is numbers."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names = next(lines, [])
    if len(set(names)) != len(names) or not all(names):
        raise LowrankError(
            f"its first line is no list of names of columns: {names}; pandas writes an index "
            "without a name, unless it is told `to_csv(index=False)`"
        )
    rows = []
    for row in lines:
        if row and len(row) != len(names):
            raise LowrankError(f"line {lines.line_num} has {len(row)} of {len(names)} columns")
        if row:
            rows.append(row)
    columns = [[row[place] for row in rows] for place in range(len(names))]
    read = [[int(value) for value in own] if _are_numbers(own) else own for own in columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*read, strict=True)]


def _are_numbers(values: list[str]) -> bool:
    return all(re.fullmatch("0|-?[1-9][0-9]{0,17}", value) for value in values)


csv.field_size_limit(sys.maxsize)  # a page of text may be longer than its 128 KiB

_TEXTS: Mapping[str, Callable[[str], list[dict[str, Any]]]] = {
    **dict.fromkeys(("jsonl", "ndjson", "json"), _json_rows),
    "csv": lambda text: _separated_rows(text, ","),
    "tsv": lambda text: _separated_rows(text, "\t"),
}
