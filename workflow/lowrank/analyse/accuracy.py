"""Gather a study's evaluations into one tidy table, with every difference from the dense model.

Differences are paired: over the questions that two configurations were both asked, a bootstrap
weighs questions at random and keeps the two answers to each together. Questions of one cluster (a
passage, a subject) keep one weight. A score is over all the questions that its configuration was
asked. Scores and their differences are the numbers that the results hold; the metric says what they
are and which are better. The aggregate is the plain mean over the benchmarks whose metric takes
part, as in the thesis, with weights of its own for each benchmark. Where none takes part there is
no aggregate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lowrank.analyse.answers import VALUE, resample
from lowrank.base.errors import LowrankError
from lowrank.base.evaluations import benchmark_result, result_path, scores_path
from lowrank.base.files import atomic_path, read_json
from lowrank.base.metric import Metric, in_the_mean, metric_of_mean
from lowrank.base.names import AGGREGATE, DENSE, DROP
from lowrank.base.paired import PairedScores, differences_from_first, mean_contrasts
from lowrank.base.statistics import percentile_interval

TOLERANCE = 1e-6
"""How far a recorded score may lie from that of its answers; above 1, ten times this share."""

COLUMNS = {VALUE: "score", "log_probability": "log_probability"}
"""From a column of the answers to that of the table: the score, and its companion."""


def collect_accuracy(
    rows: Sequence[Mapping[str, Any]],
    benchmarks: Mapping[str, Mapping[str, Any]],
    folder: str | Path,
    output: str | Path,
    baselines: Iterable[str | Path] = (),
) -> None:
    """Write one row a (configuration, benchmark), and the aggregate of each configuration.

    Columns: what the configuration is; its metric (`lowrank.base.metric.Metric.as_record`); how
    many questions it was asked, and in how many clusters if there are any; `score` with its 95%
    interval (`score_low`, `score_high`); `score_difference` from the dense model with its paired
    interval, over the `questions_paired` that both were asked, so that it need not be the
    difference of the two scores; the same for `log_probability`, the companion metric, where there
    is one.
    Where a benchmark has a baseline, `baseline` is its score with its own interval, and
    `baseline_label` its name.
    What else a benchmark's answers are worth is a column each, `beside_acc_norm` for `acc_norm`.
    A configuration that leaves layers out (the control) also has `score_over_decomposed`: its
    score less that of decomposing the same layers, with its paired interval.

    Parameters
    ----------
    rows
        The study's configurations: `series`, `label`, `position`, `method`, `rank` and
        `decomposition` (its name).
        The dense model is put first.
    benchmarks
        From benchmark to its `label`, the name that figures print, and its `metric`, a record, in
        the order of the figure.
    folder
        Where the evaluations are, see `lowrank.base.evaluations`.
    output
        The CSV file to write.
    baselines
        The results of `lowrank.evaluate.baselines.score_baseline` for some of the benchmarks.

    Raises
    ------
    LowrankError
        If a result is missing or its score is not that of its answers, of two configurations
        neither answered all the questions of the other, or scores take part in the mean that have
        none.
    """
    metrics = {name: Metric.from_record(entry["metric"]) for name, entry in benchmarks.items()}
    dense = {"series": "", "label": DENSE, "position": None, "method": DENSE, "rank": 0}
    dense["decomposition"] = DENSE
    rows = [dense, *rows]
    names = list(dict.fromkeys(row["decomposition"] for row in rows))
    results = {
        (name, benchmark): benchmark_result(folder, name, benchmark)
        for name in names
        for benchmark in benchmarks
    }
    metrics = {name: own.of_result(results[DENSE, name]["score"]) for name, own in metrics.items()}
    averaged = {name: metrics[name] for name in in_the_mean(metrics)}
    metric_of_aggregate = metric_of_mean(averaged) if averaged else None
    twins = _twins(rows)
    of_baselines = _of_baselines(baselines)
    measured: dict[tuple[str, str], dict[str, float]] = {}
    paired: dict[tuple[str, str], int] = {}
    for column, prefix in COLUMNS.items():
        in_mean: list[PairedScores] = []
        for benchmark, metric in metrics.items():
            scores = resample(folder, names, benchmark, metric, column)
            if scores is None:
                continue  # generated text has no companion metric
            if column == VALUE:
                _require_agreement(folder, names, benchmark, results, scores.scores())
                for place, name in enumerate(names):
                    paired[name, benchmark] = scores.common_questions([0, place])
            if benchmark in averaged:
                in_mean.append(scores)
            _measure(measured, names, twins, benchmark, prefix, [scores])
        if in_mean:
            _measure(measured, names, twins, AGGREGATE, prefix, in_mean)
    table = [
        _row(row, benchmark, benchmarks[benchmark]["label"], metric, results, paired, [benchmark])
        | measured[row["decomposition"], benchmark]
        | _own_interval(results[row["decomposition"], benchmark])
        | _beside(results[row["decomposition"], benchmark])
        | of_baselines.get(benchmark, {})
        for benchmark, metric in metrics.items()
        for row in rows
    ]
    label, of_mean = f"mean of {len(averaged)} benchmarks", {}
    if len(averaged) == 1:
        ((benchmark, metric),) = averaged.items()
        label = f"{benchmarks[benchmark]['label']}, {str(metric).replace('_', ' ')}"
        of_mean = of_baselines.get(benchmark, {})
    if metric_of_aggregate is not None:
        table += [
            _row(row, AGGREGATE, label, metric_of_aggregate, results, paired, averaged)
            | measured[row["decomposition"], AGGREGATE]
            | of_mean
            for row in rows
        ]
    write_scores(table, output)


def write_scores(table: Sequence[Mapping[str, Any]], output: str | Path) -> None:
    """Write the rows of a study's table, as `collect_accuracy` has them."""
    with atomic_path(output) as temporary:
        pd.DataFrame(table).to_csv(temporary, index=False, float_format="%.6g")


