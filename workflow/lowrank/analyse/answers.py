"""The answers of configurations to one benchmark, put side by side.

One configuration may have been asked more questions than another. As questions are asked in one
order, those of one are then a part of the other's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lowrank.base.errors import LowrankError
from lowrank.base.evaluations import read_scores, result_path, scores_path
from lowrank.base.metric import Metric
from lowrank.base.names import CLUSTER, PLACE
from lowrank.base.paired import PairedScores
from lowrank.base.statistics import AVERAGES

VALUE = "value"


def resample(
    folder: str | Path,
    names: Sequence[str],
    benchmark: str,
    metric: Metric,
    column: str = VALUE,
    most: int | None = None,
) -> PairedScores | None:
    """Return the scores of configurations on a benchmark, whose contrasts are paired.

    Parameters
    ----------
    folder
        Where the evaluations are.
    names
        The C configurations' names.
    benchmark
        Which benchmark.
    metric
        Its metric.
    column
        `value` (of the score) or `log_probability`; None is returned where there is none.
    most
        How many questions count, from the first one asked on; None for all.

    Raises
    ------
    LowrankError
        If a result is missing, of two configurations neither answered all the questions of
        the other, or a number is not finite or missing where another configuration has it.
    """
    averaging = metric.averaging if column == VALUE else "mean"
    values_QC, is_asked_QC, others_Q, clusters_Q = _paired_values(
        folder, names, benchmark, column, AVERAGES[averaging].column, most
    )
    if not np.isfinite(values_QC[is_asked_QC]).all():
        _require_no_companion(folder, names, benchmark, column, values_QC, is_asked_QC)
        return None
    return PairedScores(
        averaging,
        values_QC,
        benchmark,
        names,
        others_Q=others_Q,
        clusters_Q=clusters_Q,
        is_share=column == VALUE and metric.is_share,
    )


def _paired_values(
    folder: str | Path,
    names: Sequence[str],
    benchmark: str,
    column: str,
    other_column: str,
    most_questions: int | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return values_QC of one benchmark and which of them were asked, both by sorted questions.

    The questions are those of the configuration that was asked the most; a value that was not
    asked is NaN. Beside them are another column of the questions, (questions,), or None where none
    is asked for, and their clusters, (questions,), or None where they have none.
    """
    tables = {
        name: _scores(folder, name, benchmark, column, other_column, most_questions)
        for name in names
    }
    by_size = sorted(tables, key=lambda name: -len(tables[name]))
    most = tables[by_size[0]]
    keys = [key for key in (other_column, CLUSTER) if key and key in most]
    values_QC = np.full((len(most), len(names)), np.nan)
    is_asked_QC = np.zeros(values_QC.shape, dtype=bool)
    former_Q, former_name = np.ones(len(most), dtype=bool), by_size[0]
    for name in by_size:
        table = tables[name]
        place_Q = _places(most.index, table.index)
        is_part = (place_Q >= 0).all() and former_Q[place_Q].all()
        if not is_part or not table.reindex(columns=keys).equals(most.iloc[place_Q][keys]):
            raise LowrankError(
                f"{scores_path(folder, name)}: {name} and {former_name} did not answer the same "
                f"questions of {benchmark}"
            )
        former_Q, former_name = np.zeros(len(most), dtype=bool), name
        former_Q[place_Q] = True
        for own in (index for index, other in enumerate(names) if other == name):
            values_QC[place_Q, own] = table[column]
            is_asked_QC[place_Q, own] = True
    other_Q, clusters_Q = (
        most[key].to_numpy() if key in keys else None for key in (other_column, CLUSTER)
    )
    return values_QC, is_asked_QC, other_Q, clusters_Q


def _scores(
    folder: str | Path,
    name: str,
    benchmark: str,
    column: str,
    other_column: str,
    most_questions: int | None,
) -> pd.DataFrame:
    """Return a configuration's scores on a benchmark, which have the columns that are needed."""
    table = read_scores(folder, name, benchmark)
    place = None if most_questions is None else PLACE
    for needed in filter(None, (column, other_column, place)):
        if needed not in table:
            raise LowrankError(
                f"{scores_path(folder, name)} cannot be read (no {needed} of {benchmark})"
            )
    return table if place is None else table[table[place] < most_questions]


def _places(questions: pd.Index, asked: pd.Index) -> np.ndarray:
    """Return where the questions asked are among others; −1 for those that are not there."""
    return np.arange(len(asked)) if asked.equals(questions) else questions.get_indexer(asked)


def _require_no_companion(
    folder: str | Path,
    names: Sequence[str],
    benchmark: str,
    column: str,
    values_QC: np.ndarray,
    is_asked_QC: np.ndarray,
) -> None:
    """Check that numbers are missing since these questions have none: in no configuration."""
    has_none_QC = np.isnan(values_QC)
    missing_QC = has_none_QC & is_asked_QC
    if column != VALUE:
        missing_QC &= ~has_none_QC.all(axis=1, keepdims=True)
    wrong = np.flatnonzero((missing_QC | np.isinf(values_QC)).any(axis=0))
    if len(wrong):
        name = names[wrong[0]]
        raise LowrankError(
            f"{scores_path(folder, name)}: a question of {benchmark} has no finite {column}; "
            f"delete it and {result_path('', name)}, and run again"
        )
