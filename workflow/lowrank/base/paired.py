"""Paired scores of configurations: contrasts with what few questions leave open.

Shape suffixes: ``Q`` questions, ``C`` configurations, ``S`` contrasts, ``R`` bootstrap resamples.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lowrank.base.statistics import AVERAGES, RESAMPLES


@dataclass(frozen=True)
class PairedScores:
    """Scores on one benchmark, and the same over randomly weighted questions.

    Configurations share the weights, so that a contrast of replicates is paired.

    Attributes
    ----------
    names
        The C configurations; equal names are one configuration.
    score_C
        Their scores.
    means_RC
        Their scores over randomly weighted questions, (resamples × configurations).
    pair_R2
        What the two sides of a contrast gain, see `pseudo_pair`; zeros where they gain nothing.
    """

    names: tuple[str, ...]
    score_C: np.ndarray
    means_RC: np.ndarray
    pair_R2: np.ndarray

    @classmethod
    def of_questions(
        cls,
        averaging: str,
        values_QC: np.ndarray,
        benchmark: str,
        names: Sequence[str],
        *,
        others_Q: np.ndarray | None = None,
        clusters_Q: np.ndarray | None = None,
        is_share: bool = True,
    ) -> PairedScores:
        """Return the scores of answers.

        The weights of the questions are the benchmark's own: every study says the same of the same
        configurations, and two benchmarks are independent.

        Parameters
        ----------
        averaging
            One of `lowrank.base.statistics.AVERAGES`.
        values_QC
            One value a question and configuration, (questions × configurations).
        benchmark, names
            The benchmark and the C configurations.
        others_Q
            The column of the questions that the average needs, (questions,).
        clusters_Q
            The cluster of each question, as `lowrank.base.statistics.independent_units` takes them.
        is_share
            Whether values lie in [0, 1]. Plain means of such values gain a `pseudo_pair`.
        """
        seed = zlib.crc32(benchmark.encode())
        average = AVERAGES[averaging]
        means_RC = average.replicates(values_QC, others_Q, seed, clusters_Q)
        pair_R2 = np.zeros((len(means_RC), 2))
        if is_share and averaging == "mean":
            pair_R2 = pseudo_pair(len(values_QC), (seed, 1), len(means_RC))
        return cls(tuple(names), average.scores(values_QC, others_Q), means_RC, pair_R2)

    def contrasts(self, weights_CS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weighted sums of the scores, (S,), and their replicates, (R, S).

        Each sum has noise as of two configurations, one a side, however many there are on a side:
        those of one side may err together. Sums of one benchmark share that noise, so the
        difference of two sums has its own only if it is asked for by its weights.

        Parameters
        ----------
        weights_CS
            The weights of each sum, (configurations × contrasts). What cancels has no noise: the
            difference of a configuration from itself is exactly 0.
        """
        own_CS = np.zeros(np.shape(weights_CS))
        np.add.at(own_CS, [self.names.index(name) for name in self.names], weights_CS)
        sides_2S = np.stack([own_CS.clip(min=0).sum(axis=0), own_CS.clip(max=0).sum(axis=0)])
        return self.score_C @ own_CS, self.means_RC @ own_CS + self.pair_R2 @ sides_2S


def mean_contrasts(
    benchmarks: Sequence[PairedScores], weights_CS: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `PairedScores.contrasts` does, of the plain mean over benchmarks."""
    made = [scores.contrasts(weights_CS) for scores in benchmarks]
    score_S = np.mean([own_S for own_S, _ in made], axis=0)
    return score_S, np.mean([own_RS for _, own_RS in made], axis=0)


def differences_from_first(configurations: int) -> np.ndarray:
    """Return the weights_CS of each configuration less the first one, (C, C)."""
    identity_CC = np.eye(configurations)
    return identity_CC - identity_CC[:, :1]


def pseudo_pair(questions: int, seed: Sequence[int], resamples: int = RESAMPLES) -> np.ndarray:
    """Return what keeps the replicates of a contrast from being too sure, (resamples, 2).

    Two configurations that differ in few answers or in none could differ in more. So each side of
    a contrast gains a variate of its own, with mean 0: half a question more that is right, and
    half a question more that is wrong, weighted at random. The difference of two configurations
    gains one question more that is answered differently each way, as Bonett and Price (2012) add
    to paired shares. If they agree in all n answers, the 95% interval of their difference reaches
    3/n to both sides, which is the rule of three. Graded answers can differ by as much, and gain
    the same.

    Parameters
    ----------
    questions
        How many there are, n.
    seed
        Names the benchmark.
    resamples
        Number of replicates R.
    """
    right_R2, wrong_R2 = np.random.default_rng(seed).standard_gamma(0.5, size=(2, resamples, 2))
    return (right_R2 - wrong_R2) / questions
