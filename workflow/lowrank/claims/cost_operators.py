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

from lowrank.analyse.efficiency import first_reason, fit_line, lacks_line
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
    """Percent that a metric falls by at configurations of a study, mean over workloads.

    Its errors are those of the measurements. What was measured once is as far off as the points of
    its workload lie from their line: in one run each, nothing else says how sure a point is.
    """
    table = _of_configurations(evidence, metric, study, configurations, workloads)
    table = table.assign(change=100 * (1 - table["ratio"]), percent=100.0)
    return _over_workloads("change", "percent", evidence, table, evidence.study(study))


def measurement(
    evidence: Evidence,
    metric: str,
    study: str,
    configurations: Selector,
    workloads: str = BENCHMARKS,
) -> Estimate:
    """Value of a metric at configurations of a study, mean over workloads, in its own unit.

    Its errors are those of `efficiency_change`.
    """
    table = _of_configurations(evidence, metric, study, configurations, workloads)
    table = table.assign(dense_value=table["value"] / table["ratio"])
    return _over_workloads("value", "dense_value", evidence, table, evidence.study(study))


def linearity(evidence: Evidence, metric: str, workloads: str = BENCHMARKS) -> Estimate:
    """Least R² over W workloads of the metric's line over the parameters removed.

    The correlation of each line has Fisher's interval (its inverse hyperbolic tangent is normal
    with variance 1 / (points − 3)). The least of all lies above the least lower end, and below the
    least of the upper ends at level α / W each (Bonferroni), since one of them is its own. What
    the measurements scatter is no bend: for the upper end, the most that it can be by their errors
    (χ² at the same level) is taken off what the line leaves. One run each cannot tell scatter from
    a bend, and nothing is taken off.
    """
    table = evidence.measured(metric, workloads)
    lines = _lines(table)
    r2_W = np.array([line["r2"] for line in lines])
    error_W = 1 / np.sqrt([max(line["points"] - 3, 1) for line in lines])

    def end(r2_W: np.ndarray, level: float) -> float:
        fisher_W = np.arctanh(np.sqrt(np.minimum(r2_W, 1 - 1e-12)))
        reached_W = fisher_W + scipy.stats.norm.ppf(level) * error_W
        return float(np.tanh(np.maximum(reached_W, 0)).min() ** 2)

    def interval(confidence: float) -> tuple[float, float]:
        tail = (1 - confidence) / 2
        level = 1 - tail / len(lines)
        straight_W = [_without_scatter(part, level) for _, part in table.groupby("workload")]
        return end(r2_W, tail), end(np.array(straight_W), level)

    return Estimate(
        float(r2_W.min()), (Reading(THESE_WORKLOADS, interval),), **_facts(evidence, table)
    )


def spread_over_workloads(evidence: Evidence, metric: str, workloads: str = BENCHMARKS) -> Estimate:
    """Standard deviation over workloads of the metric's slope, in percent of its mean.

    On these workloads the slopes have the errors of their lines, which are drawn from their
    Student's distributions. Errors widen the spread, and drawing them once more widens it again:
    the upper end of the drawn spreads errs to the safe side. The lower end may not lean on errors:
    a standard deviation is no less than that of what was seen less that of the errors (triangle
    inequality). On workloads like these the interval is that of a standard deviation of normal
    values, by χ²; its lower end is of the spread without the variance of the errors.
    """
    table = evidence.measured(metric, workloads)
    lines = _lines(table)
    if len(lines) < 3:
        raise NotTestable("fewer than three workloads were measured")
    slope_W = np.array([line["slope"] for line in lines])
    error_W = np.array([line["error"] for line in lines])
    freedom_W = np.array([line["points"] - 2 for line in lines])
    rng = np.random.default_rng(0)
    errors_RW = error_W * rng.standard_t(freedom_W, size=(RESAMPLES, len(lines)))
    deviation, mean = float(slope_W.std(ddof=1)), float(slope_W.mean())
    if not mean:
        raise NotTestable(f"the mean slope of {metric} is zero: no spread is a percentage of it")
    wide_R = _percent(np.std(slope_W + errors_RW, axis=1, ddof=1), mean + errors_RW.mean(axis=1))
    narrow_R = _percent(
        np.maximum(deviation - errors_RW.std(axis=1, ddof=1), 0), mean - errors_RW.mean(axis=1)
    )
    spread = float(_percent(deviation, mean))
    of_workloads = float(_percent(np.sqrt(max(deviation**2 - (error_W**2).mean(), 0)), mean))

    def on_these(confidence: float) -> tuple[float, float]:
        low, _ = percentile_interval(narrow_R, confidence)
        _, high = percentile_interval(wide_R, confidence)
        return min(float(low), spread), max(float(high), spread)

    def on_others(confidence: float) -> tuple[float, float]:
        freedom = len(lines) - 1
        low, high = (
            np.sqrt(freedom / scipy.stats.chi2.ppf(level, freedom))
            for level in ((1 + confidence) / 2, (1 - confidence) / 2)
        )
        return float(of_workloads * low), float(spread * high)

    readings = (Reading(THESE_WORKLOADS, on_these), Reading(WORKLOADS_LIKE_THESE, on_others))
    return Estimate(spread, readings, **_facts(evidence, table))


