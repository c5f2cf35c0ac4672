"""Gather a study's evaluations into one tidy table, with every difference from the dense model.

Differences are paired: two configurations answered the same questions, so a bootstrap resamples
questions and keeps the two answers to each together. The aggregate is the plain mean over
benchmarks, as in the thesis, resampled within each benchmark.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path, read_json
from lowrank.base.names import AGGREGATE, DENSE, DROP
from lowrank.base.statistics import (
    average_precision,
    bootstrap_average_precision,
    bootstrap_means,
    percentile_interval,
)

TOLERANCE = 1e-6
"""How far a recorded score may lie from that of its answers."""

METRICS = {"value": "score", "log_probability": "log_probability"}


def collect_accuracy(
    rows: Sequence[Mapping[str, Any]],
    benchmark_labels: Mapping[str, str],
    folder: str | Path,
    output: str | Path,
) -> None:
    """Write one row a (configuration, benchmark), and the aggregate of each configuration.

    Columns: what the configuration is; `score` with its 95% interval (`score_low`, `score_high`);
    `score_difference` from the dense model with its paired interval; the same for
    `log_probability`, the companion metric, where there is one. A configuration that leaves
    layers out (the control) also has `score_over_decomposed`: how much better that is than
    decomposing the same layers, with its paired interval.

    Parameters
    ----------
    rows
        The study's configurations: `series`, `label`, `position`, `method`, `rank` and
        `decomposition` (its name).
        The dense model is put first.
    benchmark_labels
        From benchmark to the name that figures print, in the order of the figure.
    folder
        Where `{decomposition}/{benchmark}.json` and `.csv` are.
    output
        The CSV file to write.

    Raises
    ------
    LowrankError
        If a result is missing or its score is not that of its answers, or two configurations did
        not answer the same questions.
    """
    dense = {"series": "", "label": DENSE, "position": None, "method": DENSE, "rank": 0}
    dense["decomposition"] = DENSE
    rows = [dense, *rows]
    names = list(dict.fromkeys(row["decomposition"] for row in rows))
    results = {
        (name, benchmark): read_json(Path(folder, name, f"{benchmark}.json"))
        for name in names
        for benchmark in benchmark_labels
    }
    twins = _twins(rows)
    measured: dict[tuple[str, str], dict[str, float]] = {}
    for column, prefix in METRICS.items():
        replicates = []
        for benchmark in benchmark_labels:
            resampled = resample(folder, names, benchmark, column)
            if resampled is None:
                continue  # generated text has no companion metric
            if column == "value":
                _require_agreement(folder, names, benchmark, results, resampled[0])
            replicates.append(resampled)
            _measure(measured, names, twins, benchmark, prefix, *replicates[-1])
        if replicates:
            mean_C = np.mean([mean for mean, _ in replicates], axis=0)
            means_RC = np.mean([means for _, means in replicates], axis=0)
            _measure(measured, names, twins, AGGREGATE, prefix, mean_C, means_RC)
    table = [
        _row(row, benchmark, label, results, measured[row["decomposition"], benchmark])
        for benchmark, label in benchmark_labels.items()
        for row in rows
    ]
    label = f"mean of {len(benchmark_labels)} benchmarks"
    if len(benchmark_labels) == 1:
        (benchmark, name), *_ = benchmark_labels.items()
        label = f"{name}, {results[DENSE, benchmark]['score']['metric'].replace('_', ' ')}"
    table += [
        _row(row, AGGREGATE, label, results, measured[row["decomposition"], AGGREGATE])
        for row in rows
    ]
    with atomic_path(output) as temporary:
        pd.DataFrame(table).to_csv(temporary, index=False, float_format="%.6g")


def resample(
    folder: str | Path, names: Sequence[str], benchmark: str, column: str = "value"
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return mean_C of a benchmark and means_RC over resampled questions, paired.

    Configurations share the resamples; each benchmark has its own, by the seed of its name.

    Parameters
    ----------
    folder
        Where `{decomposition}/{benchmark}.csv` are.
    names
        The C configurations' names.
    benchmark
        Which benchmark.
    column
        `value` (the score) or `log_probability`; None is returned where there is none.

    Raises
    ------
    LowrankError
        If a result is missing, or two configurations did not answer the same questions.
    """
    values_QC, labels_Q = _paired_values(folder, names, benchmark, column)
    if np.isnan(values_QC).any():
        return None
    seed = zlib.crc32(benchmark.encode())
    if labels_Q is None:
        return values_QC.mean(axis=0), bootstrap_means(values_QC, seed=seed)
    once_1Q = np.ones((1, len(labels_Q)))
    precisions = [average_precision(v, labels_Q, once_1Q)[0] for v in values_QC.T]
    return np.array(precisions), bootstrap_average_precision(values_QC, labels_Q, seed=seed)


