"""Gather a study's profiles: one row a measurement, and how each metric follows the parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from lowrank.base.files import atomic_path, read_json, write_json
from lowrank.base.names import DENSE, FIXED_BATCH

METRICS = ("latency", "energy", "power", "memory")
SHARES = (
    "watts",
    "joules_per_token",
    "joules_per_question",
    "net_joules",
    "net_joules_per_token",
)
NOT_MEASURED = "not measured on this machine"
LEAST_CONFIGURATIONS = 3
"""How many configurations a line needs beside the dense model."""


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
        Records of `lowrank.profile.job.profile`, the dense model's among them, and of
        `lowrank.profile.training_memory.profile_training`.
    thesis_slopes
        From a metric to the percent that it falls by for each percent of parameters, as printed.
    table
        The CSV to write: a row a metric, workload and configuration.
    fits
        The JSON to write: an entry a metric and workload.
    """
    rows = [row for path in paths for row in _rows(read_json(path))]
    write_profiles(rows, thesis_slopes, table, fits)


def write_profiles(
    rows: Sequence[Mapping[str, Any]],
    thesis_slopes: Mapping[str, float],
    table: str | Path,
    fits: str | Path,
) -> None:
    """Write measurements as one table, and the slopes of their metrics.

    Parameters
    ----------
    rows
        One a metric, workload and configuration, the dense model among them: `metric`, `workload`,
        `phase`, `decomposition`, `parameter_reduction_percent`, `device`, `ratio` to the dense
        model, `source` of energy, `disagreement_percent` of its sources, `doubts`; and whatever
        else the table is to hold.
    thesis_slopes, table, fits
        As `collect_profiles` takes them.
    """
    frame = pd.DataFrame(rows).sort_values(
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
    `slope`, its standard `error` and `interval` (Student's t), `intercept`, `r2`, `points`.
    """
    x, y = np.asarray(reduction, float), np.asarray(change, float)
    made = scipy.stats.linregress(x, y)  # a flat line has no R² and no error: NaN, here 0
    error = float(np.nan_to_num(made.stderr))
    reach = scipy.stats.t.ppf((1 + confidence) / 2, len(x) - 2) * error
    return {
        "slope": float(made.slope),
        "error": error,
        "interval": [float(made.slope - reach), float(made.slope + reach)],
        "intercept": float(made.intercept),
        "r2": float(np.nan_to_num(made.rvalue) ** 2),
        "points": len(x),
    }


def lacks_line(part: pd.DataFrame) -> str:
    """Return why measurements have no line over the parameters removed; empty where they have one.

    A line needs three configurations beside the dense model, of more than one size, and none that
    was tried in vain. Fewer bits are no fewer parameters, so models that have them are no points.

    Parameters
    ----------
    part
        The rows of one metric and workload, as `collect_profiles` writes them.
    """
    if "quantization" in part and part["quantization"].notna().any():
        return "some models here have fewer bits, which no line over parameters shows"
    found = part[part["ratio"].notna()]
    decomposed = found.loc[found["decomposition"] != DENSE, "decomposition"].nunique()
    in_vain = part.loc[part["ratio"].isna() & (part["decomposition"] != DENSE), "decomposition"]
    if decomposed < LEAST_CONFIGURATIONS or len(in_vain):
        reason = first_reason(part)
        if not reason and decomposed >= LEAST_CONFIGURATIONS:
            reason = f"{in_vain.iloc[0]} was not measured"
        return reason or f"a line needs {LEAST_CONFIGURATIONS} configurations; here: {decomposed}"
    if found["parameter_reduction_percent"].nunique() < 2:
        return "a line needs configurations of two sizes; here they have one"
    return ""


def first_reason(part: pd.DataFrame) -> str:
    """Return a reason that rows give for what was not measured; empty where they give none."""
    reasons = sorted(set(part["reason"].dropna()) if "reason" in part else [])
    return reasons[0] if reasons else ""


def _rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    keys = ("model", "decomposition", "parameter_reduction_percent", "gpus")
    shared = {key: record[key] for key in keys}
    shared |= {"device": record["provenance"]["device_name"]}
    shared |= {"quantization": record.get("quantization")}
    if "training" in record:
        return [shared | _of_training(record["training"])]
    meter = record["energy_meter"]
    rows = []
    for workload in record["workloads"]:
        doubted = sorted({*record["doubts"], *workload["doubts"]["device"]})
        energy_flags = workload["doubts"]["energy"]
        row = shared | {
            "workload": workload["name"],
            "phase": workload["phase"],
            "batch": workload["batch"],
            "batch_rule": workload["batch_rule"],
            "tokens": workload["tokens"],
            "dropped_rounds": workload["dropped_rounds"],
        }
        of_energy = {
            "source": meter["source"],
            "doubts": "; ".join(sorted({*doubted, *energy_flags})),
            "disagreement_percent": _disagreement(workload["trials"]),
        }
        reason = meter["reason"] if meter["source"] is None else "; ".join(energy_flags)
        shares = dict.fromkeys(SHARES) | (workload["energy"]["configuration_shares"] or {})
        row_of_latency = row | {"doubts": "; ".join(doubted)}
        rows += [
            row_of_latency | _measured("latency", "s", workload["latency"], ""),
            row | of_energy | _measured("energy", "J", workload["energy"], reason) | shares,
            row | of_energy | _measured("power", "W", workload["power"], reason),
            row_of_latency | _memory(workload["memory"]),
        ]
    return rows


def _of_training(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a step that trains adapters."""
    step = training["step"]
    return {
        "workload": training["workload"],
        "phase": "training",
        "batch": step["batch"],
        "batch_rule": FIXED_BATCH,
        "tokens": step["batch"] * step["length"],
        "dropped_rounds": 0,
        "doubts": "",
        **_measured("fine-tuning memory", "B", training["peak"], ""),
    }


def _measured(metric: str, unit: str, figures: Mapping[str, Any], reason: str) -> dict[str, Any]:
    ours, ratio = figures["configuration"], figures["ratio"]
    if ours is None or ratio is None:
        return {"metric": metric, "unit": unit, "reason": reason or NOT_MEASURED}
    low, high = ratio["interval_95"]
    return {
        "metric": metric,
        "unit": unit,
        "value": ours["median"],
        "quartile_1": ours["quartile_1"],
        "quartile_3": ours["quartile_3"],
        "dense": figures[DENSE]["median"],
        "ratio": ratio["value"],
        "ratio_low": low,
        "ratio_high": high,
        "rounds": ratio["rounds"],
    }


def _memory(memory: Mapping[str, Any]) -> dict[str, Any]:
    """Return bytes, which are counted, not sampled: their interval has no width."""
    ours, dense = (
        each.get("allocated_peak") or each["weights"] + each["cache"]
        for each in (memory["configuration"], memory[DENSE])
    )
    ends = dict.fromkeys(("ratio", "ratio_low", "ratio_high"), ours / dense)
    return {"metric": "memory", "unit": "B", "value": ours, "dense": dense, **ends}


def _disagreement(trials: Sequence[Mapping[str, Any]]) -> float | None:
    """Return by how many percent the meter's two sources differ in the median trial."""
    made = [
        100 * abs(trial["cross_check_joules"] / trial["joules"] - 1)
        for trial in trials
        if trial["joules"] and trial["cross_check_joules"] is not None
    ]
    return float(np.median(made)) if made else None


def _fit(part: pd.DataFrame, thesis_slopes: Mapping[str, float]) -> dict[str, Any]:
    first = part.iloc[0]
    sources = sorted(set(part["source"].dropna()))
    differ = part["disagreement_percent"].astype(float).median()
    made = {
        "metric": first["metric"],
        "workload": first["workload"],
        "phase": first["phase"],
        "device_name": first["device"],
        "thesis_slope": thesis_slopes.get(first["metric"]),
        "source": ", ".join(sources) or None,
        "disagreement_percent": None if np.isnan(differ) else float(differ),
        "flags": sorted({flag for text in part["doubts"] for flag in text.split("; ") if flag}),
    }
    # The dense model's ratio to itself was measured like the others: it is the point at 0.
    points = part[part["ratio"].notna()]
    reason = lacks_line(part)
    if reason:
        return made | {"status": NOT_MEASURED, "reason": reason}
    change = 100 * (1 - points["ratio"])
    line = fit_line(list(points["parameter_reduction_percent"]), list(change))
    line["interval_95"] = line.pop("interval")
    return made | {"status": "measured", "reason": "", **line}
