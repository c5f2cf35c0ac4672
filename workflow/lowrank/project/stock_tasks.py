"""What lm-eval's own tasks say of themselves, read without it: importing lm-eval takes seconds.

So a metric that a task lacks, or examples that it would take from the questions asked, are found
when the configuration is read.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lowrank.base.errors import LowrankError, suggestion
from lowrank.base.files import YAML_LOADER
from lowrank.base.metric import HIGHER, METRICS, Metric

AVERAGING_OF = {
    "mean": "mean",
    "perplexity": "perplexity",
    "weighted_perplexity": "perplexity",
    "bits_per_byte": "weighted_mean",
}
"""From lm-eval's aggregations that are means over questions to `lowrank.base.metric.AVERAGINGS`."""

_DEFAULT_METRICS = {
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
}
"""What a task has that lists no metrics, by its type of output."""

_DEFAULT_AGGREGATIONS = {
    **dict.fromkeys(("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"), "mean"),
    **dict.fromkeys(("word_perplexity", "byte_perplexity"), "weighted_perplexity"),
}
"""How a metric is aggregated that does not say it; the others have one of their own name."""

_DEFAULT_DIRECTIONS = {
    **dict.fromkeys(("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"), True),
    **dict.fromkeys(("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"), False),
}
"""Whether higher is better of a metric that does not say it."""


def require_stock_tasks(benchmark: Mapping[str, Any]) -> None:
    """Check what a benchmark asks of lm-eval's tasks.

    Parameters
    ----------
    benchmark
        Its entry: `tasks`, `task_folder`, `subsets`, `exemplars`, `generation`, `metric`, `weights`
        and `beside`. Of a task of each subset the first one is looked at.

    Raises
    ------
    LowrankError
        If lm-eval lacks a task; a task would draw its examples from the questions asked; or it
        lacks a metric, a filter of its answers, or has it with another direction or averaging.
    """
    folder, subset = benchmark["task_folder"], next(iter(benchmark["subsets"]), "")
    for name in benchmark["tasks"]:
        try:
            name.format(subset=subset)
        except (LookupError, ValueError, AttributeError):
            raise LowrankError(f"tasks: {name!r}: only `{{subset}}` may stand in braces") from None
    tasks = {name: stock_task(folder, name.format(subset=subset)) for name in benchmark["tasks"]}
    for name, task in tasks.items():
        if task is not None:
            _require_ways(name.format(subset=subset), task, benchmark)
    for key, value, names in _metrics_of(benchmark):
        for name in names:
            task = tasks[name]
            if task is not None:
                _require_metric(key, value, name.format(subset=subset), task)


def _metrics_of(benchmark: Mapping[str, Any]) -> Iterable[tuple[str, Any, Iterable[str]]]:
    """Yield each metric of an entry, with its place there and the tasks that it is of."""
    yield "metric", benchmark["metric"], benchmark["weights"] or benchmark["tasks"]
    for name, own in benchmark["beside"].items():
        named = [own["task"]] if "task" in own else benchmark["tasks"]
        yield f"beside.{name}", own["metric"], named


def _require_ways(name: str, task: Mapping[str, Any], benchmark: Mapping[str, Any]) -> None:
    """Check that a task takes its questions from a table, and its examples from elsewhere."""
    if "class" in task:
        raise LowrankError(
            f"tasks: {name} of lm-eval is a Python class, which fetches its own data"
        )
    shots, config = task.get("num_fewshot") or 0, task.get("fewshot_config") or {}
    if shots and not benchmark["exemplars"] and not config.get("samples"):
        raise LowrankError(
            f"tasks: {name} of lm-eval draws {shots} examples for each question from a split that "
            "is not here, and they are never taken from the questions asked: name solved questions "
            "by `exemplars`, or a task without examples"
        )
    generates = task.get("output_type", "generate_until") == "generate_until"
    if generates != benchmark["generation"]:
        says = "generates text" if generates else "generates no text"
        raise LowrankError(f"generation: {name} of lm-eval {says}: set {str(generates).lower()}")
    settings = task.get("generation_kwargs") or {}
    if generates and settings.get("do_sample", (settings.get("temperature") or 0) > 0):
        raise LowrankError(
            f"tasks: {name} of lm-eval draws its texts at random, so that no run could repeat its "
            "score: choose a task that takes the likeliest tokens"
        )


