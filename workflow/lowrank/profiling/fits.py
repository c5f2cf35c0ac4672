"""Gather a study's profiles: one row a measurement, and how each metric follows the parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from lowrank.files import atomic_path, read_json, write_json

METRICS = ("latency", "energy", "power", "memory")
NOT_MEASURED = "not measured on this machine"


def collect_profiles(
    paths: Sequence[str | Path],
    thesis_slopes: Mapping[str, float],
    table: str | Path,
    fits: str | Path,
) -> None:
    """Write a study's profiles as one table, and the slopes of its metrics.

    Parameters
    ----------
    paths
        Records of `lowrank.profiling.job.profile`, the dense model's among them.
    thesis_slopes
        From a metric to the percent that it falls by for each percent of parameters, as printed.
    table
        The CSV to write: a row a metric, workload and configuration.
    fits
        The JSON to write: an entry a metric and workload.
    """
    rows = [row for path in paths for row in _rows(read_json(path))]
    frame = pd.DataFrame(rows)
    frame = _with_memory_ratios(frame).sort_values(
        ["metric", "workload", "parameter_reduction_percent"], kind="stable"
    )
    with atomic_path(table) as temporary:
        frame.to_csv(temporary, index=False)
    write_json(
        fits,
        [
            _fit(part, thesis_slopes)
            for _, part in frame.groupby(["metric", "workload"], sort=False)
        ],
    )


def fit_line(
    reduction: Sequence[float], change: Sequence[float], confidence: float = 0.95
) -> dict[str, Any]:
    """Fit a straight line by least squares, and say how sure the slope is.

    Parameters
    ----------
    reduction
        Percent of the parameters removed.
    change
        Percent that the metric fell by.
    confidence
        Coverage of the slope's interval.

    Returns
    -------
    `slope`, its `interval` (Student's t), `intercept`, `r2`, `points`.
    """
    x, y = np.asarray(reduction, float), np.asarray(change, float)
    made = scipy.stats.linregress(x, y)
    reach = scipy.stats.t.ppf((1 + confidence) / 2, len(x) - 2) * made.stderr
    return {
        "slope": float(made.slope),
        "interval": [float(made.slope - reach), float(made.slope + reach)],
        "intercept": float(made.intercept),
        "r2": float(made.rvalue**2),
        "points": len(x),
    }


def _rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    shared = {
        "model": record["model"],
        "decomposition": record["decomposition"],
        "parameter_reduction_percent": record["parameter_reduction_percent"],
        "device": record["provenance"]["device_name"],
    }
    rows = []
    for workload in record["workloads"]:
        flags = sorted({flag for trial in workload["trials"] for flag in trial["flags"]})
        row = shared | {
            "workload": workload["name"],
            "phase": workload["phase"],
            "batch": workload["batch"],
            "tokens": workload["tokens"],
        }
        doubts = "; ".join(record["doubts"])
        reason = record["energy_meter"]["reason"] or "; ".join(flags)
        latency, energy = workload["latency"], workload["energy"]
        rows.append(row | _measured("latency", "s", latency, "", doubts))
        rows.append(row | _measured("energy", "J", energy, reason, doubts))
        rows.append(row | _measured("power", "W", _power(workload), reason, doubts))
        memory = workload["memory"]
        value = memory.get("allocated_peak") or memory["weights"] + memory["cache"]
        rows.append(row | {"metric": "memory", "unit": "B", "value": value, "doubts": doubts})
    return rows


def _measured(
    metric: str, unit: str, figures: Mapping[str, Any], reason: str, doubts: str
) -> dict[str, Any]:
    ours, ratio = figures["configuration"], figures["ratio"]
    if ours is None or ratio is None:
        return {"metric": metric, "unit": unit, "reason": reason or NOT_MEASURED, "doubts": doubts}
    low, high = ratio["interval_95"]
    return {
        "metric": metric,
        "unit": unit,
        "value": ours["median"],
        "quartile_1": ours["quartile_1"],
        "quartile_3": ours["quartile_3"],
        "dense": figures["dense"]["median"],
        "ratio": ratio["value"],
        "ratio_low": low,
        "ratio_high": high,
        "rounds": ratio["rounds"],
        "doubts": doubts,
    }


def _power(workload: Mapping[str, Any]) -> dict[str, Any]:
    """Return watts in the shape of the other metrics, from each trial's joules and seconds."""
    from lowrank.profiling.protocol import Trial, paired_ratio, summarise

    trials = [
        Trial(
            trial["name"],
            trial["round"],
            trial["turn"],
            trial["iterations"],
            trial["seconds"],
            None if trial["joules"] is None else trial["joules"] / trial["seconds"],
        )
        for trial in workload["trials"]
    ]
    return {
        "configuration": summarise(trials, "configuration", "joules"),
        "dense": summarise(trials, "dense", "joules"),
        "ratio": paired_ratio(trials, "configuration", "dense", "joules"),
    }


def _with_memory_ratios(frame: pd.DataFrame) -> pd.DataFrame:
    """Relate memory to the dense model's own record; bytes are counted, not sampled."""
    is_memory = frame["metric"] == "memory"
    dense = frame[is_memory & (frame["decomposition"] == "dense")].set_index("workload")["value"]
    frame.loc[is_memory, "dense"] = frame.loc[is_memory, "workload"].map(dense)
    ratio = frame.loc[is_memory, "value"] / frame.loc[is_memory, "dense"]
    for name in ("ratio", "ratio_low", "ratio_high"):
        frame.loc[is_memory, name] = ratio
    return frame


def _fit(part: pd.DataFrame, thesis_slopes: Mapping[str, float]) -> dict[str, Any]:
    first = part.iloc[0]
    made = {
        "metric": first["metric"],
        "workload": first["workload"],
        "phase": first["phase"],
        "device_name": first["device"],
        "thesis_slope": thesis_slopes.get(first["metric"]),
        "flags": sorted({flag for text in part["doubts"] for flag in text.split("; ") if flag}),
    }
    # The dense model's ratio to itself is no point of the line: it is the check of the protocol.
    points = part[(part["decomposition"] != "dense") & part["ratio"].notna()]
    if len(points) < 3 or points["ratio"].isna().any():
        reasons = sorted(set(part["reason"].dropna()) if "reason" in part else [])
        reason = reasons[0] if reasons else f"a line needs 3 configurations; here: {len(points)}"
        return made | {"status": NOT_MEASURED, "reason": reason}
    change = 100 * (1 - points["ratio"])
    line = fit_line([0.0, *points["parameter_reduction_percent"]], [0.0, *change])
    line["interval_95"] = line.pop("interval")
    return made | {"status": "measured", "reason": "", **line}
