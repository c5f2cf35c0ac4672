"""The statistics that claims are made of: few, named, each with an interval.

A score is in the unit of its metric (percent for shares, so that a difference is in percentage
points), and more of it is better: where lower scores are better, their sign is turned. What
compares scores keeps the answers of all configurations to one question together in every bootstrap
replicate. What compares costs is computed for each workload, and its interval (Student's t) is that
of the mean over workloads: their configurations are the same ones, so pooling them would count them
several times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lowrank.analyse.efficiency import fit_line
from lowrank.base.names import DENSE
from lowrank.base.statistics import RESAMPLES
from lowrank.claims.evidence import BENCHMARKS, Estimate, Evidence, NotTestable, Study

Selector = Mapping[str, Any]


def loss(
    evidence: Evidence, study: str, configurations: Selector, benchmarks: Sequence[str]
) -> Estimate:
    """How much worse configurations score than the dense model, on average."""
    return contrast(evidence, study, {"dense": True}, configurations, benchmarks)


def contrast(
    evidence: Evidence, study: str, first: Selector, second: Selector, benchmarks: Sequence[str]
) -> Estimate:
    """How much better some configurations score than others, on average."""
    found = evidence.study(study)
    weights_C = _mean_of(found, first) - _mean_of(found, second)
    return _linear(found, weights_C, benchmarks)


def change_of_trend(
    evidence: Evidence,
    study: str,
    before: Selector,
    after: Selector,
    against: str,
    benchmarks: Sequence[str],
) -> Estimate:
    """Slope of the score over the later configurations less that over the earlier ones.

    Both are least-squares slopes over `position` or `parameter_reduction_percent`. It is at chance
    if the later configurations are: what can fall no further flattens by itself.
    """
    found = evidence.study(study)
    weights_C = _slope_of(found, after, against) - _slope_of(found, before, against)
    return _linear(found, weights_C, benchmarks, found.select(after))


def root_mean_square_contrast(
    evidence: Evidence, study: str, first: Selector, second: Selector, benchmarks: Sequence[str]
) -> Estimate:
    """Root mean square difference of two series over labels and benchmarks.

    The differences carry the noise of the questions, which adds its variance to their mean square;
    that variance, from the bootstrap, is taken off the value once and off each replicate twice
    (a replicate has the noise of the questions and of its resampling). A mean of absolute values
    has the same bias but no such remedy; it is at most the root mean square.
    """
    found = evidence.study(study)
    one, other = found.pairs(first, second)
    square, squares_R = _mean_square(found, one, other, benchmarks)
    made = _estimate(found, square, squares_R, [*one, *other], benchmarks)
    return replace(
        made,
        value=float(_root(square)),
        interval=lambda confidence: tuple(map(float, _root(made.interval(confidence)))),
    )


def loss_beyond_contrast(
    evidence: Evidence,
    study: str,
    configurations: Selector,
    first: Selector,
    second: Selector,
    benchmarks: Sequence[str],
) -> Estimate:
    """Mean loss of configurations less the `root_mean_square_contrast` of two series."""
    found = evidence.study(study)
    one, other = found.pairs(first, second)
    weights_C = _mean_of(found, {"dense": True}) - _mean_of(found, configurations)
    mean_C, means_RC = found.scores(benchmarks)
    square, squares_R = _mean_square(found, one, other, benchmarks)
    chosen = [*np.flatnonzero(weights_C), *one, *other]
    values_R = means_RC @ weights_C - _root(squares_R)
    return _estimate(found, mean_C @ weights_C - _root(square), values_R, chosen, benchmarks)


def above_lowest(
    evidence: Evidence,
    study: str,
    first: Selector,
    others: Sequence[Selector],
    benchmarks: Sequence[str],
) -> Estimate:
    """How much better some configurations score than the worst of others.

    Below 0 the first is worse than each of the others.
    """
    found = evidence.study(study)
    weights_CS = np.stack([_mean_of(found, selector) for selector in (first, *others)], axis=1)
    mean_C, means_RC = found.scores(benchmarks)
    mean_S, means_RS = mean_C @ weights_CS, means_RC @ weights_CS
    return _estimate(
        found,
        mean_S[0] - mean_S[1:].min(),
        means_RS[:, 0] - means_RS[:, 1:].min(axis=1),
        np.flatnonzero(weights_CS.any(axis=1)),
        benchmarks,
    )


def loss_above_smallest(
    evidence: Evidence, study: str, configurations: Selector, benchmark: str, others: Sequence[str]
) -> Estimate:
    """Mean loss on a benchmark less the smallest mean loss on any of others.

    Below 0 the benchmark loses less than each of the others. It is at chance if the dense model is
    on that benchmark, which then has nothing to lose, or if all the configurations are on all.
    """
    found = evidence.study(study)
    weights_C = _mean_of(found, {"dense": True}) - _mean_of(found, configurations)
    every = [benchmark, *others]
    losses, losses_R = [], []
    for mean_C, means_RC in found.scores_of_each(every):
        losses.append(mean_C @ weights_C)
        losses_R.append(means_RC @ weights_C)
    return Estimate.resampled(
        losses[0] - min(losses[1:]),
        losses_R[0] - np.min(losses_R[1:], axis=0),
        at_chance=found.at_chance(found.select({"dense": True}), [benchmark])
        or found.at_chance(found.select(configurations), every),
        **found.facts(np.flatnonzero(weights_C), every),
    )


def perplexity_increase(
    evidence: Evidence, study: str, configurations: Selector, benchmark: str
) -> Estimate:
    """Percent by which configurations have a higher perplexity than the dense model.

    Of several configurations it is the geometric mean.
    """
    found = evidence.study(study)
    weights_C = _mean_of(found, configurations) - _mean_of(found, {"dense": True})
    mean_C, means_RC = found.logarithms(benchmark)
    return Estimate.resampled(
        100 * np.expm1(mean_C @ weights_C),
        100 * np.expm1(means_RC @ weights_C),
        **found.facts(np.flatnonzero(weights_C), [benchmark]),
    )


def efficiency_slope(evidence: Evidence, metric: str, workloads: str = BENCHMARKS) -> Estimate:
    """Percent that a metric falls by for each percent of parameters removed, mean over workloads.

    The dense model, measured against itself, is the point at 0 of every workload's line. Of a
    single workload the interval is that of its own line.
    """
    table = evidence.measured(metric, workloads)
    lines = [
        (part["parameter_reduction_percent"], 100 * (1 - part["ratio"]))
        for _, part in table.groupby("workload")
    ]
    if len(lines) > 1:
        return _over_workloads([fit_line(x, y)["slope"] for x, y in lines], evidence, table)
    ((x, y),) = lines
    return Estimate(
        fit_line(x, y)["slope"],
        lambda confidence: tuple(fit_line(x, y, confidence)["interval"]),
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
    changes = 100 * (1 - table.groupby("workload")["ratio"].mean())
    return _over_workloads(changes, evidence, table, evidence.study(study))


def measurement(
    evidence: Evidence,
    metric: str,
    study: str,
    configurations: Selector,
    workloads: str = BENCHMARKS,
) -> Estimate:
    """Value of a metric at configurations of a study, mean over workloads, in its own unit."""
    table = _of_configurations(evidence, metric, study, configurations, workloads)
    values = table.groupby("workload")["value"].mean()
    return _over_workloads(values, evidence, table, evidence.study(study))


def linearity(evidence: Evidence, metric: str, workloads: str = BENCHMARKS) -> Estimate:
    """Least R² over workloads of the metric's line over the parameters removed.

    Its bootstrap resamples configurations, the same for every workload.
    """
    table = evidence.measured(metric, workloads)
    wide = table.pivot_table("ratio", ["parameter_reduction_percent"], "workload").dropna()
    x_C, y_CW = wide.index.to_numpy(float), wide.to_numpy()

    def least(counts_RC: np.ndarray) -> np.ndarray:
        weights_RC = counts_RC / counts_RC.sum(axis=1, keepdims=True)
        x_R, y_RW = weights_RC @ x_C, weights_RC @ y_CW
        with_x_RW = weights_RC @ (x_C[:, None] * y_CW) - x_R[:, None] * y_RW
        of_x_R = weights_RC @ x_C**2 - x_R**2
        of_y_RW = weights_RC @ y_CW**2 - y_RW**2
        r2_RW = with_x_RW**2 / (of_x_R[:, None] * of_y_RW)
        return np.minimum(r2_RW.min(axis=1), 1.0)  # rounding may pass 1

    rng = np.random.default_rng(0)
    counts_RC = rng.multinomial(len(x_C), np.full(len(x_C), 1 / len(x_C)), size=RESAMPLES)
    counts_RC = counts_RC[(counts_RC > 0).sum(axis=1) > 2]  # a line through two points is straight
    (value,) = least(np.ones((1, len(x_C))))
    return Estimate.resampled(value, least(counts_RC), **_facts(evidence, table))


def spread_over_workloads(evidence: Evidence, metric: str, workloads: str = BENCHMARKS) -> Estimate:
    """Standard deviation over workloads of a metric relative to dense, in percent of its mean.

    The mean over configurations; its bootstrap resamples configurations.
    """
    table = evidence.measured(metric, workloads)
    by_name = table[table["decomposition"] != DENSE].groupby("decomposition")["ratio"]
    spreads = (100 * by_name.std(ddof=1) / by_name.mean()).dropna().to_numpy()
    if len(spreads) < 3:
        raise NotTestable("fewer than two workloads or three configurations were measured")
    drawn = np.random.default_rng(0).integers(len(spreads), size=(RESAMPLES, len(spreads)))
    return Estimate.resampled(
        spreads.mean(), spreads[drawn].mean(axis=1), **_facts(evidence, table)
    )


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
        change_of_trend,
        root_mean_square_contrast,
        loss_beyond_contrast,
        above_lowest,
        loss_above_smallest,
        perplexity_increase,
        efficiency_slope,
        efficiency_change,
        measurement,
        linearity,
        spread_over_workloads,
        design_space_exponent,
    )
}
"""Every operator by its name in `config/claims.yaml`."""


def _estimate(
    study: Study,
    value: float,
    values_R: np.ndarray,
    chosen: Sequence[int],
    benchmarks: Sequence[str],
    signal: Sequence[int] | None = None,
) -> Estimate:
    """Return a statistic of scores; `signal` are the configurations that tell it from noise.

    All that are decomposed, unless said otherwise.
    """
    if signal is None:
        is_dense = study.configurations["decomposition"] == DENSE
        signal = [index for index in chosen if not is_dense[index]]
    return Estimate.resampled(
        value,
        values_R,
        at_chance=study.at_chance(signal, benchmarks),
        **study.facts(chosen, benchmarks),
    )


def _linear(
    study: Study,
    weights_C: np.ndarray,
    benchmarks: Sequence[str],
    signal: Sequence[int] | None = None,
) -> Estimate:
    mean_C, means_RC = study.scores(benchmarks)
    chosen = np.flatnonzero(weights_C)
    return _estimate(study, mean_C @ weights_C, means_RC @ weights_C, chosen, benchmarks, signal)


def _mean_square(
    study: Study, one: np.ndarray, other: np.ndarray, benchmarks: Sequence[str]
) -> tuple[float, np.ndarray]:
    """Return the mean square difference less that of the noise, and its replicates, (R,)."""
    scores = study.scores_of_each(benchmarks)
    differences = np.concatenate([mean_C[one] - mean_C[other] for mean_C, _ in scores])
    drawn = np.concatenate([means[:, one] - means[:, other] for _, means in scores], axis=1)
    noise = drawn.var(axis=0).mean()
    return (differences**2).mean() - noise, (drawn**2).mean(axis=1) - 2 * noise


def _root(square: float | Sequence[float]) -> np.ndarray:
    """Return the root of what is no less than nothing, noise apart."""
    return np.sqrt(np.maximum(square, 0.0))


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


def _over_workloads(
    values: Sequence[float], evidence: Evidence, table: pd.DataFrame, study: Study | None = None
) -> Estimate:
    """Return the mean over workloads; `study` named the configurations."""
    return Estimate.mean(values, "workloads", **_facts(evidence, table, study))


def _facts(evidence: Evidence, table: pd.DataFrame, study: Study | None = None) -> dict[str, Any]:
    """Return `evidence`, `flags` and `device` of rows of the profiles."""
    doubts = {part for text in table["doubts"].dropna() for part in text.split("; ") if part}
    return {
        "evidence": (str(evidence.profiles), *([str(study.path)] if study else [])),
        "flags": tuple(sorted(doubts)),
        "device": " and ".join(dict.fromkeys(table["device"].dropna())),
    }
