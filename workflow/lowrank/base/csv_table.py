"""Read a table that the workflow wrote, names as they are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

NAMES = frozenset(
    {"model", "series", "label", "method", "decomposition", "benchmark", "benchmark_label"}
    | {"workload", "baseline_label", "metric", "metric_label", "unit", "direction", "averaging"}
)
"""Columns of names: `9`, `1.50`, `NA` and `true` are names, too, and no name is empty text."""


def read_table(path: str | Path) -> pd.DataFrame:
    """Return a CSV file's table; in columns that are not of names, what is empty is missing.

    Raises
    ------
    OSError, ValueError
        If there is none, or it is no table.
    """
    columns = pd.read_csv(path, nrows=0).columns
    others = [name for name in columns if name not in NAMES]
    return pd.read_csv(
        path,
        dtype={name: str for name in columns if name in NAMES},
        keep_default_na=False,
        na_values={name: ["", "nan"] for name in others},
    )
