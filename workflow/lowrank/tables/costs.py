"""What compressing takes: seconds and memory of each method, added up from those of its jobs."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json
from lowrank.tables.typesetting import Table

HEADER = (
    *("Method", "Calibration set", "Tokens", "Layers"),
    *("Walk (s)", "Factors (s)", "Number", "Each (s)"),
    *("One model (s)", "Peak (GiB)"),
)
DATA_HEADER = (
    *("method", "calibration", "calibration_tokens", "layers", "layers_timed"),
    *("walk_seconds", "factors_seconds"),
    *("configurations", "configurations_timed", "configuration_seconds_median"),
    *("one_model_seconds", "jobs", "jobs_with_memory", "peak_resident_mebibytes"),
)
MISSING = "–"
"""What a cell says whose number is not known; the notes say why."""


@dataclass(frozen=True)
class Cost:
    """What one job took.

    Attributes
    ----------
    seconds
        From its start to its end, on the wall clock.
    mebibytes
        The most resident memory of its processes together among the samples that Snakemake took;
        None if the job ended before one was taken.
    """

    seconds: float
    mebibytes: float | None


@dataclass(frozen=True)
class MethodCost:
    """What a method takes on a calibration set, added up from its jobs.

    A sum of which a part is missing is None: it is not the sum of the others.

    Attributes
    ----------
    walk_seconds
        Of the walk over the dense model that all methods of the set share; None if it is missing or
        the method needs none.
    factors_seconds
        Of factorizing all its layers, one after the other.
    layers, layers_timed
        Number of layers that are factorized once for all configurations, and of which the time is
        known.
    configurations, configurations_timed
        Number of configurations, and of which the time is known.
    configuration_seconds
        The median over the latter: of cutting one from the factors, or of all of it where each is
        factorized by itself.
    one_model_seconds
        Of one configuration from the dense model on.
    jobs, jobs_with_memory
        Number of jobs whose time is known, and of which the memory is.
    mebibytes
        The most resident memory of any of them.
    """

    walk_seconds: float | None
    factors_seconds: float | None
    layers: int
    layers_timed: int
    configurations: int
    configurations_timed: int
    configuration_seconds: float | None
    one_model_seconds: float | None
    jobs: int
    jobs_with_memory: int
    mebibytes: float | None


def read_cost(path: str | Path) -> Cost | None:
    """Read what Snakemake's directive `benchmark` wrote of a job.

    Returns
    -------
    None if there is no such file: the job's outputs were there without it.

    Raises
    ------
    LowrankError
        If the file does not hold the one record of a job.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            (record,) = csv.DictReader(file, delimiter="\t")
        seconds, memory = float(record["s"]), record["max_rss"]
        mebibytes = 0.0 if memory in ("NA", "-") else float(memory)
        if not (
            math.isfinite(seconds) and math.isfinite(mebibytes) and min(seconds, mebibytes) >= 0
        ):
            raise ValueError(f"{seconds} seconds, {memory} MiB")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LowrankError(
            f"{path} is no record of a job ({error}); delete it, and the table goes without"
        ) from None
    # No process has no memory: it was gone when it was looked at.
    return Cost(seconds, mebibytes or None)


def add_up(
    walk: str | Path | None, factors: Sequence[str | Path], configurations: Sequence[str | Path]
) -> MethodCost:
    """Add up what a method takes.

    Parameters
    ----------
    walk
        The record of the walk over the dense model; None for a method that needs none.
    factors
        Those of its layers; none where each configuration is factorized by itself.
    configurations
        Those of its configurations.

    Raises
    ------
    LowrankError
        If a record cannot be read. One that is not there counts as missing.
    """
    of_walk = None if walk is None else read_cost(walk)
    of_layers, of_each = (
        [cost for cost in map(read_cost, paths) if cost is not None]
        for paths in (factors, configurations)
    )
    walked = None if of_walk is None else of_walk.seconds
    factorized = (
        sum(cost.seconds for cost in of_layers)
        if factors and len(of_layers) == len(factors)
        else None
    )
    each = statistics.median(cost.seconds for cost in of_each) if of_each else None
    parts = [each]
    parts += [] if walk is None else [walked]
    parts += [factorized] if factors else []
    known = [seconds for seconds in parts if seconds is not None]
    jobs = [cost for cost in (of_walk, *of_layers, *of_each) if cost is not None]
    memory = [cost.mebibytes for cost in jobs if cost.mebibytes is not None]
    return MethodCost(
        walked,
        factorized,
        len(factors),
        len(of_layers),
        len(configurations),
        len(of_each),
        each,
        sum(known) if len(known) == len(parts) else None,
        len(jobs),
        len(memory),
        max(memory, default=None),
    )


