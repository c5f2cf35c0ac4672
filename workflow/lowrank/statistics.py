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
