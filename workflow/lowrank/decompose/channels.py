"""Channels of the MLP and groups of heads: which of them matter, and what is left of the others.

A channel is a row of each tensor that leads into the middle of the MLP and a column of the one that
leads out of it. A group of heads is a key/value head with the query heads that share it, and with
the columns of the output projection that read these. Leaving such parts out is structured pruning:
what is left is smaller and dense. It is a control of low-rank decomposition at the same number of
parameters.

Shape suffixes: ``P`` parts of a group of tensors (`Architecture.parts`), ``I`` inputs of its last
tensor, ``K`` parts that are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowrank.base.tensor_file import described, write_tensors
from lowrank.decompose.moments import Moments
from lowrank.space.architecture import Architecture

if TYPE_CHECKING:
    from numpy.typing import NDArray


def wanda(
    weights: Mapping[str, NDArray[np.floating]], inputs: Mapping[str, Moments]
) -> NDArray[np.float64]:
    """Return how much the last tensor's inputs matter: mean |w| of a column times their norm, (I,).

    This is the structured form of Wanda (arXiv 2306.11695) in FLAP's code (arXiv 2312.11983,
    `prune_wanda_sp`), with the inputs of the dense model.

    Parameters
    ----------
    weights
        From the tensors of a group to their weights; the last leads out of it, (out × in).
    inputs
        From its tensors to the moments of what they read.
    """
    last = list(weights)[-1]
    norm_I = np.sqrt(np.diag(inputs[last].second_moment_II))
    return np.abs(weights[last]).mean(axis=0) * norm_I


def taylor(
    weights: Mapping[str, NDArray[np.floating]], inputs: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Return how much the last tensor's inputs matter: their saliences' magnitudes, (I,).

    To first order it is how much the loss changes, up or down, if the input is zero. It is that of
    a column w of the weight, too: |Σ w · dL/dw|. LLM-Pruner (arXiv 2305.11627) has it in its code
    (`LLMPruner/pruner/hf_llama_pruner.py`, `TaylorImportance`) as `vectorize`. There the sums of
    the group's other tensors are added to it.

    Parameters
    ----------
    weights
        From the tensors of a group to their weights; only which is the last is asked.
    inputs
        From the last tensor to `lowrank.decompose.salience.read_salience` of it.
    """
    return np.abs(inputs[list(weights)[-1]])


def importance_of_parts(importance_I: NDArray, parts: int) -> NDArray:
    """Return how much the parts of a group of tensors matter: the sum over their inputs, (P,).

    FLAP's `prune_wanda_sp` sums over a head in the same way; it knows no shared heads. So does
    LLM-Pruner's `MetaPruner`.

    Parameters
    ----------
    importance_I
        How much the inputs of the group's last tensor matter; those of a part stand together.
    parts
        The number of parts.
    """
    return importance_I.reshape(parts, -1).sum(axis=1)


def write_importance(
    path: str | Path, method: str, layer: int, importance: Mapping[str, NDArray]
) -> None:
    """Write how much the parts of a layer's groups matter; the file is not written atomically."""
    description: dict[str, Any] = {"method": method, "layer": layer}
    write_tensors(path, importance, description)


def read_importance(path: str | Path, method: str, layer: int, group: str) -> NDArray:
    """Return how much the parts of a layer's group of tensors matter, (P,).

    Raises
    ------
    LowrankError
        If the file is missing or damaged, or holds another method or layer.
    """
    with described(path, "file of channels") as (opened, header):
        found = header["method"], header["layer"]
        if found != (method, layer):
            raise ValueError(f"it holds layer {found[1]} by {found[0]}")
        importance_P = opened.get_tensor(group)
        if not np.isfinite(importance_P).all():
            raise ValueError("it is not finite")
        return importance_P


def kept_parts(importance_P: NDArray, count: int) -> NDArray:
    """Return the parts that matter most, ascending, (count,), int32; of equal ones the first."""
    return np.sort(np.argsort(-importance_P, kind="stable")[:count]).astype(np.int32)


def kept_places(
    architecture: Architecture, group: str, kept_K: NDArray
) -> Iterator[tuple[str, int, NDArray]]:
    """Yield the tensors of a group, each with an axis of its weight and what is kept along it.

    Parameters
    ----------
    architecture
        The model's architecture.
    group
        `mlp` or `attention`.
    kept_K
        The parts that are kept, ascending.
    """
    for tensor in architecture.family.groups[group]:
        axis = architecture.axis(tensor)
        blocks = architecture.blocks(tensor) if axis == 0 else architecture.shape(tensor)[1:]
        places, start = [], 0
        for block in blocks:  # each part has some of every block of a fused tensor
            size = block // architecture.parts(group)
            places.append((start + kept_K[:, None] * size + np.arange(size)).ravel())
            start += block
        yield tensor, axis, np.concatenate(places).astype(np.int32)
