"""Intervals for scores: what a number of questions can and cannot say."""

from __future__ import annotations

from collections.abc import Sequence

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
        interval = scipy.stats.binomtest(int(scores.sum()), scores.size).proportion_ci(
            confidence, method="wilson"
        )
        return float(interval.low), float(interval.high)
    if np.ptp(scores) == 0.0:
        return float(scores[0]), float(scores[0])
    rng = np.random.default_rng(seed)
    means = scores[rng.integers(scores.size, size=(RESAMPLES, scores.size))].mean(axis=1)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def bootstrap_means(values_QC: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
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
        counts = rng.multinomial(questions, uniform, size=stop - start)
        means_RC[start:stop] = counts @ values_QC / questions
    return means_RC


def percentile_interval(
    replicates_RC: np.ndarray, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (low, high) percentiles of bootstrap replicates, each of shape (C,)."""
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(replicates_RC, [tail, 100 - tail], axis=0)
    return low, high
