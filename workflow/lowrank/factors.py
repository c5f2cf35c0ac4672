"""Factors of a whole layer in one file, computed once and cut to any smaller rank."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lowrank.architecture import Architecture
from lowrank.errors import LowrankError
from lowrank.factorization import Factors, relative_error
from lowrank.files import atomic_path
from lowrank.methods import METHODS
from lowrank.weights import read_weight

if TYPE_CHECKING:
    from numpy.typing import NDArray


def factorize_layer(
    model_directory: str | Path,
    architecture: Architecture,
    layer: int,
    rank: int,
    method: str,
    output: str | Path,
    device: str = "cpu",
) -> None:
    """Factorize the decomposable tensors of one layer and store the factors.

    Each tensor is factorized at `rank`, or at its own rank where that is smaller. The file holds
    `{tensor}.left` (out × rank), `{tensor}.singular_values` and `{tensor}.right` (rank × in) in
    float32, and the squared norms in its header.

    Parameters
    ----------
    model_directory
        A Hugging Face directory with safetensors.
    architecture
        The model's architecture.
    layer
        Layer number, from 1.
    rank
        The largest rank that any configuration asks for.
    method
        Key of `lowrank.methods.METHODS`; it must have a factorization.
    output
        The file to write.
    device
        Where to compute.

    Raises
    ------
    LowrankError
        If a weight is missing, misshapen or not finite.
    """
    module, function = METHODS[method].factorization.split(":")
    factorize = getattr(importlib.import_module(module), function)
    arrays: dict[str, NDArray] = {}
    squared_norms: dict[str, float] = {}
    for tensor in architecture.tensors:
        weight_name = f"{architecture.module_path(layer, tensor)}.weight"
        weight_OI = read_weight(model_directory, weight_name, architecture.shape(tensor))
        factors: Factors = factorize(weight_OI, min(rank, architecture.rank(tensor)), device)
        arrays[f"{tensor}.left"] = factors.left_OR.astype(np.float32)
        arrays[f"{tensor}.singular_values"] = factors.singular_values_R.astype(np.float32)
        arrays[f"{tensor}.right"] = factors.right_RI.astype(np.float32)
        squared_norms[tensor] = factors.squared_norm
    header = {"method": method, "layer": str(layer), "squared_norms": json.dumps(squared_norms)}
    with atomic_path(output) as temporary:
        save_file(arrays, temporary, metadata=header)


class LayerFactors:
    """The factors of one layer, read lazily from the file that `factorize_layer` wrote.

    Raises
    ------
    LowrankError
        If the file is missing or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._tensors = safe_open(self.path, framework="np")
            self._squared_norms = json.loads(self._tensors.metadata()["squared_norms"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise LowrankError(
                f"{path} is not a readable factor file ({error}): delete it and run again"
            ) from None

    def cut(self, tensor: str, rank: int) -> tuple[NDArray, NDArray, NDArray, float]:
        """Return (left_OR, singular_values_R, right_RI, relative error) at a rank.

        Raises
        ------
        LowrankError
            If the file holds fewer ranks than asked for.
        """
        values = self._tensors.get_tensor(f"{tensor}.singular_values")
        if rank > len(values):
            raise LowrankError(f"{self.path} holds {len(values)} ranks of {tensor}, not {rank}")
        left = self._tensors.get_slice(f"{tensor}.left")[:, :rank]
        right = self._tensors.get_slice(f"{tensor}.right")[:rank, :]
        error = relative_error(values, self._squared_norms[tensor], rank)
        return left, values[:rank], right, error
