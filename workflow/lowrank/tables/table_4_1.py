"""Table 4.1: the benchmarks, how many questions each has and how many are asked here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json
from lowrank.base.metric import Metric
from lowrank.base.thesis import quantity, read_thesis
from lowrank.tables.typesetting import Table

DATA_HEADER = (
    "benchmark",
    "lm_eval_task",
    "metric",
    "thesis_samples",
    "all_splits",
    "split",
    "available",
    "used_least",
    "used_most",
)
HEADER = (
    "Benchmark",
    "Task",
    "lm-eval task",
    "Metric",
    *("Thesis", "All splits"),
    *("Split", "Available", "Used"),
)
_ROUND_FIGURE = (
    "‡",
    "The round figure that the data set's authors give for it, not the sum of its splits.",
)
REMARKS: Mapping[str, tuple[str, str]] = {
    "hellaswag": ("*", "The thesis gives the validation split alone."),
    "truthfulqa": (
        "†",
        "The same 817 questions, once in each of two configurations of the data set "
        "(generation and multiple choice).",
    ),
    "winogrande": _ROUND_FIGURE,
    "gsm8k": _ROUND_FIGURE,
}
"""Mark and note of what the thesis counts where that is not simply every split."""


def table(
    benchmarks: Sequence[Mapping[str, Any]],
    manifests: Iterable[str | Path],
    thesis: str | Path,
) -> Table:
    """Count questions from the registry, what was fetched and the run's limits.

    Parameters
    ----------
    benchmarks
        `name`, `label`, `task`, `tasks`, `weights`, `metric` (as a record), `beside` and `subsets`
        of the registry's entry of each row; `counted` (false for windows of a text, whose number
        depends on the model's tokenizer); `splits` ((name, questions) of each) and `split` (the
        one that is evaluated); `used` (whether the run asks it) and `limits` (how many of its
        questions configurations are asked, each number once; None for all).
    manifests
        Those that `lowrank.assets.questions.fetch_benchmark` wrote for benchmarks that are used.
    thesis
        The file that holds what the thesis prints.

    Raises
    ------
    LowrankError
        If a benchmark that is used has no manifest.
    """
    printed = read_thesis(thesis, "table_4_1")
    available = {found["benchmark"]: found["questions"] for found in map(read_json, manifests)}
    rows, data = [], [DATA_HEADER]
    for entry in benchmarks:
        name, metric = entry["name"], Metric.from_record(entry["metric"])
        if entry["used"] and entry["counted"] and name not in available:
            raise LowrankError(f"there is no manifest of benchmark {name}")
        reference = printed.get(name)
        mark = REMARKS[name][0] if reference and name in REMARKS else ""
        total = sum(size for _, size in entry["splits"])
        questions = available.get(name) if entry["used"] else None
        limits = entry["limits"] if entry["used"] else []
        rows.append(
            (
                entry["label"],
                entry["task"],
                _task(entry),
                _metric(metric),
                f"{reference['samples']}{mark}" if reference else "–",
                f"{total:,}" if total else "–",
                entry["split"],
                "–" if questions is None else f"{questions:,}",
                _used(limits, questions) if limits else "not used here",
            )
        )
        theirs = f"{quantity(reference['samples']):.12g}" if reference else ""
        counts = [theirs, total or "", entry["split"], questions or "", *_asked(limits, questions)]
        data.append((name, _task(entry), str(metric), *map(str, counts)))
    return Table(
        "Table 4.1",
        HEADER,
        rows,
        ("left", "wide", "left", "left", "right", "right", "left", "right", "right"),
        _notes(benchmarks, printed),
        note_width="74em",
        groups=[("", 4), ("Whole data set", 2), ("Questions evaluated here", 3)],
        data=data,
    )


def _asked(
    limits: Sequence[int | None], questions: int | None
) -> tuple[int, int] | tuple[str, int | str]:
    """Return the least and the most questions that configurations are asked; empty if not known."""
    if not limits:
        return 0, 0
    if questions is None:
        return "", "" if None in limits else max(limit for limit in limits if limit is not None)
    numbers = [questions if limit is None else min(limit, questions) for limit in limits]
    return min(numbers), max(numbers)


def _used(limits: Sequence[int | None], questions: int | None) -> str:
    """Return how many questions, or windows of a text, configurations are asked."""
    least, most = _asked(limits, questions)
    if questions is None:
        return f"{most:,} windows at most" if most else "all windows"
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _task(entry: Mapping[str, Any]) -> str:
    named = ", ".join(task.replace("{subset}", "*") for task in entry["tasks"])
    if entry["weights"]:
        terms = [
            task if weight == 1 else f"{weight:g} {task}"
            for task, weight in entry["weights"].items()
        ]
        named = f"({' + '.join(terms)}) / {sum(entry['weights'].values()):g}"
    return f"{named} ({len(entry['subsets'])} subjects)" if entry["subsets"] else named


def _metric(metric: Metric) -> str:
    named = f"{metric.name} ({metric.filter})" if metric.filter else metric.name
    return named if metric.sign > 0 else f"{named}, lower is better"


def _notes(
    benchmarks: Sequence[Mapping[str, Any]], printed: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    sums = [
        f"{entry['label']} "
        + " + ".join(f"{size:,} ({split.replace('_', ' ')})" for split, size in entry["splits"])
        for entry in benchmarks
        if entry["splits"]
    ]
    notes = [
        "Unless marked, the thesis counts whole data sets, all splits, and not the questions that "
        "lm-eval asks: "
        f"{'; '.join(sums)}.",
    ]
    for mark in dict.fromkeys(mark for mark, _ in REMARKS.values()):
        shown = [
            entry
            for entry in benchmarks
            if entry["name"] in printed and REMARKS.get(entry["name"], ("",))[0] == mark
        ]
        if shown:
            notes.append(f"{mark} {REMARKS[shown[0]['name']][1]}")
    beside = [
        f"{entry['label']} {', '.join(entry['beside'])}" for entry in benchmarks if entry["beside"]
    ]
    if beside:
        notes.append(f"The same answers have other metrics, too: {'; '.join(beside)}.")
    used = sum(bool(entry["used"] and entry["limits"]) for entry in benchmarks)
    notes.append(
        f"The caption of the thesis says 6 benchmarks, its table lists {len(printed)}; "
        f"this run uses {used}."
    )
    return notes
