"""What claims are judged by: the studies of a run with their resampled scores, and the profiles.

Shape suffixes: ``C`` configurations, ``R`` bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lowrank.design_space import DENSE
from lowrank.files import read_json
from lowrank.results import AGGREGATE, resample
from lowrank.statistics import percentile_interval


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
        Files that hold the numbers.
    flags
        What casts doubt on it.
    """

    value: float
    interval: Callable[[float], tuple[float, float]]
    questions: int | None = None
    evidence: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @classmethod
    def exact(cls, value: float, *evidence: str) -> Estimate:
        """Return a number that was counted: its interval has no width."""
        return cls(value, lambda confidence: (value, value), None, evidence)

    @classmethod
    def resampled(
        cls, value: float, values_R: np.ndarray, questions: int | None, *evidence: str
    ) -> Estimate:
        """Return a statistic with percentiles of its bootstrap replicates."""

        def interval(confidence: float) -> tuple[float, float]:
            low, high = percentile_interval(values_R, confidence)
            return float(low), float(high)

        return cls(float(value), interval, questions, evidence)


@dataclass
class Study:
    """One study of one model, with the scores of its configurations.

    Attributes
    ----------
    path
        Its table, as `lowrank.results.collect_accuracy` wrote it.
    folder
        Where the evaluations are.
    """

    path: Path
    folder: Path
    _resampled: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        text = {"series": str, "label": str}
        self.table = pd.read_csv(self.path, dtype=text, keep_default_na=False, na_values=[""])
        self.table["series"] = self.table["series"].fillna("")
        columns = ["series", "label", "position", "decomposition", "parameter_reduction_percent"]
        rows = self.table[columns].drop_duplicates(["series", "label"])
        self.configurations = rows.reset_index(drop=True)
        """One row a configuration, the dense model first."""
        self.benchmarks = [b for b in self.table["benchmark"].unique() if b != AGGREGATE]

    def select(self, selector: Mapping[str, Any]) -> np.ndarray:
        """Return the indices of configurations.

        Parameters
        ----------
        selector
            `series` (default: any that is decomposed), `labels` (default: all), `last` (only the
            last so many), `except` (a selector of what to leave out). `{dense: true}` is the dense
            model.

        Raises
        ------
        NotTestable
            If it names a configuration that this run's study lacks, or nothing is left.
        """
        if selector.get("dense"):
            return np.flatnonzero(self.configurations["decomposition"] == DENSE)
        kept = self.configurations["decomposition"] != DENSE
        kept &= self.configurations["series"] == selector.get("series", "")
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
        return chosen

    def scores(self, benchmarks: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
        """Return mean_C and means_RC of the plain mean over benchmarks, in percent.

        Raises
        ------
        NotTestable
            If one of them was not asked.
        """
        made = [self._scores(name) for name in benchmarks or self.benchmarks]
        mean_C = np.mean([mean for mean, _ in made], axis=0)
        return 100 * mean_C, 100 * np.mean([means for _, means in made], axis=0)

    def questions(self, benchmarks: Sequence[str] | None) -> int:
        """Return how many questions were asked of each configuration."""
        dense = self.table[self.table["decomposition"] == DENSE].set_index("benchmark")
        return int(dense.loc[list(benchmarks or self.benchmarks), "questions"].sum())

    def _scores(self, benchmark: str) -> tuple[np.ndarray, np.ndarray]:
        if benchmark not in self.benchmarks:
            raise NotTestable(f"{benchmark} was not asked in this run")
        if benchmark not in self._resampled:
            names = list(self.configurations["decomposition"])
            made = resample(self.folder, names, benchmark)
            assert made is not None  # every benchmark has a score
            self._resampled[benchmark] = made
        return self._resampled[benchmark]


@dataclass
class Evidence:
    """The results of one run, for one model.

    Attributes
    ----------
    studies
        From a study's name to its table and evaluations.
    profiles
        The table of `lowrank.profiling.fits.collect_profiles`, or None.
    design_space
        The table of the design-space sizes (Table 3.1), or None.
    """

    studies: Mapping[str, Study] = field(default_factory=dict)
    profiles: Path | None = None
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


def load_evidence(
    models: Mapping[str, Mapping[str, Any]], design_space: str | Path
) -> tuple[dict[str, Evidence], dict[str, dict[str, str]]]:
    """Return the results that judge the claims, and what they hold for, by kind of test.

    Parameters
    ----------
    models
        From a model's family to `model`, `label`, `studies` (from a study to its table, beside
        whose folder the evaluations are) and `profiles` (at most one table).
    design_space
        The table of the design-space sizes.
    """
    evidence = {"none": Evidence(design_space=Path(design_space))}
    scopes = {"none": {"model": "", "label": "", "device": ""}}
    for family, entry in models.items():
        studies, devices = {}, []
        for name, path in entry["studies"].items():
            folder = Path(path).parents[1] / "evaluations"
            studies[name] = Study(Path(path), folder)
            devices += sorted((folder / DENSE).glob("*.json"))[:1]
        profiles = [Path(path) for path in entry["profiles"]]
        evidence[family] = Evidence(studies, profiles[0] if profiles else None)
        scopes[family] = {
            "model": entry["model"],
            "label": entry["label"],
            "device": read_json(devices[0])["provenance"]["device_name"] if devices else "",
        }
    return evidence, scopes
