"""The questions of a benchmark as the workflow stores them, and the order they are asked in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from lowrank.base.errors import LowrankError

SUBSET = "_subset"
"""Column that names the subset of a row, e.g. the subject of an MMLU question; else empty."""


def read_questions(path: str | Path) -> pa.Table:
    """Return the table that `lowrank.assets.questions.fetch_benchmark` wrote.

    Raises
    ------
    LowrankError
        If the file cannot be read.
    """
    try:
        return pyarrow.parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise LowrankError(f"{path} cannot be read ({error}): delete it and run again") from None


def asking_order(
    subset_of_question: Sequence[str], seed: int, sampling: str = "random"
) -> np.ndarray:
    """Return the order in which the questions of a benchmark are asked, (questions,).

    The first n of them are the sample of n questions, so a smaller sample is a part of every
    larger one. Each sample is stratified: whatever n is, a subset has about its share of it. The
    questions of a subset stand at equal distances along the whole order, from a start of their own
    (systematic sampling; Cochran, 1977, chapter 8).

    Parameters
    ----------
    subset_of_question
        The subset of each question, in the file's order.
    seed
        Seed of the order, for `random`.
    sampling
        `first`: each subset in the file's order, as lm-eval's own limit takes its questions.
        `random`: each subset in a seeded random order. It represents a benchmark whose file is
        sorted by origin (HellaSwag's head is one of its two sources, and the easier one).

    Returns
    -------
    The rows of the questions in the file.
    """
    names_S, subset_Q = np.unique(np.asarray(subset_of_question, dtype=str), return_inverse=True)
    due_Q = np.empty(len(subset_Q))
    for number in range(len(names_S)):
        rows = np.flatnonzero(subset_Q == number)
        start = 0.5
        if sampling == "random":
            rng = np.random.default_rng([seed, number])
            rows, start = rng.permutation(rows), rng.random()
        due_Q[rows] = (np.arange(len(rows)) + start) / len(rows)
    return np.lexsort((np.arange(len(due_Q)), due_Q))


def asked_first(order: np.ndarray, limit: int | None, block: int = 1) -> np.ndarray:
    """Return the first questions of an order, up to the end of the block in which the limit lies.

    Parameters
    ----------
    order
        What `asking_order` returns.
    limit
        How many are wanted; None for all.
    block
        How many are asked together (`lowrank.evaluate.asking`).
    """
    return order if limit is None else order[: -(-limit // block) * block]