def _require_metric(key: str, value: Any, task_name: str, task: Mapping[str, Any]) -> None:
    """Check that a task has a metric, and that both say the same of it."""
    name, _, chosen = (value if isinstance(value, str) else value["name"]).partition(",")
    metrics = _metrics(task)
    if name not in metrics:
        raise LowrankError(
            f"{key}: {task_name} of lm-eval has no metric {name!r}{suggestion(name, metrics)}"
        )
    filters = [own["name"] for own in task.get("filter_list") or ()] or ["none"]
    if (chosen or "none") not in filters:
        known = ", ".join(name if own == "none" else f"{name},{own}" for own in filters)
        raise LowrankError(
            f"{key}: {task_name} of lm-eval filters its answers by {', '.join(filters)}, and not "
            f"by {chosen or 'none'!r}; known: {known}"
        )
    own = metrics[name]
    aggregation = own.get("aggregation") or _DEFAULT_AGGREGATIONS.get(name, name)
    if aggregation not in AVERAGING_OF:
        raise LowrankError(
            f"{key}: {name} of {task_name} is no mean over questions: lm-eval computes it from all "
            f"of them by {aggregation}; choose a metric that each question has"
        )
    if isinstance(value, str) and name not in METRICS:
        raise LowrankError(
            f"{key}: {name!r} is not known here: describe it as {{name: {value!r}, label: …, "
            "direction: …}"
        )
    metric = Metric.from_config(value)
    averaging, higher = AVERAGING_OF[aggregation], own.get("higher_is_better")
    higher = _DEFAULT_DIRECTIONS.get(name) if higher is None else higher
    if metric.averaging != averaging:
        raise LowrankError(
            f"{key}: {name} of {task_name} is averaged by {averaging!r} in lm-eval, and not by "
            f"{metric.averaging!r}; describe it with `averaging: {averaging}`"
        )
    if higher is not None and bool(higher) != (metric.direction == HIGHER):
        better = "higher" if higher else "lower"
        raise LowrankError(
            f"{key}: {better} is better for {name} of {task_name}, says lm-eval; `direction` says "
            f"{metric.direction}"
        )


def _metrics(task: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    listed = task.get("metric_list")
    if listed is None:
        names = _DEFAULT_METRICS.get(task.get("output_type", "generate_until"), ())
        return {name: {} for name in names}
    return {str(own.get("metric")): own for own in listed}


@functools.cache
def stock_task(folder: str, name: str) -> Mapping[str, Any] | None:
    """Return a task as its file has it, with what that includes; functions are their names.

    Parameters
    ----------
    folder
        Where it stands, below lm-eval's tasks.
    name
        Its name.

    Returns
    -------
    The keys of its file; None where it is not in a file of its own, or without lm-eval.

    Raises
    ------
    LowrankError
        If there is no such folder, or none of its files speaks of the task.
    """
    found = importlib.util.find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        return None
    tasks = Path(found.submodule_search_locations[0], "tasks")
    known = [path.name for path in sorted(tasks.iterdir()) if path.is_dir()]
    if Path(folder).parts[:1] not in {(name,) for name in known} or not (tasks / folder).is_dir():
        close = _nearest(folder, known)
        raise LowrankError(f"task_folder: lm-eval has no folder of tasks {folder!r}{close}")
    texts = {path: path.read_text("utf-8") for path in sorted((tasks / folder).rglob("*.yaml"))}
    speaking = [path for path, text in texts.items() if name in text]
    for path in speaking:
        if _read(path).get("task") == name:
            return _with_included(path)
    if not speaking:
        known = [own for text in texts.values() for own in re.findall(r"^task: *(\S+)", text, re.M)]
        close = _nearest(name, known)
        raise LowrankError(f"tasks: lm-eval has no task {name!r} in {folder}{close}")
    return None


def _nearest(name: str, known: list[str]) -> str:
    """Return the tail of a message on an unknown name; all known ones would be too many."""
    near = difflib.get_close_matches(name, known, n=1)
    return suggestion(name, near) if near else ""


class _Loader(YAML_LOADER):
    """YAML in which a function is its name."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def _read(path: Path) -> dict[str, Any]:
    made = yaml.load(path.read_text("utf-8"), Loader=_Loader)
    return made if isinstance(made, dict) else {}


def _with_included(path: Path) -> dict[str, Any]:
    own = _read(path)
    included = own.pop("include", [])
    made: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included]:
        made |= _with_included(path.parent / name)
    return made | own
