"""Table 3.1: how large the decomposition design space is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowrank.base.thesis import read_thesis
from lowrank.space.architecture import Architecture
from lowrank.space.enumeration import largest_uniform_rank, scale_exponent, space_size
from lowrank.tables.typesetting import Table, mathematics, scientific

NOTES = (
    "$|S| = (2^N - 1) (2^T - 1) r + 1$ for $N$ layers, $T$ tensors and ranks up to $r$ "
    "(Theorem 3.1); the dense model counts once. The scale, $O(2^(N + T))$, leaves the "
    "choice of the rank out. Differences are factors.",
    "Largest rank: one pruned rank holds for all tensors, so the smallest dimension of a "
    "weight matrix bounds it (Proposition 3.1). For Llama-2-70B that is $W_K$ and $W_V$, "
    "which have 8 heads of 128 (grouped-query attention).",
    "* The thesis counts five tensors for Llama here; its Figure 3.3 shows the seven that "
    "are counted beside it (Q, K, V, SO, G, U, D). Version 2 of the paper "
    "(arXiv 2405.06626) has $2^39$ for Llama-2-7B, the scale of seven.",
)

DATA_HEADER = (
    "model",
    "layers",
    "thesis_tensors",
    "tensors",
    "largest_rank",
    "size",
    "log2_size",
    "thesis_scale_exponent",
    "scale_exponent",
)


def table(models: Sequence[Mapping[str, Any]], thesis: str | Path) -> Table:
    """Compute the size of every model's design space; the CSV holds exact integers.

    Parameters
    ----------
    models
        `name`, `label` and `architecture` (a Hugging Face configuration) of each row.
    thesis
        The file that holds what the thesis prints.

    Raises
    ------
    LowrankError
        If the decomposable tensors of a model are not known.
    """
    printed = read_thesis(thesis, "table_3_1")
    rows, data = [], [DATA_HEADER]
    for model in models:
        layers, tensors, rank = dimensions(model["architecture"])
        size, exponent = space_size(layers, tensors, rank), scale_exponent(layers, tensors)
        reference = printed.get(model["name"])
        counted = theirs = None
        if reference is not None:
            counted, theirs = reference["tensors"], reference["exponent"]
        mark = "*" if counted not in (None, tensors) else ""
        rows.append(
            (
                model["label"],
                str(layers),
                "–" if counted is None else f"{counted}{mark}",
                str(tensors),
                f"{rank:,}",
                scientific(size),
                f"{math.log2(size):.2f}",
                "–" if theirs is None else mathematics(f"$2^{theirs}$"),
                mathematics(f"$2^{exponent}$"),
                "–" if theirs is None else _factor(exponent - theirs),
            )
        )
        exact = (layers, counted, tensors, rank, size, f"{math.log2(size):.4f}", theirs, exponent)
        data.append((model["name"], *("" if value is None else str(value) for value in exact)))
    return Table(
        "Table 3.1",
        (
            "Model",
            "Layers",
            *("Thesis", "Counted"),
            "Largest rank",
            *map(mathematics, ("$|S|$", "$log_2 |S|$")),
            *("Thesis", "Computed", "Difference"),
        ),
        rows,
        ("left", *["right"] * 9),
        [mathematics(note) for note in NOTES],
        note_width="58em",
        groups=[("", 2), ("Tensors", 2), ("", 1), ("Design space", 2), ("Scale", 3)],
        data=data,
    )


def dimensions(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return (layers, decomposable tensors, largest uniform rank) of a configuration.

    Raises
    ------
    LowrankError
        If the family is unknown or a size is missing.
    """
    architecture = Architecture.from_config(config)
    return architecture.layers, len(architecture.tensors), largest_uniform_rank(architecture)


def _factor(doublings: int) -> str:
    if doublings == 0:
        return "none"
    return f"× {2**doublings}" if doublings > 0 else f"× 1/{2**-doublings}"
