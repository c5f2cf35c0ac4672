"""What the entry of a benchmark must say that asks windows of a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lowrank.base.errors import LowrankError, suggestion
from lowrank.base.metric import WINDOW_METRICS, Metric

NOT_OF_WINDOWS = (
    *("tasks", "task_folder", "exemplars", "generation", "max_length", "weights", "clusters"),
    *("questions", "splits", "columns", "subsets", "sources", "chance", "baseline", "options"),
)
"""Keys of an entry that say nothing of windows."""


def require_windows(benchmark: Mapping[str, Any], text: Mapping[str, Any]) -> None:
    """Check an entry whose scorer asks windows of a text.

    Parameters
    ----------
    benchmark
        The entry, with the defaults of its schema.
    text
        The entry of its text, with its `name`.

    Raises
    ------
    LowrankError
        If a key says nothing of windows, a metric is none of theirs, or the label does not say text
        and length.
    """
    for key in NOT_OF_WINDOWS:
        if benchmark.get(key):
            raise LowrankError(f"{key}: windows of a text have none")
    for metric in (benchmark["metric"], *(own["metric"] for own in benchmark["beside"].values())):
        name = Metric.from_config(metric).name
        if name not in WINDOW_METRICS:
            raise LowrankError(
                f"metric: windows have no {name!r}{suggestion(name, WINDOW_METRICS)}"
            )
    label, tokens = benchmark["label"], f"{benchmark['length']} tokens"
    names = dict.fromkeys((text["name"], text["label"]))
    if tokens not in label or not any(name in label for name in names):
        wanted = " or ".join(map(repr, names))
        raise LowrankError(f"label: {label!r} does not say what is asked: {wanted}, and {tokens!r}")
