"""Read single tensors of a Hugging Face directory without loading the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from lowrank.errors import LowrankError
from lowrank.files import read_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


def shard_of(directory: str | Path, name: str) -> Path:
    """Return the safetensors file of `directory` that holds the tensor `name`.

    Raises
    ------
    LowrankError
        If the directory has no safetensors, or none holds the tensor.
    """
    directory = Path(directory)
    if (directory / INDEX).exists():
        shards = read_json(directory / INDEX)["weight_map"]
        if name not in shards:
            raise LowrankError(f"{directory / INDEX} lists no tensor {name}")
        return directory / shards[name]
    if not (directory / SINGLE).exists():
        raise LowrankError(f"{directory} holds no {SINGLE}; only safetensors are read")
    return directory / SINGLE


def read_weight(directory: str | Path, name: str, shape: tuple[int, int]) -> NDArray:
    """Return one weight as a float64 array, (out × in).

    Raises
    ------
    LowrankError
        If the tensor is missing, its shape is not the expected one, or it is not finite.
    """
    import numpy as np
    import torch

    path = shard_of(directory, name)
    try:
        with safe_open(path, framework="pt") as tensors:
            weight = tensors.get_tensor(name)
    except Exception as error:  # safetensors raises its own untyped errors
        raise LowrankError(f"{path}: cannot read {name} ({error})") from None
    if tuple(weight.shape) != tuple(shape):
        raise LowrankError(
            f"{path}: {name} has shape {tuple(weight.shape)}, the architecture says {tuple(shape)}"
        )
    if not bool(torch.isfinite(weight).all()):
        raise LowrankError(f"{path}: {name} holds values that are not finite (NaN or infinite)")
    return np.asarray(weight.to(torch.float64).numpy())
