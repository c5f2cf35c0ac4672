"""The statistics of scores that claims are made of: few, named, each with an interval.

A score is in the unit of its metric (percent for shares, so that a difference is in percentage
points), and more of it is better: where lower scores are better, their sign is turned. Every
bootstrap replicate keeps the answers of all configurations to one question together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from lowrank.base.errors import LowrankError
from lowrank.base.statistics import percentile_interval
from lowrank.claims.estimate import Contrasts, Estimate, mixed_records
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


def largest_contrast(
    evidence: Evidence, study: str, first: Selector, second: Selector, benchmarks: Sequence[str]
) -> Estimate:
    """How much better some configurations score than others, on the benchmark where it is most."""
    return _extreme(evidence.study(study), first, second, benchmarks, 1)


def smallest_contrast(
    evidence: Evidence, study: str, first: Selector, second: Selector, benchmarks: Sequence[str]
) -> Estimate:
    """How much better some configurations score than others, on the benchmark where it is least."""
    return _extreme(evidence.study(study), first, second, benchmarks, -1)


def mean_absolute_contrast(
    evidence: Evidence, study: str, first: Selector, second: Selector, benchmarks: Sequence[str]
) -> Estimate:
    """Mean absolute difference of two series over labels and benchmarks.

    Labels of which both series are at chance are left out, since guesses do not differ; it is at
    chance if no label is left, and then over all. See `_with_absolute` for the interval.
    """
    found = evidence.study(study)
    one, other, has_signal = _pairs_with_signal(found, first, second, benchmarks)
    differences = found.contrasts_of_each(_differences(found, one, other), benchmarks)
    nothing = differences.mixed(np.zeros((differences.records_KS.shape[1], 1)))
    return _with_absolute(
        nothing,
        differences,
        1,
        least=0.0,
        at_chance=not has_signal,
        **found.facts([*one, *other], benchmarks),
    )


def loss_beyond_contrast(
    evidence: Evidence, study: str, first: Selector, second: Selector, benchmarks: Sequence[str]
) -> Estimate:
    """Mean loss of the second series less the `mean_absolute_contrast` of the two.

    Both are over the same labels.
    """
    found = evidence.study(study)
    one, other, has_signal = _pairs_with_signal(found, first, second, benchmarks)
    weights_C = _mean_of(found, {"dense": True})
    weights_C[other] -= 1 / len(other)
    return _with_absolute(
        found.contrasts(weights_C[:, None], benchmarks),
        found.contrasts_of_each(_differences(found, one, other), benchmarks),
        -1,
        at_chance=not has_signal,
        **found.facts([*np.flatnonzero(found.is_dense), *one, *other], benchmarks),
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
    return Estimate.of_largest(
        found.contrasts(weights_CS, benchmarks),
        **_facts_of_scores(found, np.flatnonzero(weights_CS.any(axis=1)), benchmarks),
    )


def loss_above_smallest(
    evidence: Evidence, study: str, configurations: Selector, benchmark: str, others: Sequence[str]
) -> Estimate:
    """Mean loss on a benchmark less the smallest mean loss on any of others.

    Below 0 the benchmark loses less than each of the others. It is at chance if the dense model
    scores at chance there, so that nothing can be lost, or if all the configurations do so on all
    benchmarks.
    """
    found = evidence.study(study)
    weights_C = _mean_of(found, {"dense": True}) - _mean_of(found, configurations)
    every = [benchmark, *others]
    beyond_ST = np.concatenate([np.ones((1, len(others))), -np.eye(len(others))])
    return Estimate.of_largest(
        found.contrasts_of_each(weights_C[:, None], every).mixed(beyond_ST),
        at_chance=found.at_chance(found.select({"dense": True}), [benchmark])
        or found.at_chance(found.select(configurations), every),
        **found.facts(np.flatnonzero(weights_C), every),
    )


def perplexity_increase(
    evidence: Evidence,
    study: str,
    configurations: Selector,
    benchmark: str,
    over: Selector = MappingProxyType({"dense": True}),
) -> Estimate:
    """Percent by which configurations have a higher perplexity than others: the dense model.

    Of several configurations it is the geometric mean.
    """
    found = evidence.study(study)
    weights_C = _mean_of(found, configurations) - _mean_of(found, over)
    return Estimate.of_scores(
        lambda logarithms: 100 * np.expm1(logarithms[..., 0]),
        found.log_contrasts(weights_C[:, None], benchmark),
        **found.facts(np.flatnonzero(weights_C), [benchmark]),
    )


def largest_cut(
    evidence: Evidence, study: str, configurations: Selector, benchmark: str, at_most: float
) -> Estimate:
    """Largest cut, in the percent of its label, that raises perplexity by so many percent at most.

    All smaller cuts must do so, too. It is one of those that were tried, or 0. The lower end is the
    last cut before the first whose increase may be larger. Smaller cuts come first, in a fixed
    order, so each has the whole level. The upper end is the last cut before the first whose
    increase is larger. Any of S cuts could be taken for that one by chance, so each has level α / S
    (Bonferroni).

    Raises
    ------
    LowrankError
        If a label is no percentage.
    """
    found = evidence.study(study)
    chosen = found.select(configurations)
    cut_S = np.array([_percentage(label) for label in found.configurations["label"].iloc[chosen]])
    chosen, cut_S = chosen[np.argsort(cut_S)], np.sort(cut_S)
    dense = np.flatnonzero(found.is_dense)
    increases = found.log_contrasts(_differences(found, chosen, dense), benchmark)
    allowed = np.log1p(at_most / 100)

    def reached(increase_S: np.ndarray) -> float:
        within = int(np.cumprod(increase_S <= allowed).sum())
        return float(cut_S[within - 1]) if within else 0.0

    def interval(confidence: float) -> tuple[float, float]:
        _, high_S = percentile_interval(increases.replicates_RS, confidence)
        shared = 1 - (1 - confidence) / len(cut_S)
        low_S, _ = percentile_interval(increases.replicates_RS, shared)
        value = reached(increases.records_KS[0])
        return min(reached(high_S), value), max(reached(low_S), value)

    return Estimate.from_replicates(
        np.array([reached(increase_S) for increase_S in increases.records_KS]),
        # Cuts come in steps: whether questions vary shows in the increases.
        increases.replicates_RS - increases.replicates_RS[0],
        increases.exhaustive,
        interval=interval,
        least=0.0,
        **found.facts([*dense, *chosen], [benchmark]),
    )


def _percentage(label: str) -> float:
    try:
        return float(label.removesuffix("%"))
    except ValueError:
        raise LowrankError(f"the label {label!r} is no percentage") from None


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

    `signal` are the configurations that tell it from noise: all of them, unless said otherwise.
    """
    return {
        "at_chance": study.at_chance(chosen if signal is None else signal, benchmarks),
        **study.facts(chosen, benchmarks),
    }


