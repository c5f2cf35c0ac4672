"""Channels of the MLP: which of them matter, and what is left without the others.

A channel is a row of each tensor that leads into the middle of the MLP and a column of the one that
leads out of it. Leaving channels out is structured pruning: what is left is a smaller dense MLP. It
is a control of low-rank decomposition at the same number of parameters.

Shape suffixes: ``C`` channels, ``O`` outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from lowrank.base.errors import LowrankError
from lowrank.base.tensor_file import read_description, write_tensors
from lowrank.decompose.moments import Moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMPORTANCE = "importance"


def wanda(
    weights: Mapping[str, NDArray[np.floating]], inputs: Mapping[str, Moments]
) -> NDArray[np.float64]:
    """Return how much channels matter: mean |w| of a column times the norm of its input, (C,).

    This is the structured form of Wanda (arXiv 2306.11695) in FLAP's code, with the inputs of the
    dense model.

    Parameters
    ----------
    weights
        From the MLP's tensors to their weights; the last leads out of it, (out × channels).
    inputs
        From its tensors to the moments of what they read.
    """
    last = list(weights)[-1]
    norm_C = np.sqrt(np.diag(inputs[last].second_moment_II))
    return np.abs(weights[last]).mean(axis=0) * norm_C


def write_importance(path: str | Path, method: str, layer: int, importance_C: NDArray) -> None:
    """Write how much the channels of a layer matter; the file is not written atomically."""
    description: dict[str, Any] = {"method": method, "layer": layer}
    write_tensors(path, {IMPORTANCE: importance_C}, description)


def read_importance(path: str | Path, method: str, layer: int) -> NDArray:
    """Return how much the channels of a layer matter, (C,).

    Raises
    ------
    LowrankError
        If the file is missing or damaged, or holds another method or layer.
    """
    try:
        with safe_open(Path(path), framework="np") as opened:
            header = read_description(opened)
            found = header["method"], header["layer"]
            if found != (method, layer):
                raise ValueError(f"it holds layer {found[1]} by {found[0]}")
            importance_C = opened.get_tensor(IMPORTANCE)
        if not np.isfinite(importance_C).all():
            raise ValueError("it is not finite")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise LowrankError(
            f"{path} is not a readable file of channels ({error}): delete it and run again"
        ) from None
    return importance_C


def kept_channels(importance_C: NDArray, count: int) -> NDArray:
    """Return the channels that matter most, ascending, (count,), int32; of equal ones the first."""
    return np.sort(np.argsort(-importance_C, kind="stable")[:count]).astype(np.int32)


def channel_axes(tensors: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Yield the tensors of an MLP, each with the axis of its weight that the channels are."""
    for tensor in tensors:
        yield tensor, 1 if tensor == tensors[-1] else 0