def agrees(score: float, answers: float) -> bool:
    """Return whether a recorded score is that of its answers, but for rounding."""
    return abs(score - answers) <= TOLERANCE * (1.0 if abs(answers) <= 1 else 10 * abs(answers))


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
        if not agrees(score, mean):
            raise LowrankError(
                f"{result_path(folder, name)} has the score {score:g} on {benchmark}, the answers "
                f"in {scores_path('', name)} give {mean:g}: one of them was changed; delete both "
                "and run again"
            )


def _measure(
    measured: dict[tuple[str, str], dict[str, float]],
    names: Sequence[str],
    twins: Mapping[str, str],
    benchmark: str,
    prefix: str,
    scores: Sequence[PairedScores],
) -> None:
    """Add the mean over benchmarks, its difference from the first, and their intervals."""
    identity_CC = np.eye(len(names))
    contrasts = {"": identity_CC, "_difference": differences_from_first(len(names))}
    for suffix, weights_CS in contrasts.items():
        _add(measured, names, benchmark, prefix + suffix, mean_contrasts(scores, weights_CS))
    if twins:
        place = {name: index for index, name in enumerate(names)}
        weights_CS = np.stack(
            [identity_CC[place[one]] - identity_CC[place[other]] for one, other in twins.items()],
            axis=1,
        )
        over = mean_contrasts(scores, weights_CS)
        _add(measured, list(twins), benchmark, f"{prefix}_over_decomposed", over)


def _add(
    measured: dict[tuple[str, str], dict[str, float]],
    names: Sequence[str],
    benchmark: str,
    column: str,
    contrasts: tuple[np.ndarray, np.ndarray],
) -> None:
    """Add contrasts to the rows of configurations, with their intervals."""
    value_S, replicates_RS = contrasts
    for name, *own in zip(names, value_S, *percentile_interval(replicates_RS), strict=True):
        columns = (column, f"{column}_low", f"{column}_high")
        measured.setdefault((name, benchmark), {}).update(zip(columns, own, strict=True))


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
    label: str,
    metric: Metric,
    results: Mapping[tuple[str, str], Mapping[str, Any]],
    paired: Mapping[tuple[str, str], int],
    benchmarks: Iterable[str],
) -> dict[str, Any]:
    """Return what a row is of; `benchmarks` are those that its score is of."""
    benchmarks = list(benchmarks)
    of_row = [results[row["decomposition"], name] for name in benchmarks]
    asked, available = (
        sum(result["questions"][which] for result in of_row) for which in ("asked", "available")
    )
    model, reduction = (of_row[0][key] for key in ("model", "parameter_reduction_percent"))
    made = {"model": model} | table_row(row, reduction, benchmark, label, metric, asked, available)
    made["questions_paired"] = sum(paired[row["decomposition"], name] for name in benchmarks)
    clusters = None if benchmark == AGGREGATE else of_row[0]["score"].get("clusters")
    return made | {"clusters": clusters}


def table_row(
    configuration: Mapping[str, Any],
    reduction: float,
    benchmark: str,
    label: str,
    metric: Metric,
    asked: int,
    available: int,
) -> dict[str, Any]:
    """Return what a row of a study's table is of, without its scores.

    Parameters
    ----------
    configuration
        `series`, `label`, `position`, `method`, `rank`, `decomposition`.
    reduction
        Percent of the parameters removed.
    benchmark, label, metric
        The benchmark, the name that figures print, and what its scores are.
    asked, available
        Numbers of questions.
    """
    keys = ("series", "label", "position", "method", "rank", "decomposition")
    return {
        **{key: configuration[key] for key in keys},
        "parameter_reduction_percent": reduction,
        "benchmark": benchmark,
        "benchmark_label": label,
        **metric.as_record(),
        "questions": asked,
        "questions_available": available,
    }


def _own_interval(result: Mapping[str, Any]) -> dict[str, float]:
    """Return a single score's own interval: it is honest at 0 of n, which a bootstrap is not."""
    low, high = result["score"]["interval_95"]
    return {"score_low": low, "score_high": high}


def _beside(result: Mapping[str, Any]) -> dict[str, float]:
    """Return what else the answers are worth, by its column."""
    return {f"beside_{name}": own["value"] for name, own in result.get("beside", {}).items()}


def _of_baselines(paths: Iterable[str | Path]) -> dict[str, dict[str, Any]]:
    """Return the columns of baselines, by their benchmark."""
    made = {}
    for result in map(read_json, paths):
        low, high = result["score"]["interval_95"]
        made[result["benchmark"]] = {
            "baseline": result["score"]["value"],
            "baseline_low": low,
            "baseline_high": high,
            "baseline_label": result["label"],
        }
    return made
