"""Factors of a whole layer in one file, computed once and cut to any smaller rank."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from lowrank.assets.weights import read_weight
from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path
from lowrank.base.tensor_file import read_description, write_tensors
from lowrank.decompose.channels import importance_of_parts, write_importance
from lowrank.decompose.moments import Moments, read_moments
from lowrank.decompose.salience import read_salience
from lowrank.decompose.svd import Factors
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
    moments: str | Path | None = None,
) -> None:
    """Factorize the decomposable tensors of one layer and store the factors.

    Each tensor is factorized at `rank`, or at its own rank where that is smaller. The file holds
    `{tensor}.left` (out × rank), `{tensor}.scales`, `{tensor}.right` (rank × in), of a method with
    a bias `{tensor}.mean` (out), in float32, and `{tensor}.energies` in float64. Its header has
    the squared norms and every array's SHA-256.

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
    moments
        The file of the layer's moments (`lowrank.decompose.moments`), for a method that reads the
        dense model's inputs; that of its saliences (`lowrank.decompose.salience`), for one that
        reads gradients.

    Raises
    ------
    LowrankError
        If a weight is missing, misshapen or not finite.
    """
    if METHODS[method].scope == "channels":
        _weigh_channels(model_directory, architecture, layer, method, output, moments)
        return
    arrays: dict[str, NDArray] = {}
    squared_norms: dict[str, float] = {}
    for stage in architecture.family.stages:
        inputs = None if moments is None else read_moments(moments, layer, stage[0])
        for tensor in stage:
            weight_OI = weight_of(model_directory, architecture, layer, tensor)
            kept = min(rank, architecture.rank(tensor))
            factors = factorize(weight_OI, kept, method, device, inputs)
            parts = {"left": factors.left_OR, "scales": factors.scales_R, "right": factors.right_RI}
            if factors.mean_O is not None:
                parts["mean"] = factors.mean_O
            for part, array in parts.items():
                arrays[f"{tensor}.{part}"] = array.astype(np.float32)
            arrays[f"{tensor}.energies"] = factors.energies_R
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


def weight_of(
    model_directory: str | Path, architecture: Architecture, layer: int, tensor: str
) -> NDArray:
    """Return the weight of a layer's tensor, (out × in), float64.

    Raises
    ------
    LowrankError
        If it is missing, misshapen or not finite.
    """
    name = f"{architecture.module_path(layer, tensor)}.weight"
    return read_weight(model_directory, name, architecture.shape(tensor))


def _weigh_channels(
    model_directory: str | Path,
    architecture: Architecture,
    layer: int,
    method: str,
    output: str | Path,
    moments: str | Path | None,
) -> None:
    """Write how much the parts of a layer's groups of tensors matter."""
    importance = {}
    for group in METHODS[method].prunes:
        tensors = architecture.family.groups[group]
        weights = {
            tensor: weight_of(model_directory, architecture, layer, tensor) for tensor in tensors
        }
        inputs: dict[str, Any]
        if METHODS[method].inputs == "gradients":
            inputs = {tensors[-1]: read_salience(moments or "", layer, tensors[-1])}
        else:
            inputs = {
                tensor: read_moments(moments or "", layer, stage[0])
                for stage in architecture.family.stages
                for tensor in stage
                if tensor in tensors
            }
        importance_I = function_of(method)(weights, inputs)
        importance[group] = importance_of_parts(importance_I, architecture.parts(group))
    with atomic_path(output) as temporary:
        write_importance(temporary, method, layer, importance)


def function_of(method: str) -> Callable[..., Any]:
    """Return the function that the registry names for a method."""
    module, function = METHODS[method].factorization.split(":")
    return getattr(importlib.import_module(module), function)


def factorize(
    weight_OI: NDArray[np.floating],
    rank: int,
    method: str,
    device: str = "cpu",
    inputs: Moments | None = None,
) -> Factors:
    """Return the factors of one weight by a method of the registry.

    Parameters
    ----------
    weight_OI
        The weight, (out × in).
    rank
        How many terms, 1 … min(out, in).
    method
        Key of `lowrank.space.methods.METHODS`; it must have a factorization.
    device
        Where to compute.
    inputs
        The moments of what goes into the module, for a method that reads it.
    """
    given = [] if METHODS[method].inputs == "none" else [inputs]
    return function_of(method)(weight_OI, rank, device, *given)


@dataclass(frozen=True)
class Cut:
    """The factors of one tensor, cut at the rank of a configuration.

    Attributes
    ----------
    layer, tensor
        Which tensor.
    left_OR, scales_R, right_RI
        As `lowrank.decompose.svd.Factors` has them, cut.
    shift_O
        What is added to the module's bias, (out,), or None.
    error
        The relative error, in the norm of the method.
    """

    layer: int
    tensor: str
    left_OR: NDArray
    scales_R: NDArray
    right_RI: NDArray
    shift_O: NDArray | None
    error: float

    @classmethod
    def of(cls, layer: int, tensor: str, factors: Factors, rank: int) -> Cut:
        """Return the cut of factors at a rank."""
        left_OR = factors.left_OR[:, :rank]
        mean_O = factors.mean_O
        shift_O = None if mean_O is None else mean_O - left_OR @ (left_OR.T @ mean_O)
        return cls(
            layer,
            tensor,
            left_OR,
            factors.scales_R[:rank],
            factors.right_RI[:rank],
            shift_O,
            factors.relative_error(rank),
        )


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
        self.path, self._method, self._layer = Path(path), method, layer
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

    def cut(self, tensor: str, rank: int) -> Cut:
        """Return the factors of a tensor at a rank.

        Raises
        ------
        LowrankError
            If the file holds fewer ranks than asked for, or not what was written into it.
        """
        scales = self._read(tensor, "scales")
        if rank > len(scales):
            raise LowrankError(f"{self.path} holds {len(scales)} ranks of {tensor}, not {rank}")
        has_mean = METHODS[self._method].has_bias
        factors = Factors(
            self._read(tensor, "left"),
            scales,
            self._read(tensor, "right"),
            self._read(tensor, "energies"),
            self._squared_norms[tensor],
            self._read(tensor, "mean") if has_mean else None,
        )
        return Cut.of(self._layer, tensor, factors, rank)

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
