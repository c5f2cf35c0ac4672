"""Put a compressed model together with its base: the one loader."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from lowrank.assets.model_classes import auto_class
from lowrank.assets.tokenizer import read_tokenizer
from lowrank.base.errors import LowrankError, is_out_of_memory, one_line
from lowrank.base.files import read_json, sha256_file
from lowrank.base.names import DROP
from lowrank.decompose.compressed_format import (
    ARRAYS,
    FACTORS,
    FORMAT,
    MANIFEST,
    UPDATE,
    WEIGHT,
)
from lowrank.decompose.linear import ChannelLinear, LowRankLinear, PivotedLinear
from lowrank.space.architecture import Architecture

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def load_base(directory: str | Path, dtype: str, device: str = "cpu") -> PreTrainedModel:
    """Load a plain Hugging Face directory (safetensors only, no remote code).

    The class is that of the directory's `config.json`. A bare encoder whose checkpoint has no
    pooler is left without one.

    Raises
    ------
    LowrankError
        If the checkpoint cannot be read, or lacks weights of the class: they would be random.
    """
    kept = _PRELOADED.pop(("model", state_of_files(directory), dtype), None)
    if kept is not None:
        return kept.to(device)
    transformers_logging.disable_progress_bar()
    chosen = auto_class(read_json(Path(directory) / "config.json"))
    try:
        model, report = chosen.from_pretrained(
            directory,
            dtype=DTYPES[dtype],
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # a file cut short, or a shape that is not the class's
        if is_out_of_memory(error):
            raise
        said = one_line(error)[:300]
        raise LowrankError(
            f"{directory} cannot be loaded ({said}): delete it and run again"
        ) from None
    missing = sorted(report["missing_keys"])
    if missing and all(name.startswith("pooler.") for name in missing):
        model.pooler, missing = None, []
    if missing:
        raise LowrankError(f"{directory} lacks {missing[0]} of a {type(model).__name__}")
    return model.to(device).eval()


def load_tokenizer(directory: str | Path) -> Any:
    """Load the tokenizer of a plain Hugging Face directory.

    Raises
    ------
    LowrankError
        If there is none, or it cannot be read.
    """
    kept = _PRELOADED.pop(("tokenizer", state_of_files(directory)), None)
    if kept is not None:
        return kept
    return read_tokenizer(directory)


_PRELOADED: dict[tuple[Any, ...], Any] = {}
"""What `preload` keeps; whoever takes something may change it, so it is taken once."""


def preload(directory: str | Path, dtype: str) -> None:
    """Keep a base model and its tokenizer in memory, for forks of this process to take."""
    identity = state_of_files(directory)
    if ("model", identity, dtype) not in _PRELOADED:
        _PRELOADED["model", identity, dtype] = load_base(directory, dtype)
        _PRELOADED["tokenizer", identity] = load_tokenizer(directory)


def state_of_files(directory: str | Path) -> tuple[Any, ...]:
    """Return what tells a directory's content from another: its path, file sizes and times."""
    files = sorted(Path(directory).iterdir()) if Path(directory).is_dir() else []
    states = tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return str(Path(directory).resolve()), states