def _differences(study: Study, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return weights_CS of the pairwise differences of two selections."""
    identity = np.eye(len(study.configurations))
    return identity[:, one] - identity[:, other]


def _pairs_with_signal(
    study: Study, first: Selector, second: Selector, benchmarks: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return pairs of which one is better than a guess, and whether there is any; else all."""
    one, other = study.pairs(first, second)
    kept = np.array(
        [not study.at_chance(pair, benchmarks) for pair in zip(one, other, strict=True)]
    )
    return (one[kept], other[kept], True) if kept.any() else (one, other, False)


def _with_absolute(
    linear: Contrasts, differences: Contrasts, sign: int, least: float = -np.inf, **facts: Any
) -> Estimate:
    """Return a linear contrast plus or minus the mean absolute value of differences.

    With D the differences as seen and ε their noise, mean |D − ε| is what is asked for. Noise adds
    to mean |D|, and resampling adds once more: the end of the replicates on that side errs to the
    safe side. The other end may not lean on noise: by the triangle inequality mean |D − ε| is no
    less than mean |D| − mean |ε|, so that end takes the quantile of mean |ε| off, by the
    replicates around what was seen.

    Noise of variance s² adds s² to D² on average, so D² − s² is left of it with endless questions.

    Parameters
    ----------
    linear
        One contrast, (…, 1).
    differences
        What the mean absolute value is taken of, (…, S).
    sign
        1 to add it, −1 to take it off.
    least
        The least value that there can be.
    **facts
        Further attributes of the estimate.
    """
    mean_S1 = np.full((differences.records_KS.shape[1], 1), sign / differences.records_KS.shape[1])
    magnitude = differences.absolute().mixed(mean_S1)
    values_R = (linear.replicates_RS + magnitude.replicates_RS)[:, 0]
    values_K = (mixed_records(linear.records_KS, np.eye(1)) + magnitude.records_KS)[:, 0]
    noise_RS = differences.replicates_RS - differences.records_KS[0]
    noise_R = linear.replicates_RS[:, 0] - linear.records_KS[0, 0]
    reach_R = np.abs(noise_RS).mean(axis=1) + sign * noise_R
    left_S = np.sqrt(np.maximum(differences.records_KS[0] ** 2 - (noise_RS**2).mean(axis=0), 0))
    settled = float(linear.records_KS[0, 0] + sign * left_S.mean())

    def interval(confidence: float) -> tuple[float, float]:
        value = float(values_K[0])
        leaning = float(percentile_interval(sign * values_R, confidence)[1])
        reach = float(percentile_interval(reach_R, confidence)[1])
        ends = sign * max(leaning, sign * value), value - sign * max(reach, 0.0)
        return max(min(ends), least), max(ends)

    return Estimate.from_replicates(
        values_K,
        values_R,
        differences.exhaustive,
        interval=interval,
        least=least,
        settled=settled,
        **facts,
    )


def _extreme(
    study: Study, first: Selector, second: Selector, benchmarks: Sequence[str], sign: int
) -> Estimate:
    """Return the largest contrast over benchmarks, or with a sign of −1 the smallest."""
    weights_C = _mean_of(study, first) - _mean_of(study, second)
    return Estimate.of_largest(
        study.contrasts_of_each(weights_C[:, None], benchmarks),
        sign,
        **_facts_of_scores(study, np.flatnonzero(weights_C), benchmarks),
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
