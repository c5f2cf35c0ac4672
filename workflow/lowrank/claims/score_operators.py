"""The statistics of scores that claims are made of: few, named, each with an interval.

A score is in the unit of its metric (percent for shares, so that a difference is in percentage
points), and more of it is better: where lower scores are better, their sign is turned. Every
bootstrap replicate keeps the answers of all configurations to one question together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lowrank.claims.estimate import Contrasts, Estimate
from lowrank.claims.evidence import Evidence
from lowrank.claims.studies import Study

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
    differences = found.contrasts_of_each(_differences(found, one, other), benchmarks)
    squares_K, squares_R = _mean_squares(differences)
    return Estimate.from_replicates(
        _root(squares_K),
        _root(squares_R),
        differences.exhaustive,
        **_facts_of_scores(found, [*one, *other], benchmarks),
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
    losses = found.contrasts(weights_C[:, None], benchmarks)
    differences = found.contrasts_of_each(_differences(found, one, other), benchmarks)
    squares_K, squares_R = _mean_squares(differences)
    return Estimate.from_replicates(
        losses.records_KS[:, 0] - _root(squares_K),
        losses.replicates_RS[:, 0] - _root(squares_R),
        losses.exhaustive,
        **_facts_of_scores(found, [*np.flatnonzero(weights_C), *one, *other], benchmarks),
    )


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
    one_C = _mean_of(found, first)
    weights_CS = np.stack([one_C - _mean_of(found, selector) for selector in others], axis=1)
    return Estimate.of_scores(
        lambda contrasts: contrasts.max(axis=-1),
        found.contrasts(weights_CS, benchmarks),
        **_facts_of_scores(found, np.flatnonzero(weights_CS.any(axis=1)), benchmarks),
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
    return Estimate.of_scores(
        lambda losses: losses[..., 0] - losses[..., 1:].min(axis=-1),
        found.contrasts_of_each(weights_C[:, None], every),
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
    return Estimate.of_scores(
        lambda logarithms: 100 * np.expm1(logarithms[..., 0]),
        found.log_contrasts(weights_C[:, None], benchmark),
        **found.facts(np.flatnonzero(weights_C), [benchmark]),
    )


def _linear(
    study: Study,
    weights_C: np.ndarray,
    benchmarks: Sequence[str],
    signal: Sequence[int] | None = None,
) -> Estimate:
    return Estimate.of_scores(
        lambda contrasts: contrasts[..., 0],
        study.contrasts(weights_C[:, None], benchmarks),
        **_facts_of_scores(study, np.flatnonzero(weights_C), benchmarks, signal),
    )


def _facts_of_scores(
    study: Study,
    chosen: Sequence[int],
    benchmarks: Sequence[str],
    signal: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Return what is known of a statistic of scores.

    `signal` are the configurations that tell it from noise: all that are decomposed, unless said
    otherwise.
    """
    if signal is None:
        signal = [index for index in chosen if not study.is_dense[index]]
    return {
        "at_chance": study.at_chance(signal, benchmarks),
        **study.facts(chosen, benchmarks),
    }


def _differences(study: Study, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return weights_CS of the pairwise differences of two selections."""
    identity = np.eye(len(study.configurations))
    return identity[:, one] - identity[:, other]


def _mean_squares(differences: Contrasts) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean square difference less that of the noise, (K,), and its replicates, (R,)."""
    noise = differences.replicates_RS.var(axis=0).mean()
    return (
        (differences.records_KS**2).mean(axis=1) - noise,
        (differences.replicates_RS**2).mean(axis=1) - 2 * noise,
    )


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
