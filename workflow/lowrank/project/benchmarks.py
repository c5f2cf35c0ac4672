"""What the entry of a benchmark must say, whoever scores it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lowrank.base.errors import LowrankError, suggestion
from lowrank.base.metric import METRICS, Metric
from lowrank.base.names import CONTINUATIONS, LM_EVAL, PERPLEXITY, PROGRAMS
from lowrank.project.programs import require_continuations, require_programs
from lowrank.project.scorers import BASELINES, SCORERS
from lowrank.project.stock_tasks import require_stock_tasks
from lowrank.project.windows import require_windows


def checked_metric(entry: dict[str, Any], text: Callable[[str], Mapping[str, Any]]) -> Metric:
    """Check an entry; return its headline metric, and take `chance`, which that has, out of it.

    Parameters
    ----------
    entry
        The entry, with the defaults of its schema.
    text
        From a name to the entry of a text.

    Raises
    ------
    LowrankError
        If the scorer, a metric, the baseline, the text or a task that it weighs is not known, a
        key says nothing of what its scorer asks, or lm-eval's tasks are not what it says of them.
    """
    scorer = entry["scorer"]
    if scorer not in SCORERS:
        raise LowrankError(f"scorer: unknown scorer {scorer!r}{suggestion(scorer, SCORERS)}")
    _require_tasks(entry)
    if scorer == LM_EVAL:
        require_stock_tasks(entry)
    metric = Metric.from_config(entry["metric"], entry.pop("chance"))
    for own in entry["beside"].values():
        Metric.from_config(own["metric"])
    if scorer != LM_EVAL:  # of lm-eval's metrics its tasks say it
        for value in (entry["metric"], *(own["metric"] for own in entry["beside"].values())):
            _require_computed(Metric.from_config(value), scorer)
    _require_baseline(entry)
    if scorer == PROGRAMS:
        require_programs(entry)
        return metric
    if scorer == CONTINUATIONS:
        require_continuations(entry)
        return replace(metric, label=entry["label"])
    for key in ("protocol", "context", "continuation"):
        if key in entry:
            raise LowrankError(f"{key}: the scorer {scorer!r} has none")
    if scorer == PERPLEXITY:
        require_windows(entry | {"chance": metric.chance}, text(entry["text"]))
        return replace(metric, label=entry["label"])
    if "text" in entry or "length" in entry:
        raise LowrankError("`text` and `length` are for the scorer `perplexity`")
    return metric


def _require_computed(metric: Metric, scorer: str) -> None:
    """Check that a metric that is computed here is described as it is computed."""
    computed = METRICS.get(metric.name, METRICS["pass@1"] if scorer == PROGRAMS else metric)
    for key in ("averaging", "direction"):
        own, given = getattr(computed, key), getattr(metric, key)
        if own != given:
            raise LowrankError(f"metric.{key}: that of {metric.name} is {own!r}, not {given!r}")


def _require_tasks(benchmark: Mapping[str, Any]) -> None:
    """Check that what a benchmark weighs, or shows beside its headline, is of its own tasks."""
    tasks = benchmark.get("tasks", ())
    named = [own["task"] for own in benchmark["beside"].values() if "task" in own]
    for task in (*benchmark["weights"], *named):
        if task not in tasks:
            raise LowrankError(f"{task!r} is none of its tasks{suggestion(task, tasks)}")


def _require_baseline(benchmark: Mapping[str, Any]) -> None:
    """Check that a benchmark's baseline is known, and that it can read the questions."""
    if not benchmark["baseline"]:
        return
    name = benchmark["baseline"]["name"]
    if name not in BASELINES:
        raise LowrankError(f"baseline: unknown baseline {name!r}{suggestion(name, BASELINES)}")
    missing = [column for column in BASELINES[name] if column not in benchmark["columns"]]
    if missing:
        raise LowrankError(f"baseline: {name} reads {missing[0]!r}, which is none of `columns`")
