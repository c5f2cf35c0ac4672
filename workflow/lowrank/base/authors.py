"""The figures that the authors of the thesis published, and the dense row that they did not."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.base.names import DENSE

FIGURES = {
    "configurations": ("quantity", "configuration"),
    "accuracy": ("quantity", "configuration", "benchmark"),
    "efficiency": ("quantity", "configuration", "benchmark"),
    "dense": ("quantity", "benchmark", "source"),
}
"""What names a figure of each table. Several sources may give one of the dense model, once each."""

TABLES = {
    "configurations": ("configuration", "quantity", "value", "unit", "source"),
    "accuracy": ("configuration", "benchmark", "quantity", "value", "unit", "questions", "source"),
    "efficiency": ("configuration", "benchmark", "quantity", "value", "unit", "batch", "source"),
    "dense": (
        *("benchmark", "quantity", "value", "unit"),
        *("standard_error", "questions", "shots", "comparable", "source"),
    ),
}
"""The tables of the folder and their columns."""

TRUTHFULQA, TRUTHFULQA_WEIGHTS = "truthfulqa", {"mc1": 2 / 3, "mc2": 1 / 3}
"""What lm-eval 0.4.0's group TruthfulQA is the mean of: mc1 enters twice, mc2 once."""


@dataclass(frozen=True)
class Published:
    """Published figures, tidy.

    Attributes
    ----------
    reduction
        From a configuration's name to the percent of parameters that it removes, the dense model
        first.
    accuracy
        Rows of `configuration`, `benchmark`, `quantity`, `value` (a share), `questions`, `source`.
        The dense rows are other people's runs. There may be several of a benchmark, in the order
        of their precedence.
    efficiency
        Rows of `configuration`, `benchmark`, `quantity` (`latency`, `power`, `energy`, `memory`),
        `value`, `unit`, `batch`, `source`.
    sources
        The content of `sources.yaml`: `authors`, `chance` (what a guess scores, by benchmark),
        `code` and `dense`.
    dense
        The dense rows as their table has them, TruthfulQA's parts apart.
    """

    reduction: dict[str, float]
    accuracy: pd.DataFrame
    efficiency: pd.DataFrame
    sources: dict[str, Any]
    dense: pd.DataFrame


def read_published(folder: str | Path) -> Published:
    """Return the figures of a folder such as `paper/authors`.

    Raises
    ------
    LowrankError
        If a table cannot be read, lacks a column, has a value that is no finite number, gives one
        figure twice, or names a source or a configuration that the folder does not describe.
    """
    folder = Path(folder)
    sources = read_yaml(folder / "sources.yaml")
    tables = {name: _table(folder / f"{name}.csv", columns) for name, columns in TABLES.items()}
    known = {**sources["authors"]["files"], **sources["dense"]}
    configurations = tables["configurations"].set_index("configuration")["value"]
    for name, table in tables.items():
        path = folder / f"{name}.csv"
        unknown = set(table["source"]) - set(known)
        if unknown:
            raise LowrankError(f"{path}: sources.yaml has no source {min(unknown)!r}")
        if "configuration" in table:
            unknown = set(table["configuration"]) - set(configurations.index)
            if unknown:
                raise LowrankError(f"{path}: configurations.csv has no {min(unknown)!r}")
        _require_single(path, table, FIGURES[name])
    if configurations.index[0] != DENSE:
        raise LowrankError(f"{folder / 'configurations.csv'}: the dense model is to come first")
    return Published(
        configurations.to_dict(),
        pd.concat([_dense_rows(tables["dense"]), tables["accuracy"]], ignore_index=True),
        tables["efficiency"],
        sources,
        tables["dense"],
    )


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
        table = table[list(columns)]
        finite = np.isfinite(table["value"].to_numpy(dtype=float))
    except (OSError, ValueError, KeyError) as error:
        raise LowrankError(f"{path} cannot be read ({error})") from None
    if not finite.all():
        raise LowrankError(f"{path}: row {int(np.argmin(finite)) + 2} has no finite value")
    return table


def _require_single(path: Path, table: pd.DataFrame, keys: tuple[str, ...]) -> None:
    twice = table.duplicated([*keys])
    if twice.any():
        quantity, *others = table.loc[twice, [*keys]].iloc[0]
        raise LowrankError(f"{path}: {quantity} of {', '.join(others)} is given twice")


def _dense_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the dense rows that are like the authors', TruthfulQA's parts as their group.

    The group has a row of every record of one part with every record of the other, since a source
    may give one part alone.
    """
    table = table[table["comparable"] == "yes"].assign(configuration=DENSE)
    is_part = table["benchmark"] == TRUTHFULQA
    parts = table[is_part].groupby("quantity", sort=False)["value"].agg(list)
    columns = [column for column in TABLES["accuracy"] if column in table]
    rows = table.loc[~is_part, columns].to_dict("records")
    if set(parts.index) == set(TRUTHFULQA_WEIGHTS):
        first = table[is_part].iloc[0]
        weights = TRUTHFULQA_WEIGHTS.values()
        for values in itertools.product(*(parts[name] for name in TRUTHFULQA_WEIGHTS)):
            value = sum(weight * own for weight, own in zip(weights, values, strict=True))
            rows.append({**first[columns], "quantity": "acc", "value": value})
    return pd.DataFrame(rows, columns=list(TABLES["accuracy"]))
