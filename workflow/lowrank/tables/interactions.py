"""Whether the loss of compression and of fewer bits together is the sum of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowrank.analyse.interactions import WORSE, interactions
from lowrank.base.names import row_name
from lowrank.tables.typesetting import Table

HEADER = (
    *("Benchmark", "Configuration", "Quantization", "Asked"),
    *("Compression", "Quantization", "Both", "Beyond the sum", "p"),
)
DIGITS = {"points": 1}
"""Of a loss after the point, by its unit; three elsewhere."""


def table(
    label: str,
    subtitle: str,
    rows: Sequence[Mapping[str, Any]],
    benchmarks: Sequence[tuple[str, Mapping[str, Any]]],
    folder: str | Path,
) -> Table:
    """Return what compression and quantization cost, alone and together, with intervals.

    Parameters
    ----------
    label, subtitle
        The model's name, and the study's title.
    rows, benchmarks, folder
        As `lowrank.analyse.interactions.interactions` takes them; `benchmarks` as pairs.

    Raises
    ------
    LowrankError
        As `interactions` does.
    """
    found = interactions(rows, dict(benchmarks), folder)
    cells = []
    for row in found.to_dict("records"):
        digits = DIGITS.get(row["unit"], 3)
        losses = (
            f"{row[key]:.{digits}f} [{row[f'{key}_low']:.{digits}f}, "
            f"{row[f'{key}_high']:.{digits}f}]"
            for key in WORSE
        )
        named = row_name(row["series"], row["label"])
        cells.append(
            (
                *(f"{row['benchmark_label']} ({row['unit']})", named, row["quantization"]),
                *(str(row["questions"]), *losses, f"{row['p_value']:.2g}"),
            )
        )
    notes = [
        f"{label}: {subtitle}.",
        "Losses are from the dense model, in 16 bits or more, and above 0 where a model is worse: "
        "differences of the logarithms of perplexities (nats), or of shares (points).",
        "Beyond the sum: the loss of both less that of compression alone and that of quantization "
        "alone. Above 0 the two cost more together, below 0 less.",
        "Brackets are 95% intervals, each by itself, paired over the same windows or questions.",
        "p is that of no difference from the sum, adjusted for all rows of the table (Holm). Where "
        "it is large, nothing shows: that is no proof of a sum.",
    ]
    exact = [list(found.columns), *(list(map(str, line)) for line in found.to_numpy())]
    kinds = ("left", "left", "left", *["right"] * 6)
    groups = [("", 4), ("Loss by", 3), ("", 2)]
    return Table(
        f"Sums of losses, {label}", HEADER, cells, kinds, notes, "60em", groups, data=exact
    )
