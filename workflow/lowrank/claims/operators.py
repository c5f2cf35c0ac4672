"""The statistics that claims are made of: few, named, each with an interval.

A score is in percent, a difference of scores in percentage points. All but the last three are
linear in the scores of a study, so that their bootstrap replicates pair every answer to the same
question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lowrank.claims.evidence import Estimate, Evidence, NotTestable, Study
from lowrank.profiling.fits import fit_line
from lowrank.statistics import RESAMPLES

Selector = Mapping[str, Any]


def loss(
    evidence: Evidence,
    study: str,
    configurations: Selector,
    benchmarks: Sequence[str] | None = None,
) -> Estimate:
    """Percentage points that configurations lose to the dense model, on average."""
    return contrast(evidence, study, {"dense": True}, configurations, benchmarks)


def contrast(
    evidence: Evidence,
    study: str,
    first: Selector,
    second: Selector,
    benchmarks: Sequence[str] | None = None,
) -> Estimate:
    """Mean score of some configurations less that of others, in percentage points."""
    found = evidence.study(study)
    weights_C = _mean_of(found, first) - _mean_of(found, second)
    return _linear(found, weights_C, benchmarks)


def trend(
    evidence: Evidence,
    study: str,
    configurations: Selector,
    against: str,
    benchmarks: Sequence[str] | None = None,
) -> Estimate:
    """Least-squares slope of the score over `position` or `parameter_reduction_percent`."""
    found = evidence.study(study)
    return _linear(found, _slope_of(found, configurations, against), benchmarks)


def change_of_trend(
    evidence: Evidence,
    study: str,
    before: Selector,
    after: Selector,
    against: str,
    benchmarks: Sequence[str] | None = None,
) -> Estimate:
    """Slope over the later configurations less that over the earlier ones."""
    found = evidence.study(study)
    weights_C = _slope_of(found, after, against) - _slope_of(found, before, against)
    return _linear(found, weights_C, benchmarks)


def benchmark_contrast(
    evidence: Evidence,
    study: str,
    configurations: Selector,
    first: Sequence[str],
    second: Sequence[str],
) -> Estimate:
    """Mean loss on some benchmarks less that on others, in percentage points."""
    found = evidence.study(study)
    weights_C = _mean_of(found, {"dense": True}) - _mean_of(found, configurations)
    made = []
    for benchmarks in (first, second):
        mean_C, means_RC = found.scores(benchmarks)
        made.append((mean_C @ weights_C, means_RC @ weights_C))
    questions = found.questions([*first, *second])
    (one, one_R), (other, other_R) = made
    return Estimate.resampled(one - other, one_R - other_R, questions, str(found.path))


def efficiency_slope(evidence: Evidence, metric: str) -> Estimate:
    """Percent that a metric falls by for each percent of parameters removed.

    The line goes through every workload's configurations and the dense model at 0; its interval is
    Student's t.
    """
    table = _measured(evidence, metric)
    change = 100 * (1 - table["ratio"])
    reduction = table["parameter_reduction_percent"]
    return Estimate(
        fit_line(reduction, change)["slope"],
        lambda confidence: tuple(fit_line(reduction, change, confidence)["interval"]),
        None,
        (str(evidence.profiles),),
        _flags(table),
    )


def spread_over_benchmarks(evidence: Evidence, metric: str) -> Estimate:
    """Standard deviation over workloads of a metric relative to dense, in percent of its mean.

    The mean over configurations; its bootstrap resamples configurations.
    """
    table = _measured(evidence, metric)
    by_name = table[table["decomposition"] != "dense"].groupby("decomposition")["ratio"]
    spreads = (100 * by_name.std(ddof=1) / by_name.mean()).dropna().to_numpy()
    if len(spreads) < 3:
        raise NotTestable("fewer than two workloads or three configurations were measured")
    drawn = np.random.default_rng(0).integers(len(spreads), size=(RESAMPLES, len(spreads)))
    made = Estimate.resampled(
        spreads.mean(), spreads[drawn].mean(axis=1), None, str(evidence.profiles)
    )
    return Estimate(made.value, made.interval, None, made.evidence, _flags(table))


def design_space_exponent(evidence: Evidence, model: str) -> Estimate:
    """Exponent of the design space's size, as counted, less the one that the thesis prints."""
    if evidence.design_space is None:
        raise NotTestable("Table 3.1 is not part of this run")
    table = pd.read_csv(evidence.design_space).set_index("model")
    row = table.loc[model]
    difference = float(row["scale_exponent"] - row["thesis_scale_exponent"])
    return Estimate.exact(difference, str(evidence.design_space))


OPERATORS: Mapping[str, Callable[..., Estimate]] = {
    operator.__name__: operator
    for operator in (
        loss,
        contrast,
        trend,
        change_of_trend,
        benchmark_contrast,
        efficiency_slope,
        spread_over_benchmarks,
        design_space_exponent,
    )
}
"""Every operator by its name in `config/claims.yaml`."""


def _linear(study: Study, weights_C: np.ndarray, benchmarks: Sequence[str] | None) -> Estimate:
    mean_C, means_RC = study.scores(benchmarks)
    questions = study.questions(benchmarks)
    return Estimate.resampled(
        float(mean_C @ weights_C), means_RC @ weights_C, questions, str(study.path)
    )


def _mean_of(study: Study, selector: Selector) -> np.ndarray:
    chosen = study.select(selector)
    weights_C = np.zeros(len(study.configurations))
    weights_C[chosen] = 1 / len(chosen)
    return weights_C


def _slope_of(study: Study, selector: Selector, against: str) -> np.ndarray:
    """Return weights whose product with scores is the least-squares slope."""
    chosen = study.select(selector)
    x = study.configurations[against].to_numpy(dtype=float)[chosen]
    centred = x - x.mean()
    weights_C = np.zeros(len(study.configurations))
    weights_C[chosen] = centred / (centred**2).sum()
    return weights_C


def _measured(evidence: Evidence, metric: str) -> pd.DataFrame:
    if evidence.profiles is None:
        raise NotTestable("nothing was profiled in this run")
    table = pd.read_csv(evidence.profiles, keep_default_na=False, na_values=[""])
    table = table[table["metric"] == metric]
    found = table[table["ratio"].notna()]
    if found["decomposition"].nunique() < 4:
        reasons = sorted(set(table.get("reason", pd.Series(dtype=str)).dropna()))
        raise NotTestable(reasons[0] if reasons else f"too few configurations for {metric}")
    return found


def _flags(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(sorted({text for text in table["doubts"].dropna() if text}))
