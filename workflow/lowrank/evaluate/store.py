"""The store of answers: what a configuration said to a prompt is computed once and kept.

An answer belongs to what shapes it: the model, the decomposition, the number type, the device, and
the code that computes answers. Each of these identities has a folder, and an answer's key in
it is a digest of the prompt's tokens. Answers do not change, so a folder only grows. Its files are
Parquet tables, each written whole under a temporary name, and named by the checksum of its content.
So a file is complete and correct, or it is known not to be, and is removed: what it held is asked
again. Jobs on one machine or on several may write to one folder, since no two write to one file.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path, write_json
from lowrank.base.provenance import LIBRARY, versions
from lowrank.evaluate.keys import digest

logger = logging.getLogger(__name__)

Answer = tuple[float, bool] | str
"""The log-likelihood of a continuation (natural logarithm) and whether it is the greedy one; or a
text: what was generated, or an encoder's answer as JSON."""

ANSWERS = pa.schema(
    [
        ("key", pa.binary(16)),
        ("log_likelihood", pa.float64()),
        ("greedy", pa.bool_()),
        ("text", pa.string()),
    ]
)
"""One answer a row; a log-likelihood has no text, and a text has nothing else."""

ANSWERING = (
    "assets/model_classes.py",
    "assets/tokenizer.py",
    "decompose/linear.py",
    "decompose/loading.py",
    "evaluate/asking.py",
    "evaluate/finite.py",
    "evaluate/packed",
    "evaluate/stock.py",
    "quantize/bits.py",
    "quantize/blockwise.py",
    "quantize/entry.py",
    "quantize/places.py",
    "quantize/quantizing.py",
    "quantize/spqr.py",
    "quantize/stored.py",
    "running/growing_cache.py",
    "running/soft_cap.py",
)
"""The code that computes answers, below the library. An edit of it asks everything again."""

_COST = b"lowrank"


class AnswerStore:
    """The answers of one identity.

    Parameters
    ----------
    folder
        Where the answers of a configuration are, whatever their identity.
    identity
        What shapes an answer beside the prompt, as JSON values.

    Attributes
    ----------
    folder
        That of the identity.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]) -> None:
        self._identity = dict(identity)
        self.folder = Path(folder) / digest(self._identity).hex()[:16]
        self._new: dict[bytes, Answer] = {}

    @functools.cached_property
    def _known(self) -> dict[bytes, Answer]:
        return {key: answer for table in _tables(self.folder) for key, answer in _read(table)}

    def __contains__(self, key: bytes) -> bool:
        return key in self._known

    def __getitem__(self, key: bytes) -> Answer:
        return self._known[key]

    def add(self, answers: Mapping[bytes, Answer]) -> None:
        """Take answers; `keep` writes them. What is known already stays as it is."""
        new = {key: answer for key, answer in answers.items() if key not in self._known}
        self._known.update(new)
        self._new.update(new)

    def keep(self, **cost: Any) -> None:
        """Write what was added since the last time, as one file.

        A disk that takes no more costs the store, not the job.

        Parameters
        ----------
        **cost
            What the answers took: see `asking_costs`.
        """
        if not self._new:
            return
        keys = sorted(self._new)
        columns: list[list[Any]] = [keys, [], [], []]
        for key in keys:
            answer = self._new[key]
            row = (None, None, answer) if isinstance(answer, str) else (*answer, None)
            for column, value in zip(columns[1:], row, strict=True):
                column.append(value)
        schema = ANSWERS.with_metadata({_COST: json.dumps(cost).encode()})
        content = pa.BufferOutputStream()
        pyarrow.parquet.write_table(pa.Table.from_arrays(columns, schema=schema), content)
        data = content.getvalue().to_pybytes()
        try:
            identity = self.folder / "identity.json"
            if not identity.exists():
                write_json(identity, self._identity)
            with atomic_path(self.folder / f"{_name(data)}.parquet") as temporary:
                temporary.write_bytes(data)
        except (OSError, LowrankError) as error:
            logger.warning("Answers are not kept for another run: %s", error)
        self._new = {}


def identity_of(
    manifest: Mapping[str, Any], settings: Mapping[str, Any], threads: int, device_name: str
) -> dict[str, Any]:
    """Return what shapes the answers of a configuration.

    Parameters
    ----------
    manifest
        That of the compressed model.
    settings
        `dtype`, `device` and `scorer`, and `batch_size`, which rounds what lm-eval's own class
        computes.
    threads
        How many torch computes with.
    device_name
        Name of the GPU. On CPUs the kind of device counts alone.
    """
    made = {
        "model": manifest["model"],
        "base": manifest["base"],
        "decomposition": manifest["decomposition"],
        "factors": manifest["factors_sha256"],
        "code": answering_code(),
        "versions": versions(("torch", "transformers")),
        "dtype": settings["dtype"],
        "device": settings["device"] if settings["device"] == "cpu" else device_name,
        "threads": threads,
    }
    if settings["scorer"] != "packed":
        own = {"scorer": settings["scorer"], "batch_size": settings["batch_size"]}
        made |= own | {"lm_eval": versions(("lm-eval",))}
    return made


@functools.cache
def answering_code(*others: str) -> str:
    """Return a SHA-256 of the code that computes answers, or of other files of the library."""
    found = hashlib.sha256()
    for place in others or ANSWERING:
        path = LIBRARY / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found.update(file.relative_to(LIBRARY).as_posix().encode() + b"\0")
            found.update(file.read_bytes() + b"\0")
    return found.hexdigest()


def asking_costs(folders: Iterable[str | Path]) -> dict[str, tuple[int, float]]:
    """Return how many questions were asked of each benchmark, and the seconds that this took.

    Parameters
    ----------
    folders
        Those of configurations.
    """
    made: dict[str, tuple[int, float]] = {}
    for folder in folders:
        for path in sorted(Path(folder).glob("*/*.parquet")):
            try:
                cost = json.loads(pyarrow.parquet.read_schema(path).metadata[_COST])
            except (OSError, ValueError, TypeError, KeyError, pa.ArrowException):
                continue
            if "benchmark" in cost:
                questions, seconds = made.get(cost["benchmark"], (0, 0.0))
                made[cost["benchmark"]] = (
                    questions + cost["questions"],
                    seconds + cost["seconds"],
                )
    return made


def _tables(folder: Path) -> Iterator[pa.Table]:
    """Yield the tables of a folder that are whole; remove the files that are not."""
    for path in sorted(folder.glob("*.parquet")):
        try:
            data = path.read_bytes()
        except OSError as error:
            logger.warning("%s cannot be read (%s): its answers are asked again.", path, error)
            continue
        if _name(data) != path.stem:
            logger.warning("%s is damaged: its answers are asked again.", path)
            with contextlib.suppress(OSError):  # it is left out next time, too
                path.unlink(missing_ok=True)
            continue
        yield pyarrow.parquet.read_table(pa.BufferReader(data), schema=ANSWERS)


def _read(table: pa.Table) -> Iterator[tuple[bytes, Answer]]:
    for key, value, greedy, text in zip(
        *(table[name].to_pylist() for name in ANSWERS.names), strict=True
    ):
        yield key, (value, greedy) if text is None else text


def _name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