def _of_configurations(
    evidence: Evidence, metric: str, study: str, configurations: Selector, workloads: str
) -> pd.DataFrame:
    found = evidence.study(study)
    names = set(found.configurations["decomposition"].iloc[found.select(configurations)])

    def lacks(part: pd.DataFrame) -> str:
        own = part[part["ratio"].notna() & part["decomposition"].isin(names)]
        if set(own["decomposition"]) != names:
            reason = f"{metric} was not measured on these configurations of {study}"
            return first_reason(part) or reason
        reason = lacks_line(part) if _once(own).any() else ""
        return f"one run each has no known error without a line ({reason})" if reason else ""

    parts = evidence.measured(metric, workloads, lacks).groupby("workload")
    table = pd.concat(part.assign(error=_errors(part), freedom=_freedom(part)) for _, part in parts)
    return table[table["decomposition"].isin(names)]


def _without_scatter(part: pd.DataFrame, level: float) -> float:
    """Return R² of a workload's line without what its measurements scatter at most."""
    line = fit_line(part["parameter_reduction_percent"], part["ratio"])
    total = float(((part["ratio"] - part["ratio"].mean()) ** 2).sum())
    scatter = (_errors_over_rounds(part) ** 2).mean() * scipy.stats.chi2.ppf(
        level, line["points"] - 2
    )
    bend = max(total * (1 - line["r2"]) - scatter, 0.0)
    return 1 - bend / (total * line["r2"] + bend) if bend else 1.0


def _errors(part: pd.DataFrame) -> np.ndarray:
    """Return the standard errors of a workload's ratios.

    What was measured once has the residual standard error of the workload's line, on all its
    points less 2 degrees of freedom.
    """
    made = _errors_over_rounds(part)
    once = _once(part)
    if once.any() and not lacks_line(part):
        x = part["parameter_reduction_percent"].to_numpy(float)
        line = fit_line(x, part["ratio"])
        made[once] = line["error"] * np.sqrt(((x - x.mean()) ** 2).sum())
    return made


def _errors_over_rounds(part: pd.DataFrame) -> np.ndarray:
    """Return the standard errors of ratios from their 95% intervals; what has no width has none."""
    reach = np.log(part["ratio_high"].to_numpy(float) / part["ratio_low"].to_numpy(float)) / 2
    freedom = np.maximum(_rounds(part) - 1, 1)
    return part["ratio"].to_numpy(float) * reach / scipy.stats.t.ppf(0.975, freedom)


def _freedom(part: pd.DataFrame) -> np.ndarray:
    """Return the degrees of freedom of `_errors`."""
    return np.where(_once(part), max(len(part) - 2, 1), np.maximum(_rounds(part) - 1, 1))


def _once(part: pd.DataFrame) -> np.ndarray:
    """Return which rows were measured once; what was counted has no rounds."""
    return _rounds(part) == 1


def _rounds(part: pd.DataFrame) -> np.ndarray:
    rounds = part["rounds"] if "rounds" in part else pd.Series(2, index=part.index)
    return pd.to_numeric(rounds).fillna(2).to_numpy(dtype=float)


def _percent(part: np.ndarray | float, whole: np.ndarray | float) -> np.ndarray:
    return 100 * np.asarray(part) / np.abs(whole)


def _lines(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each workload's line of the fall in percent over the percent of parameters removed."""
    return [
        fit_line(part["parameter_reduction_percent"], 100 * (1 - part["ratio"]))
        for _, part in table.groupby("workload")
    ]


def _over_workloads(
    column: str, unit: str, evidence: Evidence, table: pd.DataFrame, study: Study
) -> Estimate:
    """Return the mean over workloads of a column.

    The error of a ratio, times the column `unit`, is that of a value. `table` is that of
    `_of_configurations`, and `study` named the configurations.
    """
    values_W, errors_W, freedom_W = [], [], []
    for _, part in table.groupby("workload"):
        error = (part["error"] * part[unit]).to_numpy(float)
        values_W.append(part[column].mean())
        errors_W.append(np.sqrt((error**2).sum()) / len(part))
        freedom_W.append(part["freedom"].min())
    return Estimate.of_workloads(values_W, errors_W, freedom_W, **_facts(evidence, table, study))


def _facts(evidence: Evidence, table: pd.DataFrame, study: Study | None = None) -> dict[str, Any]:
    """Return `evidence`, `flags` and `device` of rows of the profiles."""
    doubts = {part for text in table["doubts"].dropna() for part in text.split("; ") if part}
    return {
        "evidence": (str(evidence.profiles), *([str(study.path)] if study else [])),
        "flags": tuple(sorted(doubts)),
        "device": " and ".join(dict.fromkeys(table["device"].dropna())),
    }
