"""Second moments of what goes into each quantized tensor, from those of what goes into its module.

Shape suffixes: ``I`` inputs of a module, ``R`` outputs of its first factor, ``K`` kept channels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from lowrank.decompose.linear import ChannelLinear
from lowrank.decompose.moments import moments_file, read_moments
from lowrank.quantize.places import Place
from lowrank.space.architecture import Architecture

Inputs = Callable[[str], Tensor | None]
"""From a module's path to E[x xᵀ] of its inputs, (in × in), in double precision."""

FIRST_FACTOR = {"left": "right", "coefficients": "rows"}


def stored_inputs(folder: str | Path, architecture: Architecture) -> Inputs:
    """Return the moments of a dense model's inputs.

    Parameters
    ----------
    folder
        What `lowrank.decompose.walk.gather_moments` wrote.
    architecture
        The model's architecture.
    """
    stages = {
        architecture.module_path(layer, tensor): (layer, stage[0])
        for layer in range(1, architecture.layers + 1)
        for stage in architecture.family.stages
        for tensor in stage
    }

    @functools.lru_cache(maxsize=1)  # the tensors of a stage come one after another
    def of_stage(layer: int, first: str) -> Tensor:
        made = read_moments(Path(folder) / moments_file(layer), layer, first)
        return torch.from_numpy(made.second_moment_II)

    return lambda path: of_stage(*stages[path]) if path in stages else None


def second_moment(place: Place, inputs: Inputs) -> Tensor | None:
    """Return E[x xᵀ] of what a tensor multiplies, or None where it is not known.

    A second factor multiplies what the first one makes, as that is now: with quantized weights, if
    it is quantized already.
    """
    moment_II = inputs(place.name.rpartition(".")[0])
    if moment_II is None:
        return None
    module = place.modules[0]
    if place.parameter in FIRST_FACTOR:
        first_RI = getattr(module, FIRST_FACTOR[place.parameter]).detach()
        first_RI = first_RI.to(moment_II.device, torch.float64)
        return first_RI @ moment_II @ first_RI.T
    if isinstance(module, ChannelLinear) and module.axis == 1:
        kept_K = module.kept.to(moment_II.device)
        return moment_II[kept_K][:, kept_K]
    return moment_II
