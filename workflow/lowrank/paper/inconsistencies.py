"""Where the thesis contradicts itself or what can be counted, in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowrank.base.thesis import read_thesis
from lowrank.paper.published import disagreements

FACTOR = 1.1
"""A printed count that is off by more than this factor is no matter of rounding."""


def inconsistencies(
    thesis: str | Path,
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    published: str | Path,
) -> dict[str, Any]:
    """Return what does not fit together, from printed, counted and published values.

    Parameters
    ----------
    thesis
        The file that holds what the thesis prints.
    tables
        Rows of the CSVs of this workflow's tables, by name: `table_3_1`, `table_1_1`, and
        `table_4_2` of the thesis's model, or none where the run does not make it.
    published
        The folder of what the thesis's authors published.

    Returns
    -------
    `tensors`: models whose decomposable tensors are counted otherwise than in Table 3.1;
    `operations`: models whose computations are, with the ratio; `proof`: by how much the last two
    lines of the proof of Theorem 3.1 differ (configurations of the model with the most printed
    parameters); `arc_easy`, `efficiency`, `losses`, `avoided_layers`: see the code of each;
    `published`: see `lowrank.paper.published.disagreements`.

    Raises
    ------
    LowrankError
        If the thesis's file lacks a value.
    """
    return {
        "tensors": [
            row
            for row in tables["table_3_1"]
            if row["thesis_tensors"] not in (None, row["tensors"])
        ],
        "operations": [
            row | {"ratio": row["thesis_macs"] / row["macs"]}
            for row in tables["table_1_1"]
            if row["thesis_macs"] is not None and row["thesis_macs"] > FACTOR * row["macs"]
        ],
        "proof": _proof(tables["table_3_1"]),
        "arc_easy": _arc_easy(thesis),
        "losses": _losses(thesis),
        "efficiency": _efficiency(thesis),
        "avoided_layers": _avoided_layers(thesis, tables.get("table_4_2", [])),
        "published": disagreements(thesis, published),
    }


def _proof(spaces: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """(X + 1) r, one line of the proof, is r − 1 more than X r + 1, the next one."""
    return [{"model": row["model"], "difference": row["largest_rank"] - 1} for row in spaces]


def _arc_easy(thesis: str | Path) -> dict[str, float]:
    """No accuracy can fall by more than 100 points, wherever it starts."""
    slope = read_thesis(thesis, "arc_easy_loss")["points_per_percent"]
    reduction = read_thesis(thesis, "accuracy_loss")["reduction"]
    return {
        "points_per_percent": slope,
        "exhausted_at_percent": 100 / slope,
        "reduction": reduction,
        "points": slope * reduction,
    }


def _losses(thesis: str | Path) -> dict[str, float]:
    """The ranges that are printed for one reduction, at their extremes."""
    places = read_thesis(thesis, "accuracy_loss")["places"].values()
    lows, highs = zip(*(place["points"] for place in places), strict=True)
    return {"least": min(lows), "most": max(highs)}


def _efficiency(thesis: str | Path) -> dict[str, float]:
    """Energy is power times time: with flat power both fall by the same share."""
    gain = read_thesis(thesis, "efficiency_gain")
    slopes = read_thesis(thesis, "efficiency_slopes")
    power = (1 - gain["energy"] / 100) / (1 - gain["latency"] / 100)
    return gain | {
        "power_falls_by_percent": 100 * (1 - power),
        "by_the_slope": slopes["latency"] * gain["reduction"],
    }


def _avoided_layers(thesis: str | Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of Table 4.2 that decompose a layer that the thesis advises against."""
    if not rows:
        return []
    avoided = read_thesis(thesis, "layers_to_avoid")
    lists = {
        str(row["Label"]): [int(layer) for layer in str(row["Decomposed layers"]).split(", ")]
        for row in rows
    }
    depth = max(layer for layers in lists.values() for layer in layers)
    ends = {*range(1, avoided["first"] + 1), *range(depth - avoided["last"] + 1, depth + 1)}
    return [
        {"label": label, "layers": sorted(ends.intersection(layers))}
        for label, layers in lists.items()
        if ends.intersection(layers)
    ]