def _paired_values(
    folder: str | Path, names: Sequence[str], benchmark: str, column: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return values_QC of one benchmark, questions in the same order for every configuration.

    Beside them the labels that the values rank, or None where a mean is taken.
    """
    columns, labels = [], None
    questions = None
    for name in names:
        path = Path(folder, name, f"{benchmark}.csv")
        try:
            table = pd.read_csv(path).set_index(["task", "question"]).sort_index()
            scores = table[column]
            labels = table["label"].to_numpy() if "label" in table else None
        except (OSError, ValueError, KeyError) as error:
            raise LowrankError(f"{path} cannot be read ({error})") from None
        if questions is not None and not scores.index.equals(questions):
            raise LowrankError(f"{path}: {name} and {names[0]} did not answer the same questions")
        questions = scores.index
        columns.append(scores.to_numpy(dtype=float))
    return np.stack(columns, axis=1), labels


def _require_agreement(
    folder: str | Path,
    names: Sequence[str],
    benchmark: str,
    results: Mapping[tuple[str, str], Mapping[str, Any]],
    mean_C: np.ndarray,
) -> None:
    """Check that every result's headline score is that of its answers."""
    for name, mean in zip(names, mean_C, strict=True):
        score = results[name, benchmark]["score"]["value"]
        if not abs(score - mean) <= TOLERANCE:
            path = Path(folder, name, benchmark)
            raise LowrankError(
                f"{path}.json has the score {score:g}, the answers in {path.name}.csv give "
                f"{mean:g}: one of them was changed; delete both and run again"
            )


def _measure(
    measured: dict[tuple[str, str], dict[str, float]],
    names: Sequence[str],
    twins: Mapping[str, str],
    benchmark: str,
    prefix: str,
    mean_C: np.ndarray,
    means_RC: np.ndarray,
) -> None:
    """Add a metric's mean, its difference from the first configuration, and their intervals."""
    low_C, high_C = percentile_interval(means_RC)
    difference_low_C, difference_high_C = percentile_interval(means_RC - means_RC[:, :1])
    for index, name in enumerate(names):
        measured.setdefault((name, benchmark), {}).update(
            {
                prefix: mean_C[index],
                f"{prefix}_low": low_C[index],
                f"{prefix}_high": high_C[index],
                f"{prefix}_difference": mean_C[index] - mean_C[0],
                f"{prefix}_difference_low": difference_low_C[index],
                f"{prefix}_difference_high": difference_high_C[index],
            }
        )
    for control, decomposed in twins.items():
        index, other = names.index(control), names.index(decomposed)
        low, high = percentile_interval(means_RC[:, index] - means_RC[:, other])
        measured[control, benchmark].update(
            {
                f"{prefix}_over_decomposed": mean_C[index] - mean_C[other],
                f"{prefix}_over_decomposed_low": float(low),
                f"{prefix}_over_decomposed_high": float(high),
            }
        )


def _twins(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return from each control to the configuration that decomposes the same layers.

    They share their label; the first series that has it is the one the control stands beside.
    """
    decomposed = {}
    for row in rows:
        if row["method"] not in (DROP, DENSE):
            decomposed.setdefault(row["label"], row["decomposition"])
    return {
        row["decomposition"]: decomposed[row["label"]]
        for row in rows
        if row["method"] == DROP and row["label"] in decomposed
    }


def _row(
    row: Mapping[str, Any],
    benchmark: str,
    benchmark_label: str,
    results: Mapping[tuple[str, str], Mapping[str, Any]],
    measured: Mapping[str, float],
) -> dict[str, Any]:
    name = row["decomposition"]
    of_name = [result for (other, _), result in results.items() if other == name]
    result = results.get((name, benchmark))
    own = {
        "model": of_name[0]["model"],
        **{key: row[key] for key in ("series", "label", "position", "method", "rank")},
        "decomposition": name,
        "parameter_reduction_percent": of_name[0]["parameter_reduction_percent"],
        "benchmark": benchmark,
        "benchmark_label": benchmark_label,
    }
    if result is None:
        own["metric"] = "plain mean over benchmarks"
        own["questions"] = sum(other["questions"]["asked"] for other in of_name)
        own["questions_available"] = sum(other["questions"]["available"] for other in of_name)
        return own | dict(measured)
    own["metric"] = result["score"]["metric"]
    own["questions"] = result["questions"]["asked"]
    own["questions_available"] = result["questions"]["available"]
    # A single score's own interval is honest at 0 of n, which a bootstrap is not.
    low, high = result["score"]["interval_95"]
    return own | dict(measured) | {"score_low": low, "score_high": high}
