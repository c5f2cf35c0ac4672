"""Factorization behind compressed predecessors: module after module, each sees what is left.

Reduced order modelling (LLM-ROM, arXiv 2312.07046) takes the moments of a module's inputs from the
model as it is compressed so far, within a block as well. So a configuration is factorized by
itself, and its factors cannot be cut to another one's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lowrank.decompose.layer_factors import Cut, factorize, weight_of
from lowrank.decompose.linear import LowRankLinear
from lowrank.decompose.walk import Walk
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition

if TYPE_CHECKING:
    from numpy.typing import NDArray


def sequential_cuts(
    architecture: Architecture,
    decomposition: Decomposition,
    directory: str | Path,
    tokens_ST: NDArray,
    dtype: str = "float32",
    device: str = "cpu",
) -> Iterator[Cut]:
    """Yield the factors of a configuration, each behind all that were yielded before.

    Parameters
    ----------
    architecture
        The model's architecture.
    decomposition
        The configuration.
    directory
        The dense model, a Hugging Face directory.
    tokens_ST
        The calibration set.
    dtype, device
        As `lowrank.decompose.walk.Walk` takes them.
    """
    walk = Walk(directory, architecture, tokens_ST, dtype, device)
    for layer in range(1, max(decomposition.layers) + 1):
        module = walk.load(layer)
        for stage in architecture.family.stages if layer in decomposition.layers else ():
            chosen = [tensor for tensor in stage if tensor in decomposition.tensors]
            if not chosen:
                continue
            inputs = walk.inputs_of([stage])[stage[0]]
            for tensor in chosen:
                weight_OI = weight_of(directory, architecture, layer, tensor)
                rank = decomposition.rank.rank_of(architecture, layer, tensor)
                factors = factorize(weight_OI, rank, decomposition.method, device, inputs)
                cut = Cut.of(layer, tensor, factors, rank)
                path = walk.submodule_path(tensor)
                module.set_submodule(path, _factored(cut, module.get_submodule(path)), strict=True)
                yield cut
        if layer < max(decomposition.layers):
            walk.advance()


def _factored(cut: Cut, dense: nn.Module) -> LowRankLinear:
    """Return the module of a cut, in the number type and on the device of the dense one."""

    def like(array: NDArray) -> Tensor:
        return torch.from_numpy(array).to(dense.weight)

    bias_O = None if dense.bias is None else dense.bias.data
    if cut.shift_O is not None:
        bias_O = like(cut.shift_O) if bias_O is None else bias_O + like(cut.shift_O)
    return LowRankLinear(like(cut.left_OR * cut.scales_R), like(cut.right_RI), bias_O)
