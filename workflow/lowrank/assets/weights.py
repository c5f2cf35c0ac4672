"""Read single tensors of a Hugging Face directory without loading the model."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from lowrank.base.errors import LowrankError
from lowrank.base.files import read_brought_json, read_json

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""Names of tensors in old checkpoints of BERT, and what transformers reads them as."""


def current_name(stored: str) -> str:
    """Return the name that transformers has for a name of old checkpoints."""
    for old, new in OLD_NAMES.items():
        stored = stored.replace(old, new)
    return stored


def stored_name(names: Iterable[str], name: str) -> str | None:
    """Return what a checkpoint calls a tensor; None if it has none.

    Parameters
    ----------
    names
        The names that it has: a checkpoint with something on top of the model has a prefix.
    name
        The name in the model that is loaded.
    """
    if name in (names := list(names)):
        return name
    by_name = {current_name(stored): stored for stored in names}
    if name in by_name:
        return by_name[name]
    return next((own for key, own in by_name.items() if key.partition(".")[2] == name), None)


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
        stored = stored_name(shards, name)
        if stored is None:
            raise LowrankError(f"{directory / INDEX} lists no tensor {name}")
        return directory / shards[stored]
    if not (directory / SINGLE).exists():
        raise LowrankError(f"{directory} holds no {SINGLE}; only safetensors are read")
    return directory / SINGLE


FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
"""Number types of weights that can be decomposed, as safetensors call them."""

OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.gguf", "*.h5", "*.msgpack", "*.onnx")
"""Files that hold weights in other formats."""


def weight_files(directory: str | Path) -> list[str]:
    """Return the names of the files that hold a directory's weights, after the index of several.

    Raises
    ------
    LowrankError
        If there are none, not all, or two sets of them; the message says what is there, and what to
        bring in its place.
    """
    directory = Path(directory)
    single, index = (os.path.lexists(directory / name) for name in (SINGLE, INDEX))
    if single and index:
        raise LowrankError(f"{directory} holds {SINGLE} and {INDEX}: delete the one that is old")
    if single:
        return [SINGLE]
    if index:
        parts = sorted(set(map(str, _weight_map(directory).values())))
        for name in parts:
            is_plain_name = Path(name).name == name and name.endswith(".safetensors")
            if not is_plain_name or not os.path.lexists(directory / name):
                raise LowrankError(f"{directory} lacks {name}, which {INDEX} names: add it")
        return [INDEX, *parts]
    if any(directory.glob("*.safetensors")):
        raise LowrankError(f"{directory} holds parts of a model, but no {INDEX}: add it")
    others = [path.name for form in OTHER_WEIGHTS for path in sorted(directory.glob(form))]
    if not others:
        raise LowrankError(f"{directory} holds no weights: add its {SINGLE}, or {INDEX}")
    raise LowrankError(
        f"{directory} holds its weights as {others[0]}, which is not loaded here: save the model "
        f"as safetensors, by `save_pretrained` of transformers, and add its {SINGLE}"
    )


def _weight_map(directory: Path) -> Mapping[str, Any]:
    """Return in which file the index of several has each tensor."""
    index = read_brought_json(directory / INDEX)
    files = index.get("weight_map") if isinstance(index, Mapping) else None
    if not isinstance(files, Mapping) or not files:
        raise LowrankError(f"{directory / INDEX} lists no weights: copy it again")
    return files


def require_unquantized(directory: str | Path, config: Mapping[str, Any]) -> None:
    """Check that a `config.json` speaks of no quantization.

    Raises
    ------
    LowrankError
        If it does; the message says which, and what to bring in its place.
    """
    quantized = config.get("quantization_config")
    if quantized is not None:
        named = quantized.get("quant_method") if isinstance(quantized, Mapping) else quantized
        raise LowrankError(f"{directory} holds weights that are quantized ({named}); {PLAIN}")


def is_plain(name: str, dtype: str, shape: Sequence[int]) -> bool:
    """Return whether a tensor of safetensors is of floats, or no weight.

    Whole numbers may be places in a text, which are no weights.
    """
    is_matrix = len(shape) > 1 and dtype != "I64"
    is_weight = is_matrix or dtype.startswith("F8") or name.endswith((".weight", ".bias"))
    return dtype in FLOATS or not is_weight


