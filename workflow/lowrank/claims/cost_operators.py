"""The statistics of latency, energy, power and memory that claims are made of.

Each is computed for every workload and averaged: the workloads have the same configurations, so
pooling these would count them several times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from lowrank.analyse.efficiency import fit_line
from lowrank.base.statistics import RESAMPLES, percentile_interval
from lowrank.claims.estimate import (
    THESE_WORKLOADS,
    WORKLOADS_LIKE_THESE,
    Estimate,
    NotTestable,
    Reading,
)
from lowrank.claims.evidence import BENCHMARKS, Evidence
from lowrank.claims.studies import Study

Selector = Mapping[str, Any]


def efficiency_slope(evidence: Evidence, metric: str, workloads: str = BENCHMARKS) -> Estimate:
    """Percent that a metric falls by for each percent of parameters removed, mean over workloads.

    The dense model, measured against itself, is the point at 0 of every workload's line.
    """
    table = evidence.measured(metric, workloads)
    lines = _lines(table)
    return Estimate.of_workloads(
        [line["slope"] for line in lines],
        [line["error"] for line in lines],
        [line["points"] - 2 for line in lines],
        **_facts(evidence, table),
    )


def efficiency_change(
    evidence: Evidence,
    metric: str,
    study: str,
    configurations: Selector,
    workloads: str = BENCHMARKS,
) -> Estimate:
    """Percent that a metric falls by at configurations of a study, mean over workloads."""
    table = _of_configurations(evidence, metric, study, configurations, workloads)
    table = table.assign(change=100 * (1 - table["ratio"]), error=100 * table["ratio"])
    return _over_workloads("change", evidence, table, evidence.study(study))


def measurement(
    evidence: Evidence,
    metric: str,
    study: str,
    configurations: Selector,
    workloads: str = BENCHMARKS,
) -> Estimate:
    """Value of a metric at configurations of a study, mean over workloads, in its own unit."""
    table = _of_configurations(evidence, metric, study, configurations, workloads)
    table = table.assign(error=table["value"])
    return _over_workloads("value", evidence, table, evidence.study(study))


def linearity(evidence: Evidence, metric: str, workloads: str = BENCHMARKS) -> Estimate:
    """Least R² over workloads of the metric's line over the parameters removed.

    The correlation of each line has Fisher's interval (its inverse hyperbolic tangent is normal
    with variance 1 / (points − 3)). The least of several lies between the least lower end and the
    least upper end.
    """
    table = evidence.measured(metric, workloads)
    lines = _lines(table)
    r2_W = np.array([line["r2"] for line in lines])
    fisher_W = np.arctanh(np.sqrt(np.minimum(r2_W, 1 - 1e-12)))
    error_W = 1 / np.sqrt([max(line["points"] - 3, 1) for line in lines])

    def interval(confidence: float) -> tuple[float, float]:
        reach_W = scipy.stats.norm.ppf((1 + confidence) / 2) * error_W
        low, high = (np.tanh(np.maximum(fisher_W + s * reach_W, 0)).min() for s in (-1, 1))
        return float(low**2), float(high**2)

    return Estimate(
        float(r2_W.min()), (Reading(THESE_WORKLOADS, interval),), **_facts(evidence, table)
    )


def spread_over_workloads(evidence: Evidence, metric: str, workloads: str = BENCHMARKS) -> Estimate:
    """Standard deviation over workloads of the metric's slope, in percent of its mean.

    On these workloads the interval has the errors of the slopes: their Student's distributions are
    drawn from. On workloads like these it is that of a standard deviation of normal values, by χ².
    """
    table = evidence.measured(metric, workloads)
    lines = _lines(table)
    if len(lines) < 3:
        raise NotTestable("fewer than three workloads were measured")
    slope_W = np.array([line["slope"] for line in lines])
    error_W = np.array([line["error"] for line in lines])
    freedom_W = np.array([line["points"] - 2 for line in lines])
    rng = np.random.default_rng(0)
    drawn_RW = slope_W + error_W * rng.standard_t(freedom_W, size=(RESAMPLES, len(lines)))
    spread, spread_R = (
        100 * slopes.std(axis=-1, ddof=1) / np.abs(slopes.mean(axis=-1))
        for slopes in (slope_W, drawn_RW)
    )

    def on_these(confidence: float) -> tuple[float, float]:
        low, high = percentile_interval(spread_R, confidence)
        return float(low), float(high)

    def on_others(confidence: float) -> tuple[float, float]:
        freedom = len(lines) - 1
        tails = np.array([1 + confidence, 1 - confidence]) / 2
        low, high = spread * np.sqrt(freedom / scipy.stats.chi2.ppf(tails, freedom))
        return float(low), float(high)

    readings = (Reading(THESE_WORKLOADS, on_these), Reading(WORKLOADS_LIKE_THESE, on_others))
    return Estimate(float(spread), readings, **_facts(evidence, table))


def _of_configurations(
    evidence: Evidence, metric: str, study: str, configurations: Selector, workloads: str
) -> pd.DataFrame:
    found = evidence.study(study)
    names = set(found.configurations["decomposition"].iloc[found.select(configurations)])
    table = evidence.measured(metric, workloads, least=1)
    table = table[table["decomposition"].isin(names)]
    if set(table["decomposition"]) != names:
        raise NotTestable(f"{metric} was not measured on these configurations of {study}")
    return table


def _lines(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each workload's line of the fall in percent over the percent of parameters removed."""
    return [
        fit_line(part["parameter_reduction_percent"], 100 * (1 - part["ratio"]))
        for _, part in table.groupby("workload")
    ]


def _over_workloads(column: str, evidence: Evidence, table: pd.DataFrame, study: Study) -> Estimate:
    """Return the mean over workloads of a column.

    The relative error of the ratio, from its 95% interval over rounds, times the column `error` is
    the standard error of a value. `study` named the configurations.
    """
    values_W, errors_W, freedom_W = [], [], []
    for _, part in table.groupby("workload"):
        rounds = pd.to_numeric(part["rounds"]).fillna(2).clip(lower=2).to_numpy(dtype=float)
        reach = np.log(part["ratio_high"].to_numpy(float) / part["ratio_low"].to_numpy(float)) / 2
        error = part["error"].to_numpy(float) * reach / scipy.stats.t.ppf(0.975, rounds - 1)
        values_W.append(part[column].mean())
        errors_W.append(np.sqrt((error**2).sum()) / len(part))
        freedom_W.append(rounds.min() - 1)
    return Estimate.of_workloads(values_W, errors_W, freedom_W, **_facts(evidence, table, study))


def _facts(evidence: Evidence, table: pd.DataFrame, study: Study | None = None) -> dict[str, Any]:
    """Return `evidence`, `flags` and `device` of rows of the profiles."""
    doubts = {part for text in table["doubts"].dropna() for part in text.split("; ") if part}
    return {
        "evidence": (str(evidence.profiles), *([str(study.path)] if study else [])),
        "flags": tuple(sorted(doubts)),
        "device": " and ".join(dict.fromkeys(table["device"].dropna())),
    }
