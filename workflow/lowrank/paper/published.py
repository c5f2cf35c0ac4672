"""Where the thesis does not agree with the figures and the code that its authors published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lowrank.base.authors import TRUTHFULQA, TRUTHFULQA_WEIGHTS, Published, read_published
from lowrank.base.names import DENSE
from lowrank.base.thesis import read_thesis

COSTS = ("latency", "energy", "memory", "power")


def disagreements(thesis: str | Path, folder: str | Path) -> dict[str, Any]:
    """Return what the thesis prints beside what its authors published.

    Parameters
    ----------
    thesis
        The file that holds what the thesis prints.
    folder
        The published figures, `paper/authors`.

    Returns
    -------
    `repository` and `commit` of the authors' code; `few_layers`, `slopes`, `power`, `run_lengths`,
    `metric` and `epochs`: see the code of each.

    Raises
    ------
    LowrankError
        If a file cannot be read or lacks a value.
    """
    published = read_published(folder)
    falls = _falls(published)
    return {
        **{key: published.sources["authors"][key] for key in ("repository", "commit")},
        "few_layers": _few_layers(thesis, published),
        "slopes": _slopes(thesis, falls),
        "power": _power(thesis, published, falls),
        "run_lengths": _run_lengths(thesis, published),
        "metric": published.sources["code"]["metric"] | _truthfulqa(thesis, published),
        "epochs": _epochs(thesis, published),
    }


def _falls(published: Published) -> pd.DataFrame:
    """Return the percent by which each cost falls from the dense model's, one row a cell."""
    key = ["benchmark", "quantity"]
    rows = published.efficiency
    dense = rows[rows["configuration"] == DENSE].set_index(key)["value"]
    whole = dense.loc[pd.MultiIndex.from_frame(rows[key])].to_numpy()
    return rows.assign(
        fall=100 * (1 - rows["value"].to_numpy() / whole),
        reduction=rows["configuration"].map(published.reduction),
    )


def _few_layers(thesis: str | Path, published: Published) -> dict[str, Any]:
    """One reduction with two losses: the code's few layers are as many as those of 9%."""
    ranges = read_thesis(thesis, "accuracy_loss")
    lows, highs = zip(*(place["points"] for place in ranges["places"].values()), strict=True)
    (removed,) = (own for own in published.reduction.values() if round(own) == ranges["reduction"])
    return {
        **read_thesis(thesis, "few_layers"),
        **published.sources["code"]["few_layers"],
        "removed": removed,
        "other_reduction": ranges["reduction"],
        "other_least": min(lows),
        "other_most": max(highs),
    }


def _slopes(thesis: str | Path, falls: pd.DataFrame) -> list[dict[str, Any]]:
    """Least squares over the configurations of a benchmark, the dense row among them."""
    printed = read_thesis(thesis, "efficiency_slopes")
    reduction = read_thesis(thesis, "efficiency_gain")["reduction"]
    made = []
    for quantity in COSTS:
        of_benchmarks = falls[falls["quantity"] == quantity].groupby("benchmark", sort=False)
        slopes = [
            float(np.polyfit(own["reduction"], own["fall"], 1)[0]) for _, own in of_benchmarks
        ]
        near = falls[(falls["quantity"] == quantity) & (falls["reduction"].round() == reduction)]
        made.append(
            {
                "metric": quantity,
                "printed": printed.get(quantity),
                "slope": float(np.mean(slopes)),
                "lowest": min(slopes),
                "highest": max(slopes),
                "benchmarks": len(slopes),
                "fall": float(near["fall"].mean()),
                "fall_for_each_percent": float((near["fall"] / near["reduction"]).mean()),
            }
        )
    return made


def _power(thesis: str | Path, published: Published, falls: pd.DataFrame) -> dict[str, Any]:
    """Power that is always the maximum would not fall."""
    said = read_thesis(thesis, "power")
    whole = falls[(falls["quantity"] == "power") & (falls["configuration"] == DENSE)]
    smallest = falls[
        (falls["quantity"] == "power") & (falls["configuration"] == _whole_model(published))
    ]
    most = smallest.loc[smallest["fall"].idxmax()]
    gpus = published.sources["authors"]["gpus"]
    return said | {
        "dense_watts": float(whole["value"].mean() / gpus),
        "reduction": float(most["reduction"]),
        "fall": float(smallest["fall"].mean()),
        "most": float(most["fall"]),
        "most_of": str(most["benchmark"]),
    }


def _run_lengths(thesis: str | Path, published: Published) -> dict[str, Any]:
    said = read_thesis(thesis, "run_length")
    rows = published.efficiency
    seconds = rows.loc[rows["quantity"] == "latency", "value"]
    return said | {
        "runs": len(seconds),
        "shorter": int((seconds <= said["seconds"]).sum()),
        "least": float(seconds.min()),
        "most": float(seconds.max()),
    }


def _epochs(thesis: str | Path, published: Published) -> dict[str, Any]:
    said = read_thesis(thesis, "fine_tuning")
    return {
        **published.sources["code"]["epochs"],
        "place": said["place"],
        "printed": said["epochs"],
    }


def _truthfulqa(thesis: str | Path, published: Published) -> dict[str, Any]:
    """The dense score that the thesis prints, beside what each reading of it would be."""
    parts = published.dense[published.dense["benchmark"] == TRUTHFULQA]
    first = parts.groupby("quantity", sort=False)["value"].first()
    own = {name: 100 * float(first[name]) for name in TRUTHFULQA_WEIGHTS}
    group = sum(weight * own[name] for name, weight in TRUTHFULQA_WEIGHTS.items())
    alone = [{"name": f"{name} alone", "percent": percent} for name, percent in own.items()]
    readings = [*alone, {"name": "the group", "percent": group}]
    return read_thesis(thesis, "truthfulqa") | {"readings": readings}


def _whole_model(published: Published) -> str:
    """Return the configuration that removes most: every layer of the model."""
    return max(published.reduction, key=lambda name: published.reduction[name])
