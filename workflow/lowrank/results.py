"""Collect evaluation results into one tidy table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lowrank.errors import LowrankError
from lowrank.files import atomic_path, read_json

COLUMNS = (
    "model",
    "label",
    "decomposition",
    "parameter_reduction_percent",
    "benchmark",
    "benchmark_label",
    "metric",
    "questions",
    "questions_available",
    "score",
    "interval_low",
    "interval_high",
    "standard_error",
)


def collect_accuracy(
    labels: Mapping[str, str],
    benchmark_labels: Mapping[str, str],
    files: Iterable[str | Path],
    output: str | Path,
) -> None:
    """Write one row a (configuration, benchmark): score, interval, number of questions.

    Parameters
    ----------
    labels
        From the study's label to the name of its decomposition; several labels may share one.
    benchmark_labels
        From benchmark to the name that figures print, in the order of the figure.
    files
        The results of `lowrank.evaluation.evaluate`.
    output
        The CSV file to write.

    Raises
    ------
    LowrankError
        If a result is missing.
    """
    found = {}
    for path in files:
        result = read_json(path)
        found[result["decomposition"], result["benchmark"]] = result
    rows = []
    for benchmark, benchmark_label in benchmark_labels.items():
        for label, decomposition in labels.items():
            if (decomposition, benchmark) not in found:
                raise LowrankError(f"there is no result of {decomposition} on {benchmark}")
            rows.append(_row(found[decomposition, benchmark], label, benchmark_label))
    with atomic_path(output) as temporary:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(temporary, index=False, float_format="%.6g")


def _row(result: Mapping[str, Any], label: str, benchmark_label: str) -> Sequence[Any]:
    score = result["score"]
    return (
        result["model"],
        label,
        result["decomposition"],
        result["parameter_reduction_percent"],
        result["benchmark"],
        benchmark_label,
        score["metric"],
        score["questions"],
        result["questions"]["available"],
        score["value"],
        *score["interval_95"],
        score["standard_error"],
    )
