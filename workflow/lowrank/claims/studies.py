"""A study with the scores of its configurations: answers that were asked, or published scores.

Shape suffixes: ``C`` configurations, ``S`` contrasts, ``K`` records of one test set, ``R``
bootstrap resamples.
"""

from __future__ import annotations

import copy
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lowrank.analyse.accuracy import agrees
from lowrank.analyse.answers import resample
from lowrank.base.csv_table import read_table
from lowrank.base.errors import LowrankError, suggestion
from lowrank.base.evaluations import scores_path
from lowrank.base.metric import Metric, in_the_mean, metric_of_mean
from lowrank.base.names import AGGREGATE, DENSE
from lowrank.base.paired import PairedScores
from lowrank.base.statistics import LEAST_CLUSTERS, RESAMPLES, percentile_interval
from lowrank.claims.estimate import Contrasts, NotTestable, mixed_records

SELECTOR = ("dense", "series", "labels", "last", "except")
"""The keys of what selects configurations of a study."""


class Study(ABC):
    """One study of one model.

    Parameters
    ----------
    path
        Its table, as `lowrank.analyse.accuracy.collect_accuracy` writes it.

    Attributes
    ----------
    configurations
        One row a configuration, the dense model first.
    metrics
        From each benchmark to its metric.

    Raises
    ------
    LowrankError
        If the table cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        columns = ["series", "label", "position", "decomposition", "parameter_reduction_percent"]
        try:
            self.table = read_table(path)
            rows = self.table[columns].drop_duplicates(["series", "label"])
        except (OSError, ValueError, KeyError) as error:
            raise LowrankError(f"{path} cannot be read ({error})") from None
        self.configurations = rows.reset_index(drop=True)
        of_each = self.table[self.table["benchmark"] != AGGREGATE].drop_duplicates("benchmark")
        self.metrics = {row["benchmark"]: Metric.from_record(row) for _, row in of_each.iterrows()}

    @property
    def is_dense(self) -> np.ndarray:
        """Which configurations are the dense model, (C,)."""
        return (self.configurations["decomposition"] == DENSE).to_numpy()

    def select(self, selector: Mapping[str, Any]) -> np.ndarray:
        """Return the indices of configurations.

        Parameters
        ----------
        selector
            `series` (default: the one without a name), `labels` (default: all), `last` (only the
            last so many), `except` (selectors of what to leave out). `dense: true` is the dense
            model, on its own or before the labels.

        Raises
        ------
        NotTestable
            If it names a configuration that this run's study lacks, or nothing is left.
        LowrankError
            If it has a key that no selector has.
        """
        for key in selector:
            if key not in SELECTOR:
                raise LowrankError(f"selector: {key}: unknown key{suggestion(key, SELECTOR)}")
        is_dense = self.is_dense
        if set(selector) == {"dense"}:
            return np.flatnonzero(is_dense)
        kept = ~is_dense & (self.configurations["series"] == selector.get("series", ""))
        if "labels" in selector:
            known = set(self.configurations.loc[kept, "label"])
            unknown = [label for label in selector["labels"] if label not in known]
            if unknown:
                raise NotTestable(f"{self.path.name} has no configuration {unknown[0]!r}")
            kept &= self.configurations["label"].isin(selector["labels"])
        chosen = np.flatnonzero(kept)
        chosen = chosen[-selector["last"] :] if "last" in selector else chosen
        for left_out in selector.get("except", []):
            chosen = np.setdiff1d(chosen, self.select(left_out))
        if not len(chosen):
            raise NotTestable(f"{self.path.name} has no configuration that fits {dict(selector)}")
        return np.concatenate([np.flatnonzero(is_dense), chosen]) if "dense" in selector else chosen

    def pairs(
        self, first: Mapping[str, Any], second: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of two selections, those of equal labels side by side.

        Raises
        ------
        LowrankError
            If their labels differ.
        """
        one, other = self.select(first), self.select(second)
        labels = self.configurations["label"]
        if list(labels[one]) != list(labels[other]):
            raise LowrankError(f"{self.path.name}: {dict(first)} and {dict(second)} do not pair")
        return one, other

    def contrasts(self, weights_CS: np.ndarray, benchmarks: Sequence[str]) -> Contrasts:
        """Return weighted sums of the configurations' plain mean over benchmarks.

        Each is over the questions that all the configurations with a weight in it were asked.
        They are in the unit of the metric (percent, for shares) and signed so that more is better:
        where lower scores are better, they are below zero.

        Parameters
        ----------
        weights_CS
            The weights of each sum. What has no weight need not have a score.

        Raises
        ------
        NotTestable
            If one of the benchmarks was not asked, or of a configuration that has a weight.
        LowrankError
            If the benchmarks' scores have no mean.
        """
        for name in benchmarks:
            if name not in self.metrics:
                raise NotTestable(f"{name} was not asked in {self.path.name}")
        metric = metric_of_mean({name: self.metrics[name] for name in benchmarks})
        factor = metric.sign * metric.scale / len(benchmarks)
        made = [self._contrasts(weights_CS, name) for name in benchmarks]
        return Contrasts(
            factor * np.sum([records for records, _ in made], axis=0),
            factor * np.sum([replicates for _, replicates in made], axis=0),
            self._is_exhaustive(np.flatnonzero(weights_CS.any(axis=1)), benchmarks),
        )

    def contrasts_of_each(self, weights_CS: np.ndarray, benchmarks: Sequence[str]) -> Contrasts:
        """Return the sums of each benchmark by itself side by side, (…, benchmarks · S).

        They raise as for the mean, to be comparable.
        """
        metric_of_mean({name: self.metrics[name] for name in benchmarks if name in self.metrics})
        made = [self.contrasts(weights_CS, [name]) for name in benchmarks]
        return Contrasts(
            np.concatenate([each.records_KS for each in made], axis=1),
            np.concatenate([each.replicates_RS for each in made], axis=1),
            all(each.exhaustive for each in made),
        )

    def log_contrasts(self, weights_CS: np.ndarray, benchmark: str) -> Contrasts:
        """Return weighted sums of the natural logarithms of perplexities.

        Raises
        ------
        NotTestable
            If the benchmark was not asked or its score is no perplexity.
        """
        raise NotTestable(f"{self.path.name} has no perplexities to resample")

    def questions_of(
        self, chosen: Iterable[int], benchmarks: Sequence[str]
    ) -> dict[str, tuple[int, int]]:
        """Return how many questions configurations have in common, and how many there are.

        Parameters
        ----------
        chosen
            Indices of the configurations.
        benchmarks
            The benchmarks.

        Returns
        -------
        From each benchmark to the questions that all of them were asked, and all that it has.
        """
        asked = self._asked(chosen, benchmarks)
        columns = asked[["questions", "questions_available"]].astype(int)
        return {name: tuple(columns.loc[name]) for name in benchmarks}

    def facts(self, chosen: Iterable[int], benchmarks: Sequence[str]) -> dict[str, Any]:
        """Return what an estimate from the configurations chosen says of itself.

        `questions` are those that all of them were asked, `available` those that there are, both
        of all the benchmarks together. `flags` name the benchmarks whose questions are alike in too
        few clusters to allow for it.
        """
        chosen = list(chosen)
        names = self.configurations["decomposition"].iloc[chosen]
        asked = self._asked(chosen, benchmarks)
        few = []
        if "clusters" in asked:
            few = asked.index[asked["clusters"] < asked["questions"].clip(upper=LEAST_CLUSTERS)]
        return {
            "questions": int(asked["questions"].sum()),
            "available": int(asked["questions_available"].sum()),
            "configurations": tuple(dict.fromkeys(names)),
            "benchmarks": tuple(benchmarks),
            "evidence": (str(self.path), *self._files(chosen, benchmarks)),
            "flags": tuple(f"{name} has questions that are alike in few clusters" for name in few),
        }

    def at_chance(self, chosen: Sequence[int], benchmarks: Sequence[str]) -> bool:
        """Return whether none of some configurations is better than a guess, beyond its interval.

        Taken over those of the benchmarks where a guess has a score.
        """
        known = [name for name in benchmarks if self.metrics[name].chance is not None]
        if not known or not len(chosen):
            return False
        metric = metric_of_mean({name: self.metrics[name] for name in known})
        chance = np.mean([self.metrics[name].chance for name in known])
        weights_CS = np.eye(len(self.configurations))[:, list(chosen)]
        low_S, _ = percentile_interval(self.contrasts(weights_CS, known).replicates_RS)
        return bool((low_S <= metric.sign * metric.scale * chance).all())

    def up_to(self, numbers: Mapping[str, int]) -> Study:
        """Return the study on so many of the first questions of each benchmark alone.

        Scores that were published have no order of questions: they stay as they are.
        """
        return self

    @abstractmethod
    def _contrasts(self, weights_CS: np.ndarray, benchmark: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums on one benchmark by each record, (K, S), and replicates, (R, S)."""

    def _is_exhaustive(self, chosen: Iterable[int], benchmarks: Sequence[str]) -> bool:
        """Return whether configurations were asked all the questions of the test sets."""
        counts = self.questions_of(chosen, benchmarks).values()
        return all(asked == available for asked, available in counts)

    def _asked(self, chosen: Iterable[int], benchmarks: Sequence[str]) -> pd.DataFrame:
        """Return counts of each benchmark, the least of some configurations.

        Of two configurations, one was asked a part of the questions of the other.
        """
        rows = self.configurations.iloc[list(chosen)][["series", "label"]]
        table = self.table.merge(rows) if len(rows) else self.table
        table = table[table["benchmark"].isin(benchmarks)]
        return (
            table.groupby("benchmark")
            .min(numeric_only=True)
            .reindex(list(dict.fromkeys(benchmarks)))
        )

    def _files(self, chosen: Iterable[int], benchmarks: Sequence[str]) -> list[str]:
        """Return the files of the answers of some configurations."""
        return []


class AnsweredStudy(Study):
    """A study of the workflow: the answers are there, so that two configurations are paired.

    Parameters
    ----------
    path
        Its table, as `lowrank.analyse.accuracy.collect_accuracy` wrote it.
    folder
        Where the evaluations are.

    Raises
    ------
    LowrankError
        If the table cannot be read, or its scores are not those of the answers in `folder`.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        super().__init__(path)
        self.folder = folder
        self._scores = {name: self._scores_of(name) for name in self.metrics}
        for name in self.metrics:
            self._require_agreement(name, self._scores[name].scores())
        if AGGREGATE in set(self.table["benchmark"]):
            means = [self._scores[name].scores() for name in in_the_mean(self.metrics)]
            self._require_agreement(AGGREGATE, np.mean(means, axis=0))

    def up_to(self, numbers: Mapping[str, int]) -> AnsweredStudy:
        """Return the study on so many of the first questions of each benchmark alone."""
        made, most = copy.copy(self), self.table["benchmark"].map(numbers).fillna(np.inf)
        counted = np.minimum(self.table["questions"], most).astype(int)
        made.table = self.table.assign(questions=counted)
        made._scores = {name: self._scores_of(name, numbers.get(name)) for name in self.metrics}
        return made

    def log_contrasts(self, weights_CS: np.ndarray, benchmark: str) -> Contrasts:
        """Return weighted sums of the natural logarithms of perplexities; see `Study`."""
        if benchmark not in self.metrics:
            raise NotTestable(f"{benchmark} was not asked in {self.path.name}")
        if self.metrics[benchmark].averaging != "perplexity":
            raise NotTestable(f"the score of {benchmark} is no perplexity")
        score_S, replicates_RS = self._scores[benchmark].contrasts(weights_CS, np.log)
        chosen = np.flatnonzero(weights_CS.any(axis=1))
        return Contrasts(score_S[None], replicates_RS, self._is_exhaustive(chosen, [benchmark]))

    def _contrasts(self, weights_CS: np.ndarray, benchmark: str) -> tuple[np.ndarray, np.ndarray]:
        score_S, replicates_RS = self._scores[benchmark].contrasts(weights_CS)
        return score_S[None], replicates_RS

    def _files(self, chosen: Iterable[int], benchmarks: Sequence[str]) -> list[str]:
        names = dict.fromkeys(self.configurations["decomposition"].iloc[list(chosen)])
        return [str(scores_path(self.folder, name)) for name in names]

    def _scores_of(self, benchmark: str, most: int | None = None) -> PairedScores:
        names = list(self.configurations["decomposition"])
        made = resample(self.folder, names, benchmark, self.metrics[benchmark], most=most)
        assert made is not None  # only a companion may be
        return made

    def _require_agreement(self, benchmark: str, mean_C: np.ndarray) -> None:
        rows = self.table[self.table["benchmark"] == benchmark].set_index(["series", "label"])
        keys = self.configurations[["series", "label"]].itertuples(index=False, name=None)
        for key, mean in zip(keys, mean_C, strict=True):
            printed = float(rows["score"].get(key, np.nan))
            if not agrees(printed, mean):
                raise LowrankError(
                    f"{self.path}: {' '.join(filter(None, key))} scores {printed:g} on "
                    f"{benchmark}, the answers in {self.folder} give {mean:.6g}; delete the table "
                    "and run again"
                )


class PublishedStudy(Study):
    """A study that others published: its scores on whole test sets, without the answers.

    Nobody can say which questions two configurations answered alike. On questions like these a
    difference therefore gets the widest interval: the errors of the two scores are added, as if
    what made one better had made the other worse. Benchmarks have questions of their own, so that
    a mean over them adds variances.

    Questions that are alike, such as those of one subject of MMLU, vary together. Without the
    answers nobody can say how much: each counts by itself.

    A score that has `score_least` and `score_greatest` was measured by several. On this test set
    the interval of what it enters goes from the one to the other. The scores of a contrast need not
    be of one source: each may be at its own end.

    Parameters
    ----------
    path
        Its table, as `lowrank.analyse.authors` writes it.
    scorers
        From a benchmark to who scored its dense model, where that is somebody else.
    """

    def __init__(self, path: Path, scorers: Mapping[str, str] | None = None) -> None:
        super().__init__(path)
        self._scorers = dict(scorers or {})

    def facts(self, chosen: Iterable[int], benchmarks: Sequence[str]) -> dict[str, Any]:
        """Return what `Study` says, and `flags` where others scored the dense model."""
        chosen = list(chosen)
        others = dict.fromkeys(self._scorers[b] for b in benchmarks if b in self._scorers)
        is_used = bool(self.is_dense[chosen].any()) and bool(others)
        flag = f"the dense model was scored by others: {' and '.join(others)}"
        return super().facts(chosen, benchmarks) | {"flags": (flag,) if is_used else ()}

    def _contrasts(self, weights_CS: np.ndarray, benchmark: str) -> tuple[np.ndarray, np.ndarray]:
        rows = self.table[self.table["benchmark"] == benchmark].set_index(["series", "label"])
        keys = list(self.configurations[["series", "label"]].itertuples(index=False, name=None))
        rows = rows.reindex(keys)
        score_C = rows["score"].to_numpy(dtype=float)
        used_C = np.abs(weights_CS).sum(axis=1) > 0
        for (_, label), is_missing in zip(keys, np.isnan(score_C) & used_C, strict=True):
            if is_missing:
                raise NotTestable(f"no score of {label} on {benchmark} was published")
        ends_C = [rows[name].fillna(rows["score"]) for name in ("score_least", "score_greatest")]
        # A score in [0, 1] varies at most as one of right or wrong answers does.
        error_C = np.sqrt(score_C * (1 - score_C) / rows["questions"].to_numpy(dtype=float))
        records_KC = np.nan_to_num(np.stack([score_C, *ends_C]).astype(float))
        rng = np.random.default_rng(zlib.crc32(benchmark.encode()))
        noise_R = rng.standard_normal(RESAMPLES)
        records_KS = mixed_records(records_KC, weights_CS)
        error_S = np.nan_to_num(error_C) @ np.abs(weights_CS)
        return records_KS, records_KS[0] + noise_R[:, None] * error_S
