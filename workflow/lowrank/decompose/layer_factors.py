"""Factors of a whole layer in one file, computed once and cut to any smaller rank."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open

from lowrank.assets.weights import read_weight
from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path
from lowrank.base.tensor_file import read_description, write_tensors
from lowrank.decompose.svd import Factors, relative_error
from lowrank.space.architecture import Architecture
from lowrank.space.methods import METHODS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NORMS = "squared_norms"


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
    float32; its header has the squared norms and every array's SHA-256.

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
        Key of `lowrank.space.methods.METHODS`; it must have a factorization.
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
    sums = {name: _sha256(array) for name, array in arrays.items()}
    description = {
        "method": method,
        "layer": layer,
        _NORMS: squared_norms,
        "sha256": sums | {_NORMS: _sha256_of_norms(squared_norms)},
    }
    with atomic_path(output) as temporary:
        write_tensors(temporary, arrays, description)


def _sha256(array: NDArray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _sha256_of_norms(squared_norms: Mapping[str, float]) -> str:
    return hashlib.sha256(json.dumps(squared_norms, sort_keys=True).encode()).hexdigest()


class LayerFactors:
    """The factors of one layer, read lazily from the file that `factorize_layer` wrote.

    Parameters
    ----------
    path
        The file.
    method, layer
        What it must hold.

    Raises
    ------
    LowrankError
        If the file is missing or damaged, or holds another method or layer.
    """

    def __init__(self, path: str | Path, method: str, layer: int) -> None:
        self.path = Path(path)
        try:
            self._tensors = safe_open(self.path, framework="np")
            header = read_description(self._tensors)
            self._squared_norms, self._sha256 = header[_NORMS], header["sha256"]
            found = header["method"], header["layer"]
            if _sha256_of_norms(self._squared_norms) != self._sha256[_NORMS]:
                raise ValueError("its header was changed")
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise self._damaged(str(error)) from None
        if found != (method, layer):
            raise self._damaged(
                f"it holds layer {found[1]} by {found[0]}, not layer {layer} by {method}"
            )

    def cut(self, tensor: str, rank: int) -> tuple[NDArray, NDArray, NDArray, float]:
        """Return (left_OR, singular_values_R, right_RI, relative error) at a rank.

        Raises
        ------
        LowrankError
            If the file holds fewer ranks than asked for, or not what was written into it.
        """
        values = self._read(tensor, "singular_values")
        if rank > len(values):
            raise LowrankError(f"{self.path} holds {len(values)} ranks of {tensor}, not {rank}")
        left = self._read(tensor, "left")[:, :rank]
        right = self._read(tensor, "right")[:rank, :]
        error = relative_error(values, self._squared_norms[tensor], rank)
        return left, values[:rank], right, error

    def _read(self, tensor: str, part: str) -> NDArray:
        """Return an array that is what was written: whole, by its checksum, and finite."""
        name = f"{tensor}.{part}"
        try:
            array = self._tensors.get_tensor(name)
            expected = self._sha256[name]
        except (SafetensorError, KeyError) as error:
            raise self._damaged(f"it lacks {name}: {error}") from None
        if _sha256(array) != expected:
            raise self._damaged(f"{name} has another checksum than when it was written")
        if not np.isfinite(array).all():
            raise self._damaged(f"{name} is not finite")
        return array

    def _damaged(self, why: str) -> LowrankError:
        return LowrankError(
            f"{self.path} is not a readable factor file ({why}): delete it and run again"
        )
