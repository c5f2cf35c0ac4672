"""Paired scores of configurations: contrasts with what few questions leave open.

Configurations may have been asked different questions. The score of one is over its own. A contrast
is over the questions that all the configurations in it were asked, so that it stays paired.

Shape suffixes: ``Q`` questions, ``C`` configurations, ``S`` contrasts, ``R`` bootstrap resamples.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lowrank.base.errors import LowrankError
from lowrank.base.statistics import AVERAGES, LEAST_CLUSTERS, RESAMPLES

NOTHING = 1e-12
"""Share of a contrast's largest weight below which a weight is a rest of rounding."""


@dataclass(frozen=True)
class _Common:
    """Scores on some questions, of the configurations that were asked all of them.

    Attributes
    ----------
    is_asked_C
        Which configurations those are, of all C; the others have no column in what follows.
    score_C
        Their scores.
    means_RC
        Their scores over randomly weighted questions, (resamples × configurations).
    pair_R2
        What the two sides of a contrast gain, see `pseudo_pair`; zeros where they gain nothing.
    """

    is_asked_C: np.ndarray
    score_C: np.ndarray
    means_RC: np.ndarray
    pair_R2: np.ndarray


class PairedScores:
    """Scores on one benchmark, and the same over randomly weighted questions.

    Configurations share the weights, so that a contrast of replicates is paired. A question keeps
    its weights whichever others are asked beside it, so that contrasts over different questions
    vary together as far as they share some. Replicates are made when they are asked for, once for
    each set of questions.

    The weights of the questions are the benchmark's own: every study says the same of the same
    configurations, and two benchmarks are independent.

    Parameters
    ----------
    averaging
        One of `lowrank.base.statistics.AVERAGES`.
    values_QC
        One value a question and configuration, (questions × configurations); NaN where a
        configuration was not asked a question.
    benchmark, names
        The benchmark and the C configurations. Equal names are one configuration.
    others_Q
        The column of the questions that the average needs, (questions,).
    clusters_Q
        The cluster of each question, as `lowrank.base.statistics.independent_units` takes them.
    is_share
        Whether values lie in [0, 1]. Plain means of such values gain a `pseudo_pair`.

    Raises
    ------
    LowrankError
        If a configuration was asked nothing.
    """

    def __init__(
        self,
        averaging: str,
        values_QC: np.ndarray,
        benchmark: str,
        names: Sequence[str],
        *,
        others_Q: np.ndarray | None = None,
        clusters_Q: np.ndarray | None = None,
        is_share: bool = True,
    ) -> None:
        self.names = tuple(names)
        self.benchmark = benchmark
        self._average = AVERAGES[averaging]
        self._values_QC = values_QC
        self._others_Q, self._clusters_Q = others_Q, clusters_Q
        self._has_pair = is_share and averaging == "mean"
        self._is_asked_QC = ~np.isnan(values_QC)
        self._made: dict[bytes, _Common] = {}
        for name, is_asked in zip(self.names, self._is_asked_QC.any(axis=0), strict=True):
            if not is_asked:
                raise LowrankError(f"{name} was asked no question of {benchmark}")

    def scores(self) -> np.ndarray:
        """Return the score of each configuration on its own questions, (C,)."""
        score_C = np.empty(len(self.names))
        for rows_Q, own_C in _alike(self._is_asked_QC):
            score_C[own_C] = self._scores(rows_Q, own_C)
        return score_C

    def replicates(self) -> np.ndarray:
        """Return the scores over each one's own questions at random weights, (R, C)."""
        means_RC = np.empty((RESAMPLES, len(self.names)))
        for rows_Q, own_C in _alike(self._is_asked_QC):
            found = self._on(rows_Q)
            means_RC[:, own_C] = found.means_RC[:, own_C[found.is_asked_C]]
        return means_RC

    def common_questions(self, chosen: Sequence[int]) -> int:
        """Return how many questions all of some configurations were asked."""
        return int(self._is_asked_QC[:, list(chosen)].all(axis=1).sum())

    def contrasts(
        self,
        weights_CS: np.ndarray,
        of: Callable[[np.ndarray], np.ndarray] = lambda scores: scores,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return weighted sums of the scores, (S,), and their replicates, (R, S).

        Each sum is over the questions that all its configurations were asked. It has noise as of
        two configurations, one a side, however many there are on a side: those of one side may err
        together. Sums of one benchmark share that noise, so the difference of two sums has its own
        only if it is asked for by its weights.

        Parameters
        ----------
        weights_CS
            The weights of each sum, (configurations × contrasts). What cancels has no noise: the
            difference of a configuration from itself is exactly 0.
        of
            What is summed, a function of the scores: the logarithm, say.

        Raises
        ------
        LowrankError
            If the configurations of a sum have no question in common.
        """
        own_CS = np.zeros(np.shape(weights_CS))
        np.add.at(own_CS, [self.names.index(name) for name in self.names], weights_CS)
        value_S = np.empty(own_CS.shape[1])
        replicates_RS = np.empty((RESAMPLES, own_CS.shape[1]))
        for rows_Q, sums_S in _alike(self._rows_of(own_CS)):
            found = self._on(rows_Q)
            part_CS = np.ascontiguousarray(own_CS[found.is_asked_C][:, sums_S])
            sides_2S = np.stack([part_CS.clip(min=0).sum(axis=0), part_CS.clip(max=0).sum(axis=0)])
            value_S[sums_S] = of(found.score_C) @ part_CS
            replicates_RS[:, sums_S] = of(found.means_RC) @ part_CS + found.pair_R2 @ sides_2S
        return value_S, replicates_RS

    def _rows_of(self, own_CS: np.ndarray) -> np.ndarray:
        """Return which questions all configurations with a weight were asked, (Q, S)."""
        size_CS = np.abs(own_CS)
        is_used_CS = size_CS > NOTHING * size_CS.max(axis=0, initial=0.0)
        is_lacking_QC = (~self._is_asked_QC).astype(float)
        rows_QS = is_lacking_QC @ is_used_CS == 0
        # Without any weight a sum is 0 on whatever questions: on those of another, at no cost.
        is_empty_S = ~is_used_CS.any(axis=0)
        first_Q1 = self._is_asked_QC[:, :1] if is_empty_S.all() else rows_QS[:, ~is_empty_S][:, :1]
        rows_QS[:, is_empty_S] = first_Q1
        if not rows_QS.any(axis=0).all():
            raise LowrankError(
                f"configurations that are compared on {self.benchmark} have no question in common"
            )
        return rows_QS

    def _on(self, rows_Q: np.ndarray) -> _Common:
        """Return the scores on some questions."""
        key = rows_Q.tobytes()
        if key not in self._made:
            self._made[key] = self._made_on(rows_Q)
        return self._made[key]

    def _made_on(self, rows_Q: np.ndarray) -> _Common:
        is_asked_C = self._is_asked_QC[rows_Q].all(axis=0)
        clusters_Q = self._clusters_Q
        if clusters_Q is not None and len(np.unique(clusters_Q[rows_Q])) < LEAST_CLUSTERS:
            clusters_Q = None
        seed = zlib.crc32(self.benchmark.encode())
        means_RC = self._average.replicates(
            np.ascontiguousarray(self._values_QC[:, is_asked_C]),
            self._others_Q,
            seed,
            clusters_Q,
            rows_Q,
        )
        pair_R2 = np.zeros((RESAMPLES, 2))
        if self._has_pair:
            pair_R2 = pseudo_pair(int(rows_Q.sum()), (seed, 1))
        return _Common(is_asked_C, self._scores(rows_Q, is_asked_C), means_RC, pair_R2)

    def _scores(self, rows_Q: np.ndarray, chosen_C: np.ndarray) -> np.ndarray:
        """Return the scores of some configurations on some questions."""
        values_QC = np.ascontiguousarray(self._values_QC[rows_Q][:, chosen_C])
        others_Q = None if self._others_Q is None else self._others_Q[rows_Q]
        return self._average.scores(values_QC, others_Q)


def _alike(columns_QS: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each column that is there, once, with which ones are like it, (S,)."""
    places: dict[bytes, list[int]] = {}
    for place, column_Q in enumerate(columns_QS.T):
        places.setdefault(column_Q.tobytes(), []).append(place)
    for alike in places.values():
        alike_S = np.zeros(columns_QS.shape[1], dtype=bool)
        alike_S[alike] = True
        yield columns_QS[:, alike[0]].copy(), alike_S


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
