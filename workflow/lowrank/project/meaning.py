"""What an entry of the `config` folder must mean, beside what its schema asks of its form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lowrank.assets import sources
from lowrank.base.errors import LowrankError, suggestion
from lowrank.project.scorers import BASELINES
from lowrank.project.studies import shown_as


def require_division(text: Mapping[str, Any]) -> None:
    """Check that a text has one way to its parts, and that its sources go that way, too.

    Parameters
    ----------
    text
        Its entry.

    Raises
    ------
    LowrankError
        If it has none or both, or a source goes the other one.
    """
    if ("parts" in text) == ("held_out" in text):
        raise LowrankError("it needs either `parts` or `held_out`")
    for number, source in enumerate(text["sources"]):
        places = [source.get("mirror", ""), source.get("split", ""), *source.get("members", ())]
        has_parts = any("{subset}" in place for place in places)
        if has_parts != ("parts" in text):
            where = "no place" if "parts" in text else "a place"
            raise LowrankError(f"sources.{number}: it has {where} for `{{subset}}`")


def require_tasks(benchmark: Mapping[str, Any]) -> None:
    """Check that what a benchmark weighs, or shows beside its headline, is of its own tasks.

    Parameters
    ----------
    benchmark
        Its entry.

    Raises
    ------
    LowrankError
        Naming the first task that is none of them.
    """
    tasks = benchmark.get("tasks", ())
    named = [own["task"] for own in benchmark["beside"].values() if "task" in own]
    for task in (*benchmark["weights"], *named):
        if task not in tasks:
            raise LowrankError(f"{task!r} is none of its tasks{suggestion(task, tasks)}")


def require_baseline(benchmark: Mapping[str, Any]) -> None:
    """Check that a benchmark's baseline is known, and that it can read the questions.

    Parameters
    ----------
    benchmark
        Its entry.

    Raises
    ------
    LowrankError
        If it is not known, or reads a column that the questions do not have.
    """
    if not benchmark["baseline"]:
        return
    name = benchmark["baseline"]["name"]
    if name not in BASELINES:
        raise LowrankError(f"baseline: unknown baseline {name!r}{suggestion(name, BASELINES)}")
    missing = [column for column in BASELINES[name] if column not in benchmark["columns"]]
    if missing:
        raise LowrankError(f"baseline: {name} reads {missing[0]!r}, which is none of `columns`")


def require_own_figures(studies: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that no two studies of a model write the same figure.

    Parameters
    ----------
    studies
        From the names of a model's studies to their entries.

    Raises
    ------
    LowrankError
        Naming the first two.
    """
    known: dict[str, str] = {}
    for name, study in studies.items():
        figure = shown_as(study)
        if figure in known:
            raise LowrankError(
                f"config: studies: {known[figure]} and {name} both draw {figure}: leave one out, "
                "or give it a name of its own by `shown_as`"
            )
        if figure:
            known[figure] = name


def require_training(benchmark: Mapping[str, Any]) -> None:
    """Check that a benchmark has a training split, and that it can be had here.

    Parameters
    ----------
    benchmark
        Its entry, with its `name`.

    Raises
    ------
    LowrankError
        If there is none, or none of its sources is here.
    """
    name = benchmark["name"]
    if "training" not in benchmark or "train" not in benchmark["splits"]:
        raise LowrankError(f"benchmark {name} has no `training` sources, or no number of its split")
    sources.choose_source(benchmark["training"], f"the training split of benchmark {name}", None)
