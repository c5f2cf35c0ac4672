"""Intervals for scores: what a number of questions can and cannot say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

RESAMPLES = 20_000
"""Replicates of a bootstrap: enough for the tails of fifty tests at once."""

LEAST_CLUSTERS = 10
"""Fewer clusters than these cannot say how much clusters vary; questions then count one by one."""

CONFIDENCE = 0.95
"""Of every interval in the results, and one less the level that Holm's adjustment keeps."""


def mean_interval(
    values: Sequence[float],
    clusters: Sequence[object] | None = None,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Return a confidence interval of the mean of scores.

    Right-or-wrong scores get Wilson's interval (Wilson, 1927), which is honest at 0 of n and at
    n of n. Graded scores and scores in clusters get the same with an effective number of
    questions (Dean and Pagano, 2015): m(1 - m) over the squared standard error of the mean m, and
    times (z/t)², since the error itself is estimated (Korn and Graubard, 1998). Clusters never make
    it more than there are questions. Graded scores count as if a 0 and a 1 had been scored as well,
    so that equal scores are no certainty. Scores beyond [0, 1] get Student's t.

    Parameters
    ----------
    values
        One score a question, (questions,).
    clusters
        The cluster of each question, as `independent_units` takes them.
    confidence
        Coverage.

    Raises
    ------
    ValueError
        If there is no score, or one is not finite.
    """
    scores_Q = np.asarray(values, dtype=float)
    if scores_Q.size == 0 or not np.isfinite(scores_Q).all():
        raise ValueError("there is no score to make an interval of, or one is not finite")
    count, mean = scores_Q.size, float(scores_Q.mean())
    units = len(np.unique(independent_units(count, clusters)))
    is_binary = is_right_or_wrong(scores_Q)
    if is_binary and units == count:
        return wilson_interval(mean, count, confidence)
    t = scipy.stats.t.ppf((1 + confidence) / 2, units - 1) if units > 1 else np.inf
    error = standard_error(scores_Q, clusters)
    if scores_Q.min() < 0 or scores_Q.max() > 1:
        reach = t * error if units > 1 else np.finfo(float).max  # which a file can hold
        return float(mean - reach), float(mean + reach)
    variance = error**2
    if not is_binary:
        variance += (mean**2 + (1 - mean) ** 2) / count**2
    effective = mean * (1 - mean) / variance if variance > 0 else count
    if is_binary:
        effective = min(effective, count)
    z = scipy.stats.norm.ppf((1 + confidence) / 2)
    return wilson_interval(mean, effective * (z / t) ** 2, confidence)


def wilson_interval(
    share: float, questions: float, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return Wilson's interval (1927) of a share; the number of questions need not be whole."""
    z = scipy.stats.norm.ppf((1 + confidence) / 2)
    centre = questions * share + z**2 / 2
    reach = z * np.sqrt(questions * share * (1 - share) + z**2 / 4)
    low, high = ((centre + sign * reach) / (questions + z**2) for sign in (-1, 1))
    return 0.0 if share == 0 else float(max(low, 0.0)), 1.0 if share == 1 else float(min(high, 1.0))


def standard_error(values: Sequence[float], clusters: Sequence[object] | None = None) -> float:
    """Return the standard error of the mean of scores; 0 if there is one only.

    It is robust to clusters: scores of one cluster may depend on each other in any way (Liang and
    Zeger, 1986, with the factor G/(G - 1) for G clusters).

    Parameters
    ----------
    values
        One score a question, (questions,).
    clusters
        The cluster of each question, as `independent_units` takes them.
    """
    scores_Q = np.asarray(values, dtype=float)
    sum_U = np.bincount(independent_units(len(scores_Q), clusters), scores_Q - scores_Q.mean())
    units = len(sum_U)
    return float(np.sqrt((sum_U**2).sum() * units / max(units - 1, 1)) / len(scores_Q))


def is_right_or_wrong(values: np.ndarray) -> bool:
    """Return whether every score is 0 or 1."""
    return bool(np.isin(values, (0.0, 1.0)).all())


def independent_units(questions: int, clusters: Sequence[object] | None = None) -> np.ndarray:
    """Return the number of the unit that each question belongs to, (questions,), from 0.

    Units are what chance draws: clusters, such as the questions on one passage, or single
    questions where there are no clusters or fewer than `LEAST_CLUSTERS`.

    Parameters
    ----------
    questions
        How many there are.
    clusters
        What names the cluster of each question; None for none.
    """
    if clusters is not None:
        names_U, unit_Q = np.unique(np.asarray(clusters), return_inverse=True)
        if len(names_U) >= LEAST_CLUSTERS:
            return unit_Q
    return np.arange(questions)


def bootstrap_means(
    values_QC: np.ndarray,
    seed: int = 0,
    weights_Q: np.ndarray | None = None,
    clusters_Q: np.ndarray | None = None,
    resamples: int = RESAMPLES,
) -> np.ndarray:
    """Return means over randomly weighted questions, the same weights for every configuration.

    This is the Bayesian bootstrap (Rubin, 1981): each question, or each cluster as a whole, weighs
    as much as an exponential variate says. Since all columns are weighted alike, a difference of
    two columns is a paired replicate. Replicates are stretched for few questions, see `_stretched`.

    Parameters
    ----------
    values_QC
        Scores, (questions × configurations).
    seed
        Seed of the weights.
    weights_Q
        What each question weighs in the mean by itself; all the same by default. One of weight 0
        is left out, and what is random of the others is the same as with it.
    clusters_Q
        The cluster of each question, as `independent_units` takes them.
    resamples
        Number of replicates R.

    Returns
    -------
    means_RC, (resamples × configurations).
    """
    questions, configurations = values_QC.shape
    unit_Q = independent_units(questions, clusters_Q)
    weights_Q = np.ones(questions) if weights_Q is None else weights_Q
    size_U = np.bincount(unit_Q, weights_Q)
    sum_UC = np.zeros((len(size_U), configurations))
    in_Q = weights_Q != 0
    np.add.at(sum_UC, unit_Q[in_Q], values_QC[in_Q] * weights_Q[in_Q, None])
    draws = _random_weights(len(size_U), resamples, seed)
    in_U = np.bincount(unit_Q, in_Q) > 0
    if not in_U.all():
        draws = (drawn_RU[:, in_U] for drawn_RU in draws)
        size_U, sum_UC = size_U[in_U], sum_UC[in_U]
    means_RC = np.concatenate(
        [(drawn_RU @ sum_UC) / (drawn_RU @ size_U)[:, None] for drawn_RU in draws]
    )
    return _stretched(means_RC, sum_UC.sum(axis=0) / size_U.sum(), len(size_U))


def bootstrap_average_precision(
    scores_QC: np.ndarray,
    labels_Q: np.ndarray,
    seed: int = 0,
    clusters_Q: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    in_Q: np.ndarray | None = None,
) -> np.ndarray:
    """Return average precisions over randomly weighted questions, as `bootstrap_means` weighs.

    The average precision is Σ P(k) Δrecall(k) over the ranking.

    Parameters
    ----------
    scores_QC
        What ranks the questions, (questions × configurations); higher is more likely right.
    labels_Q
        1 where it is right.
    seed, clusters_Q, resamples
        As `bootstrap_means` takes them.
    in_Q
        Whether each question counts; all by default. What is random of them is the same as if all
        did.

    Returns
    -------
    precisions_RC, (resamples × configurations).
    """
    unit_Q = independent_units(len(scores_QC), clusters_Q)
    draws = _random_weights(int(unit_Q.max()) + 1, resamples, seed)
    if in_Q is not None:
        scores_QC, labels_Q, unit_Q = scores_QC[in_Q], labels_Q[in_Q], unit_Q[in_Q]
    made_RC = np.concatenate(
        [average_precisions(scores_QC, labels_Q, drawn_RU[:, unit_Q]) for drawn_RU in draws]
    )
    whole_1C = average_precisions(scores_QC, labels_Q, np.ones((1, len(scores_QC))))
    return np.clip(_stretched(made_RC, whole_1C[0], len(np.unique(unit_Q))), 0.0, 1.0)


def average_precisions(
    scores_QC: np.ndarray, labels_Q: np.ndarray, weights_RQ: np.ndarray
) -> np.ndarray:
    """Return the average precision of each ranking for each row of weights above 0, (R, C)."""
    made = []
    for scores_Q in scores_QC.T:
        order = np.argsort(-scores_Q, kind="stable")
        right_RQ = np.cumsum(weights_RQ[:, order] * labels_Q[order], axis=1)
        all_RQ = np.cumsum(weights_RQ[:, order], axis=1)
        # Equal scores share the precision at the end of their run.
        ends = np.append(np.flatnonzero(np.diff(scores_Q[order])), len(order) - 1)
        gained_RE = np.diff(right_RQ[:, ends], axis=1, prepend=0)
        precision_RE = right_RQ[:, ends] / all_RQ[:, ends]
        made.append((gained_RE * precision_RE).sum(axis=1) / right_RQ[:, -1])
    return np.stack(made, axis=1)


def _random_weights(units: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield rows of weights, (rows, units): few enough at a time for whole test sets."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, 100):
        yield rng.standard_exponential((min(100, resamples - start), units))


def _stretched(replicates_RC: np.ndarray, scores_C: np.ndarray, units: int) -> np.ndarray:
    """Return replicates further from the score, since those of few units lie too close to it.

    Their spread is that of Student's t at 95% in place of the normal distribution (Hesterberg,
    2015), and of the sample's variance in place of the resampled one's.
    """
    if units < 2:
        return replicates_RC
    tail = (1 + CONFIDENCE) / 2
    factor = scipy.stats.t.ppf(tail, units - 1) / scipy.stats.norm.ppf(tail)
    return scores_C + factor * np.sqrt((units + 1) / (units - 1)) * (replicates_RC - scores_C)


def percentile_interval(
    replicates_RC: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (low, high) percentiles of bootstrap replicates, each of shape (C,)."""
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(replicates_RC, [tail, 100 - tail], axis=0)
    return low, high


def bootstrap_p_values(replicates_RC: np.ndarray) -> np.ndarray:
    """Return two-sided p-values of "the statistic is zero" from bootstrap replicates, (C,).

    Twice the smaller tail beyond zero; one is added to both counts, so that R replicates never say
    less than 2 / (R + 1) (Davison and Hinkley, 1997, section 4.2).
    """
    resamples = len(replicates_RC)
    tails = np.minimum((replicates_RC <= 0).sum(axis=0), (replicates_RC >= 0).sum(axis=0))
    return np.minimum(1.0, 2 * (tails + 1) / (resamples + 1))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return p-values adjusted for their number, in the order given (Holm, 1979).

    Rejecting those at or below α keeps the chance of any false rejection at α or less, however the
    tests depend on each other.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, steps)
    return adjusted


@dataclass(frozen=True)
class Average:
    """How the values of questions average to a score.

    Attributes
    ----------
    column
        What each question has beside its value: `label` or `weight`; empty for nothing.
    scores
        From values_QC and that column, (questions,), to the scores of the configurations, (C,).
    replicates
        The same over randomly weighted questions, with a seed, the cluster of each question (or
        None) and whether each counts (by default all), (resamples × configurations). What is
        random of a question does not depend on which others count.
    """

    column: str
    scores: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    replicates: Callable[..., np.ndarray]


def _average_precisions(values_QC: np.ndarray, labels_Q: np.ndarray) -> np.ndarray:
    from sklearn.metrics import average_precision_score  # slow to import, and rarely needed

    return np.array([average_precision_score(labels_Q, values) for values in values_QC.T])


def _weighted_means(values_QC: np.ndarray, weights_Q: np.ndarray) -> np.ndarray:
    return np.average(values_QC, axis=0, weights=weights_Q)


def _replicates(
    values_QC: np.ndarray,
    weights_Q: np.ndarray | None,
    seed: int,
    clusters_Q: np.ndarray | None,
    in_Q: np.ndarray | None = None,
) -> np.ndarray:
    weights_Q = np.ones(len(values_QC)) if weights_Q is None else weights_Q
    return bootstrap_means(
        values_QC, seed, weights_Q if in_Q is None else weights_Q * in_Q, clusters_Q
    )


AVERAGES: Mapping[str, Average] = {
    "mean": Average("", lambda values_QC, _: values_QC.mean(axis=0), _replicates),
    "average_precision": Average(
        "label",
        _average_precisions,
        lambda values_QC, labels_Q, seed, clusters_Q, in_Q=None: bootstrap_average_precision(
            values_QC, labels_Q, seed, clusters_Q, in_Q=in_Q
        ),
    ),
    "weighted_mean": Average("weight", _weighted_means, _replicates),
    "perplexity": Average(
        "weight",
        lambda values_QC, weights_Q: np.exp(_weighted_means(values_QC, weights_Q)),
        lambda *arguments: np.exp(_replicates(*arguments)),
    ),
}
"""How each of `lowrank.base.metric.AVERAGINGS` is computed."""