def load_compressed(
    base: str | Path, compressed: str | Path, dtype: str, device: str = "cpu"
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Load a compressed model over its base.

    It is what is scored: from here on GPUs add up half-precision products in float32 alone.

    It is the configuration of the manifest or an error, never the dense model by accident: the
    factors must be those the manifest was written for, every module it lists must be in them and
    in the model, and nothing may be left over.

    Parameters
    ----------
    base
        The base model's directory.
    compressed
        A directory written by `lowrank.decompose.compressed.compress`.
    dtype
        `float32`, `float16` or `bfloat16`; factors are multiplied into the core in float32.
    device
        Where to put the model.

    Returns
    -------
    The model in evaluation mode, and the manifest.

    Raises
    ------
    LowrankError
        If anything of the above does not hold.
    """
    # A product with one output and thousands of inputs, which rank 1 is made of, is cut in parts
    # whose sums torch would otherwise add up in half precision.
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    model = load_base(base, dtype)
    manifest = _compress_loaded(model, compressed, dtype)
    return model.to(device).eval(), manifest


def load_compressed_beside(
    dense: PreTrainedModel, compressed: str | Path, dtype: str
) -> PreTrainedModel:
    """Load a compressed model that shares with a loaded dense one what the two have in common.

    Both together take little more memory than the dense model alone.

    Parameters
    ----------
    dense
        The base model, as `load_base` loaded it; it stays as it is.
    compressed, dtype
        As for `load_compressed`.

    Raises
    ------
    LowrankError
        As `load_compressed` does.
    """
    model = shared_copy(dense)
    _compress_loaded(model, compressed, dtype)
    return model.to(dense.device).eval()


def shared_copy(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy of a model's modules over the very same parameters and buffers."""
    tensors = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _compress_loaded(model: PreTrainedModel, compressed: str | Path, dtype: str) -> dict[str, Any]:
    """Make a loaded base model the compressed one; return the manifest."""
    compressed = Path(compressed)
    manifest = read_manifest(compressed)
    tensors = read_factors(compressed, manifest)
    _replace_modules(model, manifest, tensors, DTYPES[dtype])
    if manifest["decomposition"]["method"] == DROP:
        _drop_layers(model, manifest["decomposition"]["layers"])
    _change_weights(model, manifest, tensors)
    if tensors:
        raise LowrankError(f"the factors hold {sorted(tensors)[0]}, which the manifest lacks")
    return manifest


def read_factors(compressed: str | Path, manifest: dict[str, Any]) -> dict[str, Tensor]:
    """Return the arrays of a compressed model, by `{module}.{array}`.

    Parameters
    ----------
    compressed
        The model's directory.
    manifest
        Its manifest.

    Raises
    ------
    LowrankError
        If they are not those that the manifest was written for, or cannot be read.
    """
    path = Path(compressed) / FACTORS
    if sha256_file(path) != manifest["factors_sha256"]:
        raise LowrankError(f"{path} does not match its manifest: delete {compressed} and run again")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise LowrankError(f"{path} cannot be read ({error})") from None


def read_manifest(compressed: str | Path, form: str = FORMAT) -> dict[str, Any]:
    """Return the manifest of a compressed model, written in a format.

    Raises
    ------
    LowrankError
        If it is none.
    """
    path = Path(compressed) / MANIFEST
    manifest = read_json(path)
    if manifest.get("format") != form:
        raise LowrankError(f"{path} is not a manifest of format {form}")
    return manifest


def _replace_modules(
    model: nn.Module, manifest: dict[str, Any], tensors: dict[str, Tensor], dtype: torch.dtype
) -> None:
    names = ARRAYS[manifest["decomposition"]["form"]]
    for path, module in manifest["modules"].items():
        try:
            dense = model.get_submodule(path)
            arrays = [tensors.pop(f"{path}.{name}") for name in names]
        except (AttributeError, KeyError) as error:
            raise LowrankError(f"{path} is in the manifest but not in {error}") from None
        if not isinstance(dense, nn.Linear) or list(dense.weight.shape) != module["shape"]:
            raise LowrankError(f"{path} of the base model is not a {module['shape']} linear layer")
        if "axis" in module:
            model.set_submodule(path, ChannelLinear(dense, *arrays, module["axis"]), strict=True)
            continue
        core, shift = (tensors.pop(f"{path}.{name}", None) for name in ("core", "shift"))
        if core is not None:
            arrays[0] = arrays[0] @ core
        made = _linear(arrays, shifted(dense.bias, shift, dtype), dtype)
        model.set_submodule(path, made, strict=True)


def _change_weights(model: nn.Module, manifest: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Give modules without factors the weights that a recovery gave them.

    Their paths are those in the model without the layers that are left out.
    """
    for path, how in manifest.get("changed", {}).items():
        try:
            module = model.get_submodule(path)
            name = "kept_weight" if isinstance(module, ChannelLinear) else "weight"
            weight = getattr(module, name)
            if how == WEIGHT:
                changed = tensors.pop(f"{path}.{WEIGHT}")
            else:
                left, right = (tensors.pop(f"{path}.{UPDATE}_{side}") for side in ("left", "right"))
                changed = weight.data.float() + left @ right
        except (AttributeError, KeyError) as error:
            raise LowrankError(f"{path} is in the manifest but not in {error}") from None
        if changed.shape != weight.shape:
            raise LowrankError(f"{path} was changed to another shape than it has")
        # Another parameter: the dense model may share the old one.
        setattr(module, name, nn.Parameter(changed.to(weight.dtype), requires_grad=False))


def shifted(bias_O: Tensor | None, shift_O: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Return a module's bias with what its compression adds to it."""
    if shift_O is None:
        return None if bias_O is None else bias_O.data
    return (shift_O if bias_O is None else shift_O + bias_O.data.float()).to(dtype)


def _linear(arrays: list[Tensor], bias_O: Tensor | None, dtype: torch.dtype) -> nn.Module:
    """Return the module of what a form stores."""
    made = [array.to(dtype) if array.is_floating_point() else array for array in arrays]
    return LowRankLinear(*made, bias_O) if len(made) == 2 else PivotedLinear(*made, bias_O)


def _drop_layers(model: PreTrainedModel, layers: list[int]) -> None:
    """Leave layers out, and what the configuration says of them; number the others anew.

    A decoder's key-value cache would have gaps otherwise.
    """
    family = Architecture.from_config(model.config.to_dict()).family
    path, _, name = family.layer_path.rpartition(".")
    kept = _without(model.get_submodule(family.layer_path), layers)
    for index, layer in enumerate(kept):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = index
    setattr(model.get_submodule(path), name, nn.ModuleList(kept))
    for key in family.per_layer:
        setattr(model.config, key, _without(getattr(model.config, key), layers))
    model.config.num_hidden_layers = len(kept)
    model.config.validate_layer_type()  # a list that the family does not know of is an error


def _without(entries: Iterable[Any], layers: list[int]) -> list[Any]:
    """Return what remains of something for each layer without that of some layers, from 1."""
    return [entry for number, entry in enumerate(entries, 1) if number not in set(layers)]
