"""A statistic with its uncertainty, read in one way or two.

Shape suffixes: ``S`` statistics, ``K`` records of one test set, ``R`` bootstrap resamples, ``W``
workloads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.stats

from lowrank.base.sequential import stretch
from lowrank.base.statistics import percentile_interval

COUNTED = "as counted"

THIS_TEST_SET, QUESTIONS_LIKE_THESE = "on this test set", "on questions like these"

THESE_WORKLOADS, WORKLOADS_LIKE_THESE = "on these workloads", "on workloads like these"

LIKE_THESE = (QUESTIONS_LIKE_THESE, WORKLOADS_LIKE_THESE)
"""Readings that speak of more than was asked or measured."""

Interval = Callable[[float], tuple[float, float]]
"""From a confidence level to the interval's ends."""


class NotTestable(Exception):  # noqa: N818 (no error: an answer)
    """A claim cannot be tested on these results; the message says why."""


@dataclass(frozen=True)
class Reading:
    """What an interval speaks of.

    Attributes
    ----------
    name
        `on this test set` has no error of sampling, since every question was asked; `on questions
        like these` has it. `on these workloads` has the error of the measurements alone; `on
        workloads like these` that of drawing the workloads as well.
    interval
        From a confidence level to the interval's ends.
    undecidable
        Why the interval says nothing; empty where it does.
    least
        The least value that the statistic can have.
    """

    name: str
    interval: Interval
    undecidable: str = ""
    least: float = -np.inf

    def at_look(self, value: float, fractions: Sequence[float], look: int) -> Reading:
        """Return the reading at one of several planned looks, as `Estimate.at_look` says."""
        if self.name != QUESTIONS_LIKE_THESE:
            return self

        def interval(confidence: float) -> tuple[float, float]:
            low, high = self.interval(confidence)
            factor = stretch(confidence, fractions, look)
            return max(value + factor * (low - value), self.least), value + factor * (high - value)

        return replace(self, interval=interval)


@dataclass(frozen=True)
class Contrasts:
    """Differences of scores, on the questions that were asked and on others like them.

    Attributes
    ----------
    records_KS
        On the questions that were asked: the value that counts and, where a model was run by
        several people, the least and the greatest that their records allow. Each contrast has ends
        of its own, so that no record agrees or disagrees with that of another score.
    replicates_RS
        On resampled questions.
    exhaustive
        Whether the questions are all of their test sets.
    """

    records_KS: np.ndarray
    replicates_RS: np.ndarray
    exhaustive: bool

    def mixed(self, weights_ST: np.ndarray) -> Contrasts:
        """Return weighted sums of them."""
        return Contrasts(
            mixed_records(self.records_KS, weights_ST),
            self.replicates_RS @ weights_ST,
            self.exhaustive,
        )

    def absolute(self) -> Contrasts:
        """Return their absolute values."""
        ends_KS = np.abs(self.records_KS)
        is_around_zero_S = (self.records_KS.min(axis=0) < 0) & (self.records_KS.max(axis=0) > 0)
        low_S = np.where(is_around_zero_S, 0.0, ends_KS.min(axis=0))
        records_KS = np.stack([ends_KS[0], low_S, ends_KS.max(axis=0)])
        return Contrasts(records_KS, np.abs(self.replicates_RS), self.exhaustive)


def mixed_records(records_KS: np.ndarray, weights_ST: np.ndarray) -> np.ndarray:
    """Return the value of weighted sums, their least and their greatest, (3, T).

    Parameters
    ----------
    records_KS
        First the value of each summand, then what others recorded of it.
    weights_ST
        The weights. An end has each summand's least or greatest record, by the sign of its weight.
    """
    value_S = records_KS[0]
    below_S, above_S = records_KS.min(axis=0) - value_S, records_KS.max(axis=0) - value_S
    plus_ST, minus_ST = np.maximum(weights_ST, 0), np.maximum(-weights_ST, 0)
    value_T = value_S @ weights_ST
    low_T = value_T + below_S @ plus_ST - above_S @ minus_ST
    high_T = value_T + above_S @ plus_ST - below_S @ minus_ST
    return np.stack([value_T, low_T, high_T])


