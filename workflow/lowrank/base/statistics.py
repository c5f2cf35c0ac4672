"""Intervals for scores: what a number of questions can and cannot say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

RESAMPLES = 2000


def mean_interval(
    values: Sequence[float], confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return a confidence interval of the mean of scores in [0, 1].

    Right-or-wrong scores get Wilson's interval (Wilson, 1927), which is honest at 0 of n and at
    n of n; graded scores get a bootstrap over questions (percentiles).

    Parameters
    ----------
    values
        One score a question.
    confidence
        Coverage.
    seed
        Seed of the bootstrap.

    Raises
    ------
    ValueError
        If there is no score.
    """
    scores = np.asarray(values, dtype=float)
    if scores.size == 0:
        raise ValueError("there is no score to make an interval of")
    if np.isin(scores, (0.0, 1.0)).all():
        return wilson_interval(int(scores.sum()), scores.size, confidence)
    if np.ptp(scores) == 0.0:
        return float(scores[0]), float(scores[0])
    rng = np.random.default_rng(seed)
    means = scores[rng.integers(scores.size, size=(RESAMPLES, scores.size))].mean(axis=1)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def wilson_interval(right: int, questions: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval (1927) of the share of right answers."""
    test = scipy.stats.binomtest(right, questions)
    interval = test.proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_means(
    values_QC: np.ndarray,
    resamples: int = RESAMPLES,
    seed: int = 0,
    weights_Q: np.ndarray | None = None,
) -> np.ndarray:
    """Return means over resampled questions, the same questions for every configuration.

    Since all columns are resampled together, a difference of two columns is a paired bootstrap
    replicate (Efron and Tibshirani, 1993).

    Parameters
    ----------
    values_QC
        Scores, (questions × configurations).
    resamples
        Number of replicates R.
    seed
        Seed of the resampling.
    weights_Q
        What each question weighs in the mean, above 0; all the same by default.

    Returns
    -------
    means_RC, (resamples × configurations).
    """
    questions, configurations = values_QC.shape
    rng = np.random.default_rng(seed)
    means_RC = np.empty((resamples, configurations))
    uniform = np.full(questions, 1.0 / questions)
    for start in range(0, resamples, 100):  # few enough at a time for whole test sets
        stop = min(start + 100, resamples)
        counts_RQ = rng.multinomial(questions, uniform, size=stop - start)
        if weights_Q is None:
            means_RC[start:stop] = counts_RQ @ values_QC / questions
        else:
            drawn_RQ = counts_RQ * weights_Q
            means_RC[start:stop] = drawn_RQ @ values_QC / drawn_RQ.sum(axis=1, keepdims=True)
    return means_RC


def bootstrap_average_precision(
    scores_QC: np.ndarray, labels_Q: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Return average precisions over resampled questions, the same for every configuration.

    A resample counts each question so many times, which is what weighting it does; the average
    precision is Σ P(k) Δrecall(k) over the ranking. A resample without a right label has none and
    is drawn with one more count of the first right question.

    Parameters
    ----------
    scores_QC
        What ranks the questions, (questions × configurations); higher is more likely right.
    labels_Q
        1 where it is right.

    Returns
    -------
    precisions_RC, (resamples × configurations).
    """
    questions, configurations = scores_QC.shape
    rng = np.random.default_rng(seed)
    counts_RQ = rng.multinomial(questions, np.full(questions, 1.0 / questions), size=resamples)
    counts_RQ[counts_RQ @ labels_Q == 0, np.argmax(labels_Q)] += 1
    made = [average_precision(scores_QC[:, c], labels_Q, counts_RQ) for c in range(configurations)]
    return np.stack(made, axis=1)


def average_precision(
    scores_Q: np.ndarray, labels_Q: np.ndarray, counts_RQ: np.ndarray
) -> np.ndarray:
    """Return the average precision of a ranking for each row of question counts, (R,)."""
    order = np.argsort(-scores_Q, kind="stable")
    counts_RQ, labels_Q = counts_RQ[:, order], labels_Q[order]
    right_RQ = np.cumsum(counts_RQ * labels_Q, axis=1)
    all_RQ = np.maximum(np.cumsum(counts_RQ, axis=1), 1)
    # Equal scores share the precision at the end of their run.
    ends = np.append(np.flatnonzero(np.diff(scores_Q[order])), len(order) - 1)
    gained_RE = np.diff(right_RQ[:, ends], axis=1, prepend=0)
    return (gained_RE * right_RQ[:, ends] / all_RQ[:, ends]).sum(axis=1) / right_RQ[:, -1]


def percentile_interval(
    replicates_RC: np.ndarray, confidence: float = 0.95
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
        The same over resampled questions, with a seed, (resamples × configurations).
    """

    column: str
    scores: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    replicates: Callable[[np.ndarray, np.ndarray | None, int], np.ndarray]


def _average_precisions(values_QC: np.ndarray, labels_Q: np.ndarray) -> np.ndarray:
    from sklearn.metrics import average_precision_score  # slow to import, and rarely needed

    return np.array([average_precision_score(labels_Q, values) for values in values_QC.T])


def _weighted_means(values_QC: np.ndarray, weights_Q: np.ndarray) -> np.ndarray:
    return np.average(values_QC, axis=0, weights=weights_Q)


def _weighted_replicates(values_QC: np.ndarray, weights_Q: np.ndarray, seed: int) -> np.ndarray:
    return bootstrap_means(values_QC, seed=seed, weights_Q=weights_Q)


AVERAGES: Mapping[str, Average] = {
    "mean": Average(
        "",
        lambda values_QC, _: values_QC.mean(axis=0),
        lambda values_QC, _, seed: bootstrap_means(values_QC, seed=seed),
    ),
    "average_precision": Average(
        "label",
        _average_precisions,
        lambda values_QC, labels_Q, seed: bootstrap_average_precision(
            values_QC, labels_Q, seed=seed
        ),
    ),
    "weighted_mean": Average("weight", _weighted_means, _weighted_replicates),
    "perplexity": Average(
        "weight",
        lambda values_QC, weights_Q: np.exp(_weighted_means(values_QC, weights_Q)),
        lambda *arguments: np.exp(_weighted_replicates(*arguments)),
    ),
}
"""How each of `lowrank.base.metric.AVERAGINGS` is computed."""