def table(
    label: str,
    subtitle: str,
    rows: Sequence[Mapping[str, Any]],
    manifests: Iterable[str | Path],
    device: str,
    threads: str,
) -> Table:
    """Make the table of a study's methods.

    Parameters
    ----------
    label, subtitle
        The model's name, and what the study is.
    rows
        Of each method and calibration set `method`, `calibration` (empty if it reads none),
        `tokens` (of the set, or None), and the paths of records as `add_up` takes them: `walk`,
        `factors` (by `{layer}`, for each of `layers`) and `configurations`.
    manifests
        Those of the compressed models: they name the machine.
    device
        What was computed on, `cpu` or `cuda`.
    threads
        How many a job was given.

    Raises
    ------
    LowrankError
        If a record cannot be read.
    """
    made = [
        add_up(
            row["walk"],
            [row["factors"].format(layer=layer) for layer in row["layers"]],
            row["configurations"],
        )
        for row in rows
    ]
    machines = dict.fromkeys(
        f"{found['device_name']} ({found['platform']})"
        for found in (read_json(path)["provenance"] for path in manifests)
    )
    cells, data = [], [DATA_HEADER]
    for row, cost in zip(rows, made, strict=True):
        sequential = not row["layers"]
        needs_walk, tokens = row["walk"] is not None, row["tokens"]
        cells.append(
            (
                row["method"],
                row["calibration"],
                "" if tokens is None else f"{tokens:,}",
                "" if sequential else str(cost.layers),
                _seconds(cost.walk_seconds) if needs_walk else "",
                "" if sequential else _seconds(cost.factors_seconds),
                str(cost.configurations),
                _seconds(cost.configuration_seconds),
                _seconds(cost.one_model_seconds),
                MISSING if cost.mebibytes is None else f"{cost.mebibytes / 1024:.2f}",
            )
        )
        data.append(
            tuple(
                "" if value is None else str(value)
                for value in (
                    *(row["method"], row["calibration"], tokens),
                    *(cost.layers, cost.layers_timed),
                    *(cost.walk_seconds, cost.factors_seconds),
                    *(cost.configurations, cost.configurations_timed),
                    *(cost.configuration_seconds, cost.one_model_seconds),
                    *(cost.jobs, cost.jobs_with_memory, cost.mebibytes),
                )
            )
        )
    notes = [
        f"{label}; {subtitle}. Compressed on {' and '.join(machines)}; device: {device}; threads a "
        f"job: {threads}.",
        "Seconds are those of whole jobs on the wall clock, with the start of Python and the "
        "reading of weights. Other jobs may have run beside them.",
        "The walk over the dense model is one for all methods of a calibration set. Factors are "
        "the sum over layers. Each is the median over the configurations: of cutting one from the "
        "factors or, without factors, of all of it. One model is the sum of the three.",
        "The peak is of resident memory, the highest of samples. They are taken twice a second at "
        "first, then every 30 seconds: the true peak may be higher.",
    ]
    missing = [text for row, cost in zip(rows, made, strict=True) for text in _missing(row, cost)]
    if missing:
        notes.append(
            f"Not measured here: {'; '.join(dict.fromkeys(missing))}. A file that was there before "
            "has no record of its job, and a job may end before the first sample of its memory."
        )
    alignment = ["left", "left", *["right"] * (len(HEADER) - 2)]
    groups = [("", 6), ("Configurations", 2), ("", 2)]
    return Table(
        f"Costs of compressing, {label}", HEADER, cells, alignment, notes, "46em", groups, data
    )


def _seconds(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.1f}"


def _missing(row: Mapping[str, Any], cost: MethodCost) -> list[str]:
    """Return what of a row was not measured."""
    name = ".".join(filter(None, (row["method"], row["calibration"])))
    counts = {
        f"layers of {name}": (cost.layers, cost.layers_timed),
        f"configurations of {name}": (cost.configurations, cost.configurations_timed),
        # A job may end before the first sample of its memory.
        f"jobs of {name}, their memory": (cost.jobs, cost.jobs_with_memory),
    }
    made = [
        f"{every - timed} of {every} {what}"
        for what, (every, timed) in counts.items()
        if timed < every
    ]
    needs_walk = row["walk"] is not None and cost.walk_seconds is None
    return [f"the walk over {row['calibration']}"] * needs_walk + made
