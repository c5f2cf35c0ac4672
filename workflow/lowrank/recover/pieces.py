"""A compressed model as plain linear layers, to be trained, and what training made of them.

A product of factors becomes a chain of `lowrank.decompose.chains`. What is left of a layer's
channels is a linear layer already.

Shape suffixes: ``O`` outputs, ``I`` inputs, ``K`` rank of an update.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lowrank.base.errors import LowrankError
from lowrank.decompose.chains import LEFT, RIGHT, SIDES, Chain, PivotedChain
from lowrank.decompose.compressed_format import ARRAYS, UPDATE, WEIGHT
from lowrank.decompose.linear import ChannelLinear
from lowrank.decompose.loading import (
    load_base,
    load_compressed,
    read_factors,
    shifted,
)
from lowrank.space.architecture import Architecture


@dataclass(frozen=True)
class Piece:
    """A linear layer that can be trained.

    Attributes
    ----------
    path
        Where it is in the model that `as_pieces` returns.
    module
        The module of the compressed model that it is, or is part of.
    array
        Its array of the module's factors; empty for a layer that has none.
    layer
        The number of its layer in the compressed model, from 1.
    """

    path: str
    module: str
    array: str
    layer: int

    @property
    def side(self) -> str | None:
        """The side of a product that it is on; None for a layer without factors."""
        return SIDES.get(self.array)


def as_pieces(
    base: str | Path, compressed: str | Path, dtype: str
) -> tuple[PreTrainedModel, list[Piece]]:
    """Load a compressed model as plain linear layers, none of which has a gradient.

    It computes what `lowrank.decompose.loading.load_compressed` computes, but for rounding: there a
    core is multiplied into a factor, and ranks are padded.

    Parameters
    ----------
    base
        The base model's directory.
    compressed
        The compressed model's directory.
    dtype
        What to compute in.

    Returns
    -------
    The model, and the linear layers of its decoder or encoder layers, in the model's order.

    Raises
    ------
    LowrankError
        As `load_compressed` does.
    """
    model, manifest = load_compressed(base, compressed, dtype)
    chained = _chained(base, compressed, manifest, model)
    for path, chain in chained.items():
        model.set_submodule(path, chain, strict=True)
    architecture = Architecture.from_config(model.config.to_dict())
    pieces: list[Piece] = []
    for number in range(architecture.layers):
        for tensor in architecture.tensors:
            path = architecture.module_path(number + 1, tensor)
            found = model.get_submodule(path)
            if path in chained:
                names = [name for name, own in found.named_children() if own is not None]
                pieces += [Piece(f"{path}.{name}", path, name, number + 1) for name in names]
                continue
            if isinstance(found, ChannelLinear):
                model.set_submodule(path, _plain(found.kept_weight.data, found.bias), strict=True)
            pieces.append(Piece(path, path, "", number + 1))
    return model.requires_grad_(False), pieces


def _chained(
    base: str | Path, compressed: str | Path, manifest: Mapping[str, Any], model: PreTrainedModel
) -> dict[str, nn.Module]:
    """Return the chains that stand for a compressed model's products of factors, by path."""
    names = ARRAYS[manifest["decomposition"]["form"]]
    paths = [path for path, own in manifest["modules"].items() if "axis" not in own]
    if not paths:
        return {}
    tensors, dtype = read_factors(compressed, manifest), model.dtype
    dense = load_base(base, str(dtype).removeprefix("torch."))
    made: dict[str, nn.Module] = {}
    for path in paths:
        own = {
            name: tensors[f"{path}.{name}"]
            for name in (*names, "core", "shift")
            if f"{path}.{name}" in tensors
        }
        bias_O = shifted(dense.get_submodule(path).bias, own.pop("shift", None), dtype)
        if "order" in own:
            made[path] = PivotedChain(
                _plain(own["rows"].to(dtype), None),
                _plain(own["coefficients"].to(dtype), bias_O),
                torch.argsort(own["order"].long()),
            )
            continue
        chain = Chain()
        for name in ("right", "core", "left"):
            if name in own:
                is_last = name == "left"
                chain.add_module(name, _plain(own[name].to(dtype), bias_O if is_last else None))
        made[path] = chain
    return made


def _plain(weight_OI: Tensor, bias_O: Tensor | None) -> nn.Linear:
    """Return a linear layer of a weight and a bias."""
    out, in_ = weight_OI.shape
    made = nn.Linear(in_, out, bias=bias_O is not None, device="meta", dtype=weight_OI.dtype)
    made.weight = nn.Parameter(weight_OI.contiguous().clone(), requires_grad=False)
    if bias_O is not None:
        made.bias = nn.Parameter(bias_O.detach().clone(), requires_grad=False)
    return made


def changed_arrays(
    pieces: list[Piece],
    weights: Mapping[str, Tensor],
    updates: Mapping[str, tuple[Tensor, Tensor]],
    stored: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return what a compressed model's file holds after training.

    Parameters
    ----------
    pieces
        Those of `as_pieces`.
    weights
        From the path of a piece that was trained itself to its weight.
    updates
        From the path of a piece to what was added to its weight, (out × K) and (K × in).
    stored
        The arrays of the file before.

    Returns
    -------
    The arrays, in float32; and of each module without factors, how it was changed: `WEIGHT` or
    `UPDATE`. What an earlier training has changed of it is changed on.

    Raises
    ------
    LowrankError
        If a weight is not finite.
    """
    made = dict(stored)
    tuned: dict[str, str] = {}
    for piece in pieces:
        weight_OI, update = weights.get(piece.path), updates.get(piece.path)
        if weight_OI is None and update is None:
            continue
        name = f"{piece.module}.{piece.array or WEIGHT}"
        if weight_OI is None:
            weight_OI = made.get(name)
        if weight_OI is None:
            assert update is not None
            tuned[piece.module] = UPDATE
            made |= _joined(made, piece.module, update)
            continue
        if not piece.array:
            tuned[piece.module] = WEIGHT
            for side in (LEFT, RIGHT):  # an earlier update is part of the weight
                made.pop(f"{piece.module}.{UPDATE}_{side}", None)
        if update is not None:
            weight_OI = weight_OI.double() + update[0].double() @ update[1].double()
        made[name] = _finite(weight_OI, name)
    return {name: array.contiguous() for name, array in made.items()}, tuned


def _joined(
    stored: Mapping[str, Tensor], path: str, update: tuple[Tensor, Tensor]
) -> dict[str, Tensor]:
    """Return the arrays of an update, with those of an earlier one before them."""
    made = {}
    for side, own, axis in zip((LEFT, RIGHT), update, (1, 0), strict=True):
        name = f"{path}.{UPDATE}_{side}"
        both = [stored[name], own.float()] if name in stored else [own.float()]
        made[name] = _finite(torch.cat(both, dim=axis), name)
    return made


def _finite(array: Tensor, name: str) -> Tensor:
    array = array.detach().cpu().float()
    if not bool(torch.isfinite(array).all()):
        raise LowrankError(
            f"training made {name} not finite: use a smaller `learning_rate` or more `warmup_steps`"
        )
    return array
