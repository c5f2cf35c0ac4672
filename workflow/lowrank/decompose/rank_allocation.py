"""Ranks by what a cut loses: the ratio rule of SVD-LLM V2 (arXiv 2503.12340).

Its Section 3.1 and Algorithm 1 take the tensors of one type in all layers as a group. L is the loss
‖W X − W' X‖ of a tensor at the target, in the Frobenius norm over all tokens, and R is the share
of the parameters to be removed. A tensor of a group of N loses the share

    R · N · s / Σ s,  where s = 1 / log L.

The algorithm prints L in place of s there; its text says that the loss is inverted first, and that
a tensor of a high loss should be compressed less. The base of the logarithm cancels, and so does
squaring the loss. Its scale does not: twice the tokens bring the shares of a group closer together,
and near a loss of 1 the rule asks for more than all of a tensor. So the scale here is that of the
authors' calibration set, whatever the size of ours is.

The authors have published no code. What they leave open is as follows here. No tensor goes below
rank 1: what it cannot give, the others of its group give in the same proportion. A loss of at most
1 has no such s. It is taken as the limit from above: s without bound, so that the tensor gives all
that it can. Ranks are whole, and no group exceeds its budget.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from lowrank.assets.calibration import read_calibration
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, sha256_file, write_text
from lowrank.base.provenance import code_digest
from lowrank.decompose.layer_factors import LayerFactors
from lowrank.decompose.svd import relative_error
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import share_rule
from lowrank.space.methods import METHODS
from lowrank.space.rank_rule import Share

METHOD = "svd_llm"
"""The method whose factors are cut: what it leaves is the loss of the rule."""

TOKENS = 256 * 2048
"""How many tokens a loss is of: the samples of the authors, at the length of SVD-LLM's code."""

RULE = f"the ratios of SVD-LLM V2 (arXiv 2503.12340, Algorithm 1), with losses of {TOKENS} tokens"

ROUNDING = 1e-9
"""Relative error of a share that is computed in floating point: far more than there is."""


def choose_ranks(
    architecture: Architecture,
    share: float | str,
    form: str,
    folder: str | Path,
    calibration: str,
    output: str | Path,
) -> Path:
    """Choose a rank for every tensor of every layer, and write them as a file for a study.

    Parameters
    ----------
    architecture
        The model's architecture.
    share
        The share of the tensors' numbers that is kept.
    form
        How the factors are to be stored, one of `lowrank.space.methods.FORMS`.
    folder
        What a run made of the model: its `manifest.json`, the calibration set, and the factors of
        every layer by `svd_llm`, at the rank of this share or above.
    calibration
        The name of the calibration set.
    output
        The folder to write to.

    Returns
    -------
    The file, named like `svd_llm.prose-p0.8.yaml`; `config/schemas/ranks.schema.yaml` describes it.

    Raises
    ------
    LowrankError
        If factors are missing or hold too few ranks, or the rule cannot be applied.
    """
    folder, rule = Path(folder), share_rule(share, form)
    calibration_file = folder / "calibration" / f"{calibration}.safetensors"
    factors = folder / "factors" / f"{METHOD}.{calibration}"
    files = {n: factors / f"layer-{n}.safetensors" for n in range(1, architecture.layers + 1)}
    losses = truncation_losses(architecture, files, rule)
    ranks = allocate_ranks(architecture, losses, share, form)
    source = {
        "rule": RULE,
        "model": read_json(folder / "manifest.json")["source"],
        "method": METHOD,
        "calibration": {
            "name": calibration,
            "tokens": read_calibration(calibration_file).size,
            "sha256": sha256_file(calibration_file),
        },
        "form": form,
        "share": float(rule.share),
        "budget": sum(
            _budget(architecture, tensor, share, len(ranks)) for tensor in architecture.tensors
        ),
        "kept": kept_numbers(architecture, ranks, form),
        "code_sha256": code_digest(),
    }
    path = Path(output) / f"{METHOD}.{calibration}-{rule.name}.yaml"
    write_text(path, "# Written by `make ranks`.\n" + _as_yaml({"source": source, **ranks}))
    return path


def truncation_losses(
    architecture: Architecture,
    layer_files: Mapping[int, str | Path],
    rule: Share,
) -> dict[tuple[int, str], float]:
    """Return what a cut of each tensor at the rank of a rule loses, ‖W X − W' X‖ (Equation 1).

    It is the root of `TOKENS` times the mean squared error of the outputs of a token.

    Parameters
    ----------
    architecture
        The model's architecture.
    layer_files
        From layer number to the file of `lowrank.decompose.layer_factors.factorize_layer`, by
        `svd_llm`.
    rule
        Which rank each tensor keeps.

    Returns
    -------
    From (layer, tensor) to the loss.
    """
    losses = {}
    for layer, path in layer_files.items():
        factors = _LayerLosses(path, METHOD, layer)
        for tensor in architecture.tensors:
            rank = rule.rank_of(architecture, layer, tensor)
            losses[layer, tensor] = math.sqrt(TOKENS * factors.squared_error(tensor, rank))
    return losses


class _LayerLosses(LayerFactors):
    """The factors of a layer, asked for no more than what a cut leaves."""

    def squared_error(self, tensor: str, rank: int) -> float:
        """Return what a cut leaves of the squared norm."""
        energies_R, squared_norm = self._read(tensor, "energies"), self._squared_norms[tensor]
        if rank > len(energies_R):
            raise LowrankError(f"{self.path} holds {len(energies_R)} ranks of {tensor}, not {rank}")
        return squared_norm * relative_error(energies_R, squared_norm, rank) ** 2


