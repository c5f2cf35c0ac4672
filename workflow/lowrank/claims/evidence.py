"""What claims are judged by: the studies of a model's results, and its profiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from lowrank.analyse.efficiency import lacks_line
from lowrank.base.csv_table import read_table
from lowrank.base.names import CAPPED_BATCH, LARGEST_BATCH
from lowrank.claims.estimate import NotTestable
from lowrank.claims.studies import Study

BENCHMARKS = "benchmarks"
"""The workloads that count in the thesis: the requests of the benchmarks. Else `all` count."""

STAND_IN = "prefill of one length stands for the benchmarks' requests"
"""Said of a measurement where no benchmark's requests were at hand: a machine without data."""


@dataclass
class Evidence:
    """The results of one model.

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
            raise NotTestable(f"the study {name} is not part of these results")
        return self.studies[name]

    def up_to(self, numbers: Mapping[str, int]) -> Evidence:
        """Return the results on the first questions of each benchmark alone.

        Parameters
        ----------
        numbers
            From a benchmark to how many of its questions count, in the order of asking.
        """
        studies = {name: study.up_to(numbers) for name, study in self.studies.items()}
        return replace(self, studies=studies)

    def measured(
        self, metric: str, workloads: str, lacks: Callable[[pd.DataFrame], str] = lacks_line
    ) -> pd.DataFrame:
        """Return the rows of the profiles that hold a metric relative to the dense model.

        On GPUs the benchmarks' requests count at the largest batch that fits alone: so the thesis
        measures, and a small batch leaves a GPU idle. A batch at the limit of its search counts for
        all but memory, with the doubt that its rows have. A CPU is busy with one row. Where no
        benchmark's requests were measured, prefill at that batch stands for them, with a doubt. A
        workload that lacks what is asked for is left out, and the others have a doubt.

        Parameters
        ----------
        workloads
            `BENCHMARKS`, or `all`.
        lacks
            From a workload's rows to why it cannot count; empty where it can. By default it must
            have a line over the parameters removed.

        Raises
        ------
        NotTestable
            If no workload is left, or nothing was profiled.
        """
        if self.profiles is None:
            raise NotTestable("nothing was profiled in this run")
        table = read_table(self.profiles)
        table = table[table["metric"] == metric]
        if workloads == BENCHMARKS:
            table = self._of_benchmarks(table, metric)
        parts = dict(list(table.groupby("workload", sort=False)))
        reasons = {name: lacks(part) for name, part in parts.items()}
        kept = [part for name, part in parts.items() if not reasons[name]]
        if not kept:
            raise NotTestable(next(iter(reasons.values()), f"{metric} was not measured"))
        found = pd.concat(kept)
        for name, reason in reasons.items():
            if reason:
                found = _doubted(found, f"{name} is left out: {reason.replace('; ', ', ')}")
        return found[found["ratio"].notna()]

    def _of_benchmarks(self, table: pd.DataFrame, metric: str) -> pd.DataFrame:
        # A capped batch keeps a GPU busy, too, but the memory that it takes is not the largest's.
        capped = [] if metric == "memory" else [CAPPED_BATCH]
        is_largest = table["batch_rule"].isin([LARGEST_BATCH, *capped])
        is_own = table["workload"].isin(self.benchmark_workloads)
        if is_own.any():
            found = table[is_own & (is_largest | (table["gpus"] == 0))]
            if found.empty:
                raise NotTestable(f"{metric} was not measured at the largest batch that fits")
            for name in sorted(set(table["workload"][is_own]) - set(found["workload"])):
                found = _doubted(found, f"{name} is left out: its batch is not the largest")
            return found
        found = table[is_largest & (table["phase"] == "prefill")]
        if found.empty:
            raise NotTestable(
                f"{metric} of no benchmark's requests was measured in this run, and not of prefill "
                "at the largest batch either"
            )
        return _doubted(found, STAND_IN)


def _doubted(table: pd.DataFrame, doubt: str) -> pd.DataFrame:
    """Return rows of the profiles with one doubt more."""
    doubts = table["doubts"].astype(object).fillna("")
    return table.assign(doubts=doubts.where(doubts == "", doubts + "; ") + doubt)
