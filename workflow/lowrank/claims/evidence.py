"""What claims are judged by: the studies of a run with their resampled scores, and the profiles.

Shape suffixes: ``C`` configurations, ``R`` bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from lowrank.analyse.accuracy import agrees, resample
from lowrank.base.errors import LowrankError, suggestion
from lowrank.base.metric import Metric, in_the_mean, metric_of_mean
from lowrank.base.names import AGGREGATE, DENSE
from lowrank.base.statistics import percentile_interval

SELECTOR = ("dense", "series", "labels", "last", "except")
"""The keys of what selects configurations of a study."""

BENCHMARKS = "benchmarks"
"""The workloads that count in the thesis: the requests of the benchmarks. Else `all` count."""


class NotTestable(Exception):  # noqa: N818 (no error: an answer)
    """A claim cannot be tested on this run; the message says why."""


@dataclass(frozen=True)
class Estimate:
    """A statistic with its uncertainty.

    Attributes
    ----------
    value
        The statistic on all the data.
    interval
        From a confidence level to the interval's ends.
    questions
        How many questions it rests on; None where it rests on none.
    evidence
        Files that it was computed from.
    flags
        What casts doubt on it.
    device
        What it was measured on, where that is not the device of the evaluations.
    undecidable
        Why its interval says nothing; empty where it does.
    at_chance
        Whether all the configurations that it compares score no better than a guess.
    """

    value: float
    interval: Callable[[float], tuple[float, float]]
    questions: int | None = None
    evidence: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    device: str = ""
    undecidable: str = ""
    at_chance: bool = False

    @classmethod
    def exact(cls, value: float, *evidence: str) -> Estimate:
        """Return a number that was counted: its interval has no width."""
        return cls(value, lambda confidence: (value, value), None, evidence)

    @classmethod
    def resampled(cls, value: float, values_R: np.ndarray, **facts: Any) -> Estimate:
        """Return a statistic with percentiles of its bootstrap replicates.

        Replicates that are all equal (no two answers differ) are no certainty: the estimate says
        that nothing can be decided by it.
        """

        def interval(confidence: float) -> tuple[float, float]:
            low, high = percentile_interval(values_R, confidence)
            return float(low), float(high)

        equal = np.ptp(values_R) < 1e-9
        reason = "all resamples are equal: these questions cannot say how sure it is"
        return cls(float(value), interval, undecidable=reason if equal else "", **facts)

    @classmethod
    def mean(cls, values: Sequence[float], what: str, **facts: Any) -> Estimate:
        """Return the mean of a sample with Student's interval; `what` names its members.

        Raises
        ------
        NotTestable
            If the sample has fewer than two members.
        """
        values = np.asarray(values, dtype=float)
        if len(values) < 2:
            raise NotTestable(f"fewer than two {what} were measured")
        mean, error = float(values.mean()), values.std(ddof=1) / np.sqrt(len(values))

        def interval(confidence: float) -> tuple[float, float]:
            reach = float(scipy.stats.t.ppf((1 + confidence) / 2, len(values) - 1) * error)
            return mean - reach, mean + reach

        reason = f"all {what} are equal: they cannot say how sure it is"
        return cls(mean, interval, undecidable=reason if np.ptp(values) < 1e-9 else "", **facts)


@dataclass
class Study:
    """One study of one model, with the scores of its configurations.

    Attributes
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

    path: Path
    folder: Path

    def __post_init__(self) -> None:
        text = {"series": str, "label": str}
        columns = ["series", "label", "position", "decomposition", "parameter_reduction_percent"]
        try:
            self.table = pd.read_csv(self.path, dtype=text, keep_default_na=False, na_values=[""])
            self.table["series"] = self.table["series"].fillna("")
            rows = self.table[columns].drop_duplicates(["series", "label"])
        except (OSError, ValueError, KeyError) as error:
            raise LowrankError(f"{self.path} cannot be read ({error})") from None
        self.configurations = rows.reset_index(drop=True)
        """One row a configuration, the dense model first."""
        of_each = self.table[self.table["benchmark"] != AGGREGATE].drop_duplicates("benchmark")
        self.metrics = {row["benchmark"]: Metric.from_record(row) for _, row in of_each.iterrows()}
        """From each benchmark to its metric."""
        self._resampled = {name: self._resample(name) for name in self.metrics}
        for name in self.metrics:
            self._require_agreement(name, self._resampled[name][0])
        if AGGREGATE in set(self.table["benchmark"]):
            means = [self._resampled[name][0] for name in in_the_mean(self.metrics)]
            self._require_agreement(AGGREGATE, np.mean(means, axis=0))

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
        is_dense = self.configurations["decomposition"] == DENSE
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

    def scores(self, benchmarks: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return mean_C and means_RC of the plain mean over benchmarks.

        They are in the unit of their metric (percent, for shares) and signed so that more is
        better: where lower scores are better, they are below zero.

        Raises
        ------
        NotTestable
            If one of them was not asked.
        LowrankError
            If their scores have no mean.
        """
        made = [self._scores(name) for name in benchmarks]
        metric = metric_of_mean({name: self.metrics[name] for name in benchmarks})
        factor = metric.sign * metric.scale
        mean_C = np.mean([mean for mean, _ in made], axis=0)
        return factor * mean_C, factor * np.mean([means for _, means in made], axis=0)

    def scores_of_each(self, benchmarks: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return `scores` of each benchmark; they raise as for the mean, to be comparable."""
        self.scores(benchmarks)
        return [self.scores([name]) for name in benchmarks]

    def logarithms(self, benchmark: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the natural logarithm of a perplexity, (C,), and its replicates, (R, C).

        Raises
        ------
        NotTestable
            If the benchmark was not asked or its score is no perplexity.
        """
        mean_C, means_RC = self._scores(benchmark)
        if self.metrics[benchmark].averaging != "perplexity":
            raise NotTestable(f"the score of {benchmark} is no perplexity")
        return np.log(mean_C), np.log(means_RC)

    def facts(self, chosen: Iterable[int], benchmarks: Sequence[str]) -> dict[str, Any]:
        """Return `questions` asked of each configuration and the `evidence` for those chosen."""
        dense = self.table[self.table["decomposition"] == DENSE].set_index("benchmark")
        names = dict.fromkeys(self._names[index] for index in chosen)
        files = [self.folder / name / f"{b}.csv" for name in names for b in benchmarks]
        return {
            "questions": int(dense.loc[list(benchmarks), "questions"].sum()),
            "evidence": (str(self.path), *map(str, files)),
        }

    def at_chance(self, chosen: Sequence[int], benchmarks: Sequence[str]) -> bool:
        """Return whether none of some configurations is better than a guess, beyond its interval.

        Taken over those of the benchmarks where a guess has a score.
        """
        known = [name for name in benchmarks if self.metrics[name].chance is not None]
        if not known:
            return False
        metric = metric_of_mean({name: self.metrics[name] for name in known})
        chance = np.mean([self.metrics[name].chance for name in known])
        _, means_RC = self.scores(known)
        low_C, _ = percentile_interval(means_RC[:, list(chosen)])
        return bool((low_C <= metric.sign * metric.scale * chance).all())

    @property
    def _names(self) -> list[str]:
        return list(self.configurations["decomposition"])

    def _scores(self, benchmark: str) -> tuple[np.ndarray, np.ndarray]:
        if benchmark not in self._resampled:
            raise NotTestable(f"{benchmark} was not asked in this run")
        return self._resampled[benchmark]

    def _resample(self, benchmark: str) -> tuple[np.ndarray, np.ndarray]:
        made = resample(self.folder, self._names, benchmark, self.metrics[benchmark].averaging)
        if made is None:
            raise LowrankError(f"{self.folder}: an answer to {benchmark} has no score")
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


@dataclass
class Evidence:
    """The results of one run, for one model.

    Attributes
    ----------
    studies
        From a study's name to its table and evaluations.
    profiles
        The table of `lowrank.analyse.efficiency.collect_profiles`, or None.
    benchmark_workloads
        What that table calls the workloads that are a benchmark's requests.
    design_space
        The table of the design-space sizes (Table 3.1), or None.
    """

    studies: Mapping[str, Study] = field(default_factory=dict)
    profiles: Path | None = None
    benchmark_workloads: Sequence[str] = ()
    design_space: Path | None = None

    def study(self, name: str) -> Study:
        """Return a study.

        Raises
        ------
        NotTestable
            If the run does not have it.
        """
        if name not in self.studies:
            raise NotTestable(f"the study {name} is not part of this run")
        return self.studies[name]

    def measured(self, metric: str, workloads: str, least: int = 3) -> pd.DataFrame:
        """Return the rows of the profiles that hold a metric relative to the dense model.

        Parameters
        ----------
        workloads
            `BENCHMARKS`, or `all`.
        least
            How many configurations beside the dense model must have been measured.

        Raises
        ------
        NotTestable
            If fewer were, or nothing was profiled.
        """
        if self.profiles is None:
            raise NotTestable("nothing was profiled in this run")
        table = pd.read_csv(self.profiles, keep_default_na=False, na_values=[""])
        table = table[table["metric"] == metric]
        if workloads == BENCHMARKS:
            table = table[table["workload"].isin(self.benchmark_workloads)]
            if table.empty:
                raise NotTestable(f"{metric} of no benchmark's requests was measured in this run")
        found = table[table["ratio"].notna()]
        if found.loc[found["decomposition"] != DENSE, "decomposition"].nunique() < least:
            reasons = sorted(set(table.get("reason", pd.Series(dtype=str)).dropna()))
            raise NotTestable(reasons[0] if reasons else f"too few configurations for {metric}")
        return found
