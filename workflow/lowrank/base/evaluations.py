"""The evaluations of a model, as every later stage reads them: one set of files a configuration.

``{decomposition}.json`` holds the result on each benchmark, ``{decomposition}.csv`` the scores of
the questions of all of them, a row a question. Each file is read once a process, and anew when it
has changed. What is returned is shared: callers must not change it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json
from lowrank.base.names import CLUSTER

BENCHMARK = "benchmark"
"""The column of scores that names whose question a row is of."""

QUESTION = ["task", "question"]
"""The columns of scores that name a question of a benchmark."""

COMPANIONS = ("label", "weight", CLUSTER)
"""The columns of scores that only some benchmarks have, blank elsewhere."""

NUMBERS = ("value", "log_probability", "label", "weight")
"""The columns of scores that hold numbers."""


def result_path(folder: str | Path, decomposition: str) -> Path:
    """Return the file that holds a configuration's results."""
    return Path(folder, f"{decomposition}.json")


def scores_path(folder: str | Path, decomposition: str) -> Path:
    """Return the file that holds the scores of a configuration's questions."""
    return Path(folder, f"{decomposition}.csv")


def read_result(folder: str | Path, decomposition: str) -> Mapping[str, Any]:
    """Return a configuration's results: what it is, `provenance`, and `benchmarks` by name.

    Raises
    ------
    LowrankError
        If the file cannot be read.
    """
    return _cached(result_path(folder, decomposition), _read_results)


def benchmark_result(folder: str | Path, decomposition: str, benchmark: str) -> dict[str, Any]:
    """Return a configuration's result on one benchmark, with what the whole file says.

    Parameters
    ----------
    folder
        Where the evaluations of a model are.
    decomposition, benchmark
        Names of the configuration and the benchmark.

    Returns
    -------
    `model`, `decomposition`, `parameter_reduction_percent`, `provenance`, `settings` and what the
    benchmark's own part holds: `score`, `beside`, `questions`, `settings` of its own and more.

    Raises
    ------
    LowrankError
        If the file cannot be read or lacks the benchmark.
    """
    result = read_result(folder, decomposition)
    if benchmark not in result["benchmarks"]:
        path = result_path(folder, decomposition)
        raise LowrankError(f"{path} has no result on {benchmark}; delete it and run again")
    own = result["benchmarks"][benchmark]
    shared = {key: value for key, value in result.items() if key != "benchmarks"}
    settings = {**result.get("settings", {}), **own.get("settings", {})}
    return {**shared, **own, "settings": settings, "benchmark": benchmark}


def read_scores(folder: str | Path, decomposition: str, benchmark: str) -> pd.DataFrame:
    """Return the scores of a configuration's questions on one benchmark.

    Parameters
    ----------
    folder
        Where the evaluations of a model are.
    decomposition, benchmark
        Names of the configuration and the benchmark.

    Returns
    -------
    A row a question, by `task` and `question` in sorted order: `value`, `log_probability`, and
    what else the benchmark's questions have (`label`, `weight`, `cluster` …).

    Raises
    ------
    LowrankError
        If the file cannot be read, lacks the benchmark or holds a question twice.
    """
    path = scores_path(folder, decomposition)
    tables = _cached(path, _read_tables)
    if benchmark not in tables:
        raise LowrankError(
            f"{path} has no scores on {benchmark}; delete it and {decomposition}.json, and run "
            "again"
        )
    return tables[benchmark]


def _cached(path: Path, read: Callable[[Path], Any]) -> Any:
    """Return what a file holds; it is read once for each of its states."""
    try:
        state = path.stat()
    except OSError as error:
        raise LowrankError(f"{path} cannot be read ({error})") from None
    return _read(path, read, (state.st_size, state.st_mtime_ns, state.st_ino))


@functools.lru_cache(maxsize=1024)
def _read(path: Path, read: Callable[[Path], Any], state: tuple[int, ...]) -> Any:
    return read(path)


def _read_results(path: Path) -> Mapping[str, Any]:
    try:
        result = read_json(path)
        if not isinstance(result["benchmarks"], dict):
            raise TypeError("`benchmarks` is no mapping")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LowrankError(f"{path} cannot be read ({error})") from None
    return result


def _read_tables(path: Path) -> dict[str, pd.DataFrame]:
    """Return the scores in a file by benchmark."""
    text = dict.fromkeys((BENCHMARK, "task", CLUSTER), str)
    try:
        table = pd.read_csv(
            path, dtype=text, keep_default_na=False, na_values=[""], low_memory=False
        )
        return {
            str(name): _of_benchmark(part.drop(columns=BENCHMARK))
            for name, part in table.groupby(BENCHMARK, sort=False)
        }
    except (OSError, ValueError, KeyError) as error:
        raise LowrankError(f"{path} cannot be read ({error})") from None


def _of_benchmark(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one benchmark, sorted, without the columns that it leaves blank."""
    rows = rows.drop(
        columns=[name for name in COMPANIONS if name in rows and rows[name].isna().all()]
    )
    if not pd.api.types.is_numeric_dtype(rows["question"]):
        # Text in another benchmark's questions made numbers text here, too.
        numbers = pd.to_numeric(rows["question"], errors="coerce")
        rows = rows if numbers.isna().any() else rows.assign(question=numbers)
    rows = rows.astype({name: float for name in NUMBERS if name in rows})
    if rows.duplicated(QUESTION).any():
        twice = rows.loc[rows.duplicated(QUESTION), "question"].iloc[0]
        raise ValueError(f"question {twice} is there twice")
    return rows.set_index(QUESTION).sort_index()
