"""What an entry must say that asks for programs, or how likely a continuation is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lowrank.base.errors import LowrankError, suggestion
from lowrank.base.metric import WINDOW_METRICS, Metric, programs_of

GREEDY, SAMPLED = "greedy", "sampled"

KEYS: Mapping[str, tuple[str, ...]] = {
    GREEDY: ("new_tokens",),
    SAMPLED: ("temperature", "top_p", "length"),
}
"""From a protocol to the keys that it has and the other has not."""

OF_LM_EVAL = (
    *("tasks", "task_folder", "exemplars", "max_length", "weights", "clusters", "baseline"),
    *("options", "subsets", "text", "length", "chance"),
)
"""Keys of an entry that say nothing of such benchmarks."""

COLUMNS = ("prompt", "entry_point", "test")
"""Columns of a problem that a program is written for."""


def require_programs(benchmark: Mapping[str, Any]) -> None:
    """Check an entry whose scorer runs programs.

    Parameters
    ----------
    benchmark
        The entry, with the defaults of its schema.

    Raises
    ------
    LowrankError
        If a key says nothing of programs, the protocol lacks one or has another's, a problem lacks
        a column, or a metric chooses from more programs than there are.
    """
    _require_no(benchmark, (*OF_LM_EVAL, "context", "continuation"), "programs have none")
    protocol = benchmark.get("protocol")
    if protocol is None:
        raise LowrankError("protocol: programs need one: how they are asked for")
    for name, keys in KEYS.items():
        for key in keys:
            if (key in protocol) != (name == protocol["name"]):
                has = "has none" if key in protocol else "needs one"
                raise LowrankError(f"protocol.{key}: the protocol {protocol['name']!r} {has}")
    if protocol["name"] == GREEDY and protocol["samples"] != 1:
        raise LowrankError("protocol.samples: greedy programs are all alike, so there is one")
    _require_columns(benchmark, COLUMNS)
    for metric in (benchmark["metric"], *(own["metric"] for own in benchmark["beside"].values())):
        k = programs_of(Metric.from_config(metric).name)
        if k > protocol["samples"]:
            raise LowrankError(f"metric: pass@{k} needs {k} programs, not {protocol['samples']}")


def require_continuations(benchmark: Mapping[str, Any]) -> None:
    """Check an entry whose scorer asks how likely continuations are.

    Raises
    ------
    LowrankError
        If a key says nothing of them, it does not say which columns are asked, or a metric is none
        of them.
    """
    _require_no(benchmark, (*OF_LM_EVAL, "protocol", "generation"), "continuations have none")
    for key in ("context", "continuation"):
        if key not in benchmark:
            raise LowrankError(f"{key}: it needs one: the name of a column")
    _require_columns(benchmark, (benchmark["context"], benchmark["continuation"]))
    for metric in (benchmark["metric"], *(own["metric"] for own in benchmark["beside"].values())):
        name = Metric.from_config(metric).name
        if name not in WINDOW_METRICS:
            raise LowrankError(
                f"metric: continuations have no {name!r}{suggestion(name, WINDOW_METRICS)}"
            )


def _require_no(benchmark: Mapping[str, Any], keys: tuple[str, ...], says: str) -> None:
    for key in keys:
        if benchmark.get(key):
            raise LowrankError(f"{key}: {says}")


def _require_columns(benchmark: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if name not in benchmark["columns"]:
            raise LowrankError(
                f"columns: {name!r} is missing{suggestion(name, benchmark['columns'])}"
            )