@dataclass(frozen=True)
class Estimate:
    """A statistic with its uncertainty.

    Attributes
    ----------
    value
        The statistic on all the data.
    readings
        Its intervals; the first one decides.
    questions
        How many questions it rests on: those that all its configurations were asked, of all its
        benchmarks together. None where it rests on none.
    available
        How many questions those benchmarks have.
    configurations
        Names of the configurations whose answers it rests on.
    benchmarks
        The benchmarks whose answers it rests on.
    settled
        What is left of the value where noise adds to it: the value to expect of endless questions.
        None where noise adds nothing.
    evidence
        Files that it was computed from.
    flags
        What casts doubt on it.
    device
        What it was measured on, where that is not the device of the evaluations.
    at_chance
        Whether all the configurations that it compares score no better than a guess.
    """

    value: float
    readings: tuple[Reading, ...]
    questions: int | None = None
    evidence: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    device: str = ""
    at_chance: bool = False
    available: int | None = None
    configurations: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    settled: float | None = None

    def at_look(self, fractions: Sequence[float], look: int) -> Estimate:
        """Return the estimate as it counts at one of several planned looks.

        What speaks of questions like these is a repeated confidence interval: the interval of a
        single look, stretched about the estimate (Jennison and Turnbull, 1989). What has no error
        of sampling stays as it is.

        Parameters
        ----------
        fractions
            The share of the planned questions at each look, ascending to 1.
        look
            Which look this is, from 1.
        """
        readings = tuple(own.at_look(self.value, fractions, look) for own in self.readings)
        return replace(self, readings=readings)

    @classmethod
    def exact(cls, value: float, *evidence: str) -> Estimate:
        """Return a number that was counted: its interval has no width."""
        return cls(value, (Reading(COUNTED, lambda confidence: (value, value)),), None, evidence)

    @classmethod
    def of_scores(
        cls, statistic: Callable[[np.ndarray], np.ndarray], contrasts: Contrasts, **facts: Any
    ) -> Estimate:
        """Return a statistic of differences of scores.

        Where all questions of the test sets were asked, its first reading is on these test sets:
        the interval spans the records of them. The interval on questions like these has the
        percentiles of the bootstrap replicates. Replicates that are all equal are no
        certainty, as where a metric is no share and no two answers differ: nothing can be decided
        by them.

        Parameters
        ----------
        statistic
            From rows of contrasts, (…, S), to their statistic, (…). It must rise with each of
            them, or fall with each.
        contrasts
            What it is a statistic of.
        **facts
            Further attributes.
        """
        values_K = statistic(contrasts.records_KS)
        return cls.from_replicates(
            values_K, statistic(contrasts.replicates_RS), contrasts.exhaustive, **facts
        )

    @classmethod
    def of_largest(cls, contrasts: Contrasts, sign: int = 1, **facts: Any) -> Estimate:
        """Return the largest of several contrasts; with a sign of −1 the smallest.

        Noise picks the largest, so its replicates err upward. The upper end is theirs. The lower
        end is the largest of the contrasts' own lower ends, each at level α / S: it lies above the
        largest contrast only if one of them lies above its own (Bonferroni). So neither end is
        passed more often than promised, however many contrasts are equal.

        Parameters
        ----------
        contrasts
            What it is the largest of.
        sign
            1 for the largest, −1 for the smallest.
        **facts
            Further attributes.
        """
        signed = contrasts.mixed(sign * np.eye(contrasts.records_KS.shape[1]))
        values_K, values_R = signed.records_KS.max(axis=1), signed.replicates_RS.max(axis=1)

        def interval(confidence: float) -> tuple[float, float]:
            _, high = percentile_interval(values_R, confidence)
            shared = 1 - (1 - confidence) / signed.records_KS.shape[1]
            low_S, _ = percentile_interval(signed.replicates_RS, shared)
            ends = min(low_S.max(), values_K[0]), max(high, values_K[0])
            low, high = sorted(sign * float(end) for end in ends)
            return low, high

        return cls.from_replicates(
            sign * values_K, values_R, contrasts.exhaustive, interval=interval, **facts
        )

    @classmethod
    def from_replicates(
        cls,
        values_K: np.ndarray,
        values_R: np.ndarray,
        exhaustive: bool,
        interval: Interval | None = None,
        least: float = -np.inf,
        **facts: Any,
    ) -> Estimate:
        """Return a statistic from its value by each record and its bootstrap replicates.

        Parameters
        ----------
        values_K, values_R
            The statistic by each record, and on resampled questions.
        exhaustive
            See `Contrasts`.
        interval
            On questions like these; the percentiles of the replicates by default.
        least
            The least value that the statistic can have.
        **facts
            Further attributes.
        """

        def percentiles(confidence: float) -> tuple[float, float]:
            low, high = percentile_interval(values_R, confidence)
            return float(low), float(high)

        ends = float(np.min(values_K)), float(np.max(values_K))
        equal = np.ptp(values_R) < 1e-9
        reason = "all resamples are equal: these questions cannot say how sure it is"
        sampled = Reading(
            QUESTIONS_LIKE_THESE, interval or percentiles, reason if equal else "", least
        )
        whole = (Reading(THIS_TEST_SET, lambda confidence: ends),) if exhaustive else ()
        return cls(float(values_K[0]), (*whole, sampled), **facts)

    @classmethod
    def of_workloads(
        cls,
        values_W: Sequence[float],
        errors_W: Sequence[float],
        freedom_W: Sequence[float],
        **facts: Any,
    ) -> Estimate:
        """Return the mean over workloads, with Student's intervals.

        On these workloads it has the errors of their measurements; their degrees of freedom are
        combined by Welch and Satterthwaite. On workloads like these it has the deviation between
        workloads, which holds the errors of their measurements already.

        Parameters
        ----------
        values_W
            A value a workload.
        errors_W, freedom_W
            The standard error of each and its degrees of freedom.

        Raises
        ------
        NotTestable
            If there is no workload.
        """
        values, errors = np.asarray(values_W, dtype=float), np.asarray(errors_W, dtype=float)
        count = len(values)
        if not count:
            raise NotTestable("no workload was measured")
        mean = float(values.mean())
        variances = (errors / count) ** 2
        error = float(np.sqrt(variances.sum()))
        if error:
            freedom = variances.sum() ** 2 / (variances**2 / np.asarray(freedom_W, float)).sum()
        else:
            freedom = np.inf
        readings = [Reading(THESE_WORKLOADS, _student(mean, error, freedom))]
        if count > 1:
            error = float(values.std(ddof=1) / np.sqrt(count))
            reason = "all workloads are equal: they cannot say how sure it is"
            readings.append(
                Reading(
                    WORKLOADS_LIKE_THESE,
                    _student(mean, error, count - 1),
                    reason if np.ptp(values) < 1e-9 else "",
                )
            )
        return cls(mean, tuple(readings), **facts)


def _student(mean: float, error: float, freedom: float) -> Interval:
    def interval(confidence: float) -> tuple[float, float]:
        reach = float(scipy.stats.t.ppf((1 + confidence) / 2, freedom) * error)
        return mean - reach, mean + reach

    return interval
