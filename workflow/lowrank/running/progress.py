"""How far a run of the workflow is, and how long the rest of it may take."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

WORK = {"assets": "fetch"}
"""What a stage does, where its file has the name of what it makes."""


def stages_of(rules: str | Path) -> dict[str, str]:
    """Return the stage of each rule: the name of the file in the folder `rules` that holds it."""
    return {
        rule: WORK.get(path.stem, path.stem)
        for path in sorted(Path(rules).glob("*.smk"))
        for rule in re.findall(r"^\s*(?:rule|checkpoint)\s+(\w+)\s*:", path.read_text(), re.M)
    }


@dataclass(frozen=True)
class _Job:
    rule: str
    threads: int
    start: float

    def cost(self, now: float) -> float:
        """Return what the job has taken so far, in seconds of a core."""
        return self.threads * max(now - self.start, 0.0)


class Progress:
    """The jobs of a run, counted as they begin and end.

    Every time is in seconds and given by the caller.

    Parameters
    ----------
    counts
        From each rule to the number of its jobs, in the order in which they can be done.
    stage_of
        From a rule to its stage; a rule that is absent is a stage of its own.
    now
        When the first job could begin.
    """

    def __init__(self, counts: Mapping[str, int], stage_of: Mapping[str, str], now: float) -> None:
        self.total = sum(counts.values())
        self.done = 0
        self.failed: set[int] = set()
        self.begun: set[str] = set()
        """The stages of which a job has begun."""
        self._stage_of = stage_of
        self._counts = Counter(counts)
        self._waiting = Counter(counts)
        self._running: dict[int, _Job] = {}
        self._finished: Counter[str] = Counter()
        self._costs: Counter[str] = Counter()
        self._lost = 0.0
        self._begin = now

    @property
    def percent(self) -> int:
        """The share of jobs that are done; 100 only when all are."""
        return 100 * self.done // self.total

    @property
    def stages(self) -> str:
        """The number of jobs of each stage: fetch 8, decompose 96."""
        counts: Counter[str] = Counter()
        for rule, count in self._counts.items():
            counts[self._stage_of.get(rule, rule)] += count
        return ", ".join(f"{stage} {count}" for stage, count in counts.items())

    @property
    def running(self) -> list[str]:
        """The stages of the running jobs, the one with the most jobs first."""
        stages = Counter(self._stage_of.get(job.rule, job.rule) for job in self._running.values())
        return [stage for stage, _ in stages.most_common()]

    def start(self, job: int, rule: str, threads: int, now: float) -> None:
        """Note that a job begins, or begins again after a failure."""
        if job not in self.failed:
            self._waiting[rule] = max(self._waiting[rule] - 1, 0)
        self._running[job] = _Job(rule, threads, now)
        self.begun.add(self._stage_of.get(rule, rule))

    def finish(self, job: int, now: float) -> None:
        """Note that a job is done."""
        self.done += 1
        self.failed.discard(job)
        if ended := self._running.pop(job, None):
            self._finished[ended.rule] += 1
            self._costs[ended.rule] += ended.cost(now)

    def fail(self, job: int, now: float) -> None:
        """Note that a job has failed."""
        self.failed.add(job)
        if ended := self._running.pop(job, None):
            self._lost += ended.cost(now)

    def seconds_left(self, now: float) -> float | None:
        """Estimate how long the jobs to come will take.

        A job costs its seconds times its threads. A job to come costs the mean of the finished jobs
        of its rule. Where its rule has none, it costs the mean of all finished jobs, or what a
        running job of its rule has cost already if that is more. The run goes on at the rate that
        it had so far: cost over time, with every pause in it.

        Returns
        -------
        float | None
            Seconds; None until a quarter of the jobs is done, or the rules that have a finished job
            account for half of the jobs.
        """
        running, costs = self._running.values(), self._costs.total()
        spent = costs + self._lost + sum(job.cost(now) for job in running)
        known = sum(self._counts[rule] for rule in self._finished)
        if max(2 * known, 4 * self.done) < self.total or spent <= 0 or not self._finished:
            return None
        means = dict.fromkeys(self._waiting, costs / self._finished.total())
        for job in running:
            means[job.rule] = max(means[job.rule], job.cost(now))
        means |= {rule: self._costs[rule] / count for rule, count in self._finished.items()}
        rests = [(max(means[job.rule] - job.cost(now), 0.0), job.threads) for job in running]
        to_come = sum(rest for rest, _ in rests)
        to_come += sum(means[rule] * count for rule, count in self._waiting.items())
        at_this_rate = to_come * (now - self._begin) / spent
        return max([at_this_rate, *(rest / threads for rest, threads in rests)])


def clock(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds: 0:05:10."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def time_left(seconds: float | None) -> str:
    """Say roughly how long the rest takes; None is not known yet."""
    if seconds is None:
        return "estimating"
    if seconds < 55:
        return f"about {10 * max(round(seconds / 10), 1)} s left"
    if seconds < 5400:
        return f"about {max(round(seconds / 60), 1)} min left"
    return f"about {seconds / 3600:.1f} h left"
