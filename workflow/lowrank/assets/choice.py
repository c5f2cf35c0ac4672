"""The questions of a benchmark as the workflow stores them, and which of them to ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def choose_questions(
    subset_of_question: Sequence[str], limit: int | None, seed: int, sampling: str = "random"
) -> dict[str, list[int]]:
    """Choose which questions to ask, stratified over the subsets.

    Every subset gets its share in proportion to its size (largest remainders), and at least one
    question where the limit allows. A larger limit asks all the questions of a smaller one within
    a subset whose share does not shrink.

    Parameters
    ----------
    subset_of_question
        The subset of each question, in file order.
    limit
        How many questions to ask; None for all.
    seed
        Seed of the order, for `random`.
    sampling
        `first`: the first of each subset, as lm-eval's own limit takes them. `random`: in a seeded
        random order, which represents a benchmark that is sorted by origin (HellaSwag's head is
        one of its two sources, and the easier one).

    Returns
    -------
    From subset to the chosen positions within it, ascending.
    """
    names = list(dict.fromkeys(subset_of_question))
    sizes = dict.fromkeys(names, 0)
    for subset in subset_of_question:
        sizes[subset] += 1
    if limit is None or limit >= len(subset_of_question):
        return {name: list(range(sizes[name])) for name in names}
    shares = _allocate(sizes, limit)
    chosen = {}
    for index, name in enumerate(names):
        if sampling == "first":
            chosen[name] = list(range(shares[name]))
        else:
            order = np.random.default_rng([seed, index]).permutation(sizes[name])
            chosen[name] = sorted(int(position) for position in order[: shares[name]])
    return {name: positions for name, positions in chosen.items() if positions}


def _allocate(sizes: Mapping[str, int], limit: int) -> dict[str, int]:
    total = sum(sizes.values())
    quotas = {name: limit * size / total for name, size in sizes.items()}
    floor = 1 if limit >= len(sizes) else 0
    shares = {name: max(floor, int(quota)) for name, quota in quotas.items()}
    by_remainder = sorted(sizes, key=lambda name: (shares[name] - quotas[name], name))
    while sum(shares.values()) < limit:
        for name in by_remainder:
            if sum(shares.values()) < limit and shares[name] < sizes[name]:
                shares[name] += 1
    while sum(shares.values()) > limit:
        above = [name for name in shares if shares[name] > floor]
        largest = max(above, key=lambda name: (shares[name] - quotas[name], name))
        shares[largest] -= 1
    return shares