def allocate_ranks(
    architecture: Architecture,
    losses: Mapping[tuple[int, str], float],
    share: float | str,
    form: str,
) -> dict[int, dict[str, int]]:
    """Return the rank of each tensor by its loss (Algorithm 1).

    In each group as many numbers are kept as the share allows: no tensor could have a rank more.

    Parameters
    ----------
    architecture
        The model's architecture.
    losses
        From (layer, tensor) to what the tensor loses at this share.
    share
        The share of the tensors' numbers that is kept.
    form
        How the factors are to be stored, one of `lowrank.space.methods.FORMS`.

    Returns
    -------
    From layer to tensor to rank.

    Raises
    ------
    LowrankError
        If the share does not hold one rank a tensor.
    """
    removed = 1 - float(share_rule(share, form).share)
    ranks: dict[int, dict[str, int]] = {layer: {} for layer in sorted({n for n, _ in losses})}
    for tensor in architecture.tensors:
        layers = [layer for layer in ranks if (layer, tensor) in losses]
        costs_R, dense = _costs(architecture, tensor, form), math.prod(architecture.shape(tensor))
        budget = _budget(architecture, tensor, share, len(layers))
        if budget < len(layers) * costs_R[1]:
            raise LowrankError(f"a share of {share} does not hold rank 1 of each tensor {tensor}")
        gone = removed_shares(
            [losses[layer, tensor] for layer in layers], removed, 1 - costs_R[1] / dense
        )
        fitted = fitted_ranks([(1 - own) * dense for own in gone], budget, costs_R)
        for layer, rank in zip(layers, fitted, strict=True):
            ranks[layer][tensor] = rank
    return ranks


def removed_shares(losses: Sequence[float], removed: float, most: float = 1.0) -> list[float]:
    """Return which share of each tensor of a group is removed (Algorithm 1, lines 10 and 11).

    Parameters
    ----------
    losses
        The loss of each tensor.
    removed
        Their mean: R, the share that is removed of all of them.
    most
        The largest share that may be removed of a tensor, at least `removed`.
    """
    wanted = removed * len(losses)
    held = {index for index, loss in enumerate(losses) if loss <= 1}  # those that give the most
    if most * len(held) >= wanted:
        return [wanted / len(held) if index in held else 0.0 for index in range(len(losses))]
    weights = [math.inf if index in held else 1 / math.log(own) for index, own in enumerate(losses)]
    while True:
        free = [index for index in range(len(weights)) if index not in held]
        left = wanted - most * len(held)
        scale = left / math.fsum(weights[index] for index in free) if free else 0.0
        above = {index for index in free if scale * weights[index] > most}
        if not above:
            return [
                most if index in held else scale * weight for index, weight in enumerate(weights)
            ]
        held |= above


def fitted_ranks(wanted: Sequence[float], budget: int, costs_R: Sequence[int]) -> list[int]:
    """Return whole ranks of tensors of one shape, as near to what each is to keep as they may be.

    Each gets the largest rank that fits into what it is to keep. What is left over of the budget
    goes by one rank to the tensor that lacks most of its next one, until no rank fits any more.

    Parameters
    ----------
    wanted
        How many numbers each tensor is to keep; no more than the budget in sum.
    budget
        How many numbers all may keep.
    costs_R
        The numbers of each rank from 0, ascending.
    """
    ranks = [max(1, bisect.bisect_right(costs_R, own * (1 - ROUNDING)) - 1) for own in wanted]
    spare = budget - sum(costs_R[rank] for rank in ranks)

    def price(index: int) -> int:
        return costs_R[ranks[index] + 1] - costs_R[ranks[index]]

    def progress(index: int) -> float:
        return (wanted[index] - costs_R[ranks[index]]) / price(index)

    while True:
        growing = [n for n, rank in enumerate(ranks) if rank + 1 < len(costs_R)]
        affordable = [index for index in growing if price(index) <= spare]
        if not affordable:
            return ranks
        first = max(affordable, key=progress)
        spare -= price(first)
        ranks[first] += 1


def kept_numbers(
    architecture: Architecture, ranks: Mapping[int, Mapping[str, int]], form: str
) -> int:
    """Return how many numbers are kept at these ranks, in a form."""
    return sum(
        METHODS[METHOD].stored_parameters(form, *architecture.shape(tensor), rank)
        for of_tensors in ranks.values()
        for tensor, rank in of_tensors.items()
    )


def _costs(architecture: Architecture, tensor: str, form: str) -> list[int]:
    """Return the numbers of each rank from 0, as far as they are no more than the tensor's own."""
    shape = architecture.shape(tensor)
    costs = [
        METHODS[METHOD].stored_parameters(form, *shape, rank) for rank in range(min(shape) + 1)
    ]
    return costs[: bisect.bisect_right(costs, math.prod(shape))]


def _budget(architecture: Architecture, tensor: str, share: float | str, count: int) -> int:
    """Return how many numbers a share of some tensors of a type is, rounded down."""
    return math.floor(Fraction(str(share)) * count * math.prod(architecture.shape(tensor)))


def _as_yaml(content: Mapping[Any, Any]) -> str:
    """Return a mapping as YAML, a line a layer."""
    return yaml.safe_dump(
        dict(content), sort_keys=False, default_flow_style=None, width=120, allow_unicode=True
    )