def require_plain(directory: str | Path, config: Mapping[str, Any]) -> None:
    """Check that a directory has safetensors, all of them, with weights that are not quantized.

    Parameters
    ----------
    directory
        A Hugging Face directory.
    config
        Its `config.json`.

    Raises
    ------
    LowrankError
        If it has not; the message says what is there, and what to bring in its place.
    """
    directory = Path(directory)
    require_unquantized(directory, config)
    weight_files(directory)
    for path in sorted(directory.glob("*.safetensors")):
        with _readable(path) as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                stored = tensors.get_slice(name)
                if not is_plain(name, stored.get_dtype(), stored.get_shape()):
                    raise LowrankError(f"{path} holds {name} as {stored.get_dtype()}; {PLAIN}")


PLAIN = (
    "only weights in float32, float16 or bfloat16 can be decomposed: bring the model before it was "
    "quantized"
)


def require_finite(directory: str | Path) -> None:
    """Check that every tensor of a directory's safetensors can be read and is finite.

    Raises
    ------
    LowrankError
        If one is not; the message names the file and the tensor.
    """
    import torch

    for path in sorted(Path(directory).glob("*.safetensors")):
        with _readable(path) as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                if not bool(torch.isfinite(tensors.get_tensor(name)).all()):
                    raise LowrankError(_not_finite(path, name))


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[Any]:
    """Open a safetensors file for torch; what it raises, untyped, becomes one line."""
    try:
        with safe_open(path, framework="pt") as tensors:
            yield tensors
    except LowrankError:
        raise
    except Exception as error:
        raise LowrankError(f"{path} cannot be read ({' '.join(str(error).split())})") from None


def _not_finite(path: Path, name: str) -> str:
    return f"{path}: {name} holds values that are not finite (NaN or infinite)"


def _read(tensors: Any, path: Path, name: str) -> Tensor:
    """Return a tensor of an open file."""
    stored = stored_name(tensors.keys(), name)
    if stored is None:
        raise LowrankError(f"{path} holds no tensor {name}")
    return tensors.get_tensor(stored)


def _checked(tensors: Any, path: Path, name: str, shape: Sequence[int]) -> Tensor:
    """Return a tensor of an open file that has the shape expected and is finite."""
    import torch

    weight = _read(tensors, path, name)
    if tuple(weight.shape) != tuple(shape):
        raise LowrankError(
            f"{path}: {name} has shape {tuple(weight.shape)}, the architecture says {tuple(shape)}"
        )
    if not bool(torch.isfinite(weight).all()):
        raise LowrankError(_not_finite(path, name))
    return weight


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
    with _readable(path) as tensors:
        weight = _checked(tensors, path, name, shape)
    return np.asarray(weight.to(torch.float64).numpy())


def read_parameters(directory: str | Path, wanted: Mapping[str, Tensor]) -> None:
    """Fill parameters with the weights of their names.

    Parameters
    ----------
    directory
        A Hugging Face directory with safetensors.
    wanted
        From names in the directory to what to fill; each keeps its number type and device.

    Raises
    ------
    LowrankError
        If a tensor is missing, has another shape, or is not finite.
    """
    import torch

    by_file: dict[Path, list[str]] = {}
    for name in wanted:
        by_file.setdefault(shard_of(directory, name), []).append(name)
    for path, names in by_file.items():
        with _readable(path) as tensors, torch.no_grad():
            for name in names:
                wanted[name].copy_(_checked(tensors, path, name, wanted[name].shape))


def weight_shapes(directory: str | Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor that a directory's safetensors hold, by name.

    Raises
    ------
    LowrankError
        If there are none, a file cannot be read, there are two sets of weights, or the index of
        several is of others.
    """
    directory = Path(directory)
    files = weight_files(directory)
    places = _weight_map(directory) if INDEX in files else {}
    made: dict[str, tuple[int, ...]] = {}
    for path in (directory / name for name in files if name != INDEX):
        with _readable(path) as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                if places.get(name, path.name) != path.name:
                    raise LowrankError(
                        f"{path} holds {name}, which {INDEX} has in {places[name]}: copy the index "
                        "and the parts again, from one place"
                    )
                if not places or name in places:
                    made[name] = tuple(tensors.get_slice(name).get_shape())
    return made


def are_equal(directory: str | Path, *names: str) -> bool:
    """Return whether two tensors of a directory's safetensors hold the same numbers."""
    tensors = []
    for name in names:
        with _readable(shard_of(directory, name)) as opened:
            tensors.append(opened.get_tensor(name))
    one, other = tensors
    return one.shape == other.shape and bool((one == other).all())
