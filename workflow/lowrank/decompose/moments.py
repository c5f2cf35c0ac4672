"""Moments of what goes into the modules of a layer, and their file.

Shape suffixes: ``N`` tokens, ``I`` inputs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowrank.base.errors import LowrankError
from lowrank.base.tensor_file import described, write_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PARTS = ("second_moment", "mean", "mean_magnitude")


@dataclass(frozen=True)
class Moments:
    """Moments of one input over the tokens of a calibration set, in double precision.

    Attributes
    ----------
    second_moment_II
        E[x xᵀ], not centred, (in × in).
    mean_I
        E[x], (in,).
    mean_magnitude_I
        E|x|, (in,).
    tokens
        How many tokens they are of. Padding is none of them.
    """

    second_moment_II: NDArray[np.float64]
    mean_I: NDArray[np.float64]
    mean_magnitude_I: NDArray[np.float64]
    tokens: int

    def covariance(self) -> NDArray[np.float64]:
        """Return E[x xᵀ] − E[x] E[x]ᵀ, (in × in)."""
        return self.second_moment_II - np.outer(self.mean_I, self.mean_I)


class RunningMoments:
    """Moments of an input that comes in pieces.

    Parameters
    ----------
    size
        The size of the input.
    """

    def __init__(self, size: int) -> None:
        self._products_II = np.zeros((size, size))
        self._sum_I, self._magnitudes_I = np.zeros(size), np.zeros(size)
        self._tokens = 0

    def add(self, x_NI: NDArray[np.floating]) -> None:
        """Count the inputs of some tokens."""
        x_NI = np.asarray(x_NI, dtype=np.float64)
        self._products_II += x_NI.T @ x_NI
        self._sum_I += x_NI.sum(axis=0)
        self._magnitudes_I += np.abs(x_NI).sum(axis=0)
        self._tokens += len(x_NI)

    def moments(self, where: str) -> Moments:
        """Return the moments of all that was counted.

        Parameters
        ----------
        where
            What message calls the input.

        Raises
        ------
        LowrankError
            If a moment is not finite, or nothing was counted.
        """
        if not self._tokens or not np.isfinite(self._products_II).all():
            raise LowrankError(f"the calibration set leaves no finite inputs at {where}")
        count = self._tokens
        return Moments(
            self._products_II / count, self._sum_I / count, self._magnitudes_I / count, count
        )


def write_moments(
    path: str | Path, moments: Mapping[str, Moments], layer: int, influence: float
) -> None:
    """Write the moments of a layer's inputs as one file.

    Parameters
    ----------
    path
        The file to write; it is not written atomically.
    moments
        From the first tensor of each stage to the moments of what the stage reads.
    layer
        The layer, from 1.
    influence
        The block influence of the layer: 1 − the mean cosine of what goes into it and what comes
        out (ShortGPT, arXiv 2403.03853).
    """
    arrays = {
        f"{tensor}.{part}": array
        for tensor, own in moments.items()
        for part, array in zip(
            _PARTS, (own.second_moment_II, own.mean_I, own.mean_magnitude_I), strict=True
        )
    }
    counts = {tensor: own.tokens for tensor, own in moments.items()}
    write_tensors(path, arrays, {"layer": layer, "influence": influence, "tokens": counts})


def read_moments(path: str | Path, layer: int, tensor: str) -> Moments:
    """Return the moments of one stage's input, by the stage's first tensor.

    Raises
    ------
    LowrankError
        If the file is missing or damaged, or holds another layer.
    """
    with _described(path, layer) as (opened, header):
        parts = [opened.get_tensor(f"{tensor}.{part}") for part in _PARTS]
        return Moments(*parts, header["tokens"][tensor])


def read_influence(path: str | Path, layer: int) -> float:
    """Return the block influence of a layer, from its file of moments.

    Raises
    ------
    LowrankError
        If the file is missing or damaged, or holds another layer.
    """
    with _described(path, layer) as (_, header):
        return float(header["influence"])


@contextlib.contextmanager
def _described(path: str | Path, layer: int) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Open the moments of a layer; whatever is wrong with the file is one line."""
    with described(path, "file of moments") as (opened, header):
        if header["layer"] != layer:
            raise ValueError(f"it holds layer {header['layer']}, not {layer}")
        yield opened, header


def moments_file(layer: int) -> str:
    """Return the name of a layer's file in a folder of moments."""
    return f"layer-{layer}.safetensors"
