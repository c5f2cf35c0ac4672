"""A model with LoRA adapters, over floating-point or quantized weights (QLoRA).

LoRA is arXiv 2106.09685, QLoRA arXiv 2305.14314. Adapters are peft's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lowrank.base.errors import LowrankError
from lowrank.base.provenance import require_packages
from lowrank.decompose.chains import SIDES, Chain, PivotedChain
from lowrank.decompose.linear import ChannelLinear, LowRankLinear, PivotedLinear
from lowrank.quantize.entry import LINEAR, Quantization
from lowrank.quantize.quantizing import quantize
from lowrank.space.architecture import Architecture

PACKAGES = {"peft": "0.21"}
BOTH = "both"


def with_adapters(
    model: PreTrainedModel,
    entry: Mapping[str, Any] | None,
    rank: int,
    seed: int,
    factors: str = BOTH,
) -> nn.Module:
    """Return a model whose adapters alone are trained, in training mode.

    Every linear layer of the decoder gets an adapter. A product of factors is two linear layers:
    that of its right side, which comes first, and that of its left side.

    Parameters
    ----------
    model
        A dense or compressed model of floating-point weights; it is changed.
    entry
        An entry of `config/quantizations/` that is not fake, or None.
    rank
        Of the adapters; their scale is 2 (`lora_alpha` is twice the rank).
    seed
        Of the adapters' values.
    factors
        Which layers of a product get an adapter: `both`, `left` or `right`.

    Raises
    ------
    LowrankError
        If a package is missing, or the entry is of other parts than linear layers or is fake.
    """
    require_packages(PACKAGES)
    if entry is not None:
        require_real(entry)
    names = in_pieces(model)
    if entry is not None:
        quantize(model, entry)
    from peft import LoraConfig, get_peft_model

    if factors != BOTH:
        names = [name for name in names if SIDES.get(name.rpartition(".")[2], factors) == factors]
    torch.manual_seed(seed)
    chosen = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=names, task_type="CAUSAL_LM"
    )
    return get_peft_model(model.requires_grad_(False), chosen).train()


def require_real(entry: Mapping[str, Any]) -> None:
    """Check that adapters can be trained over what a quantization makes.

    Raises
    ------
    LowrankError
        If they cannot, or the training would not take less memory.
    """
    how = Quantization.from_entry(entry)
    if how.is_fake or how.parts != (LINEAR,):
        raise LowrankError(
            f"adapters are trained over linear layers that are quantized, not over {how.method} of "
            f"{', '.join(how.parts)}: choose a quantization that is not fake and of linear alone"
        )


def in_pieces(model: PreTrainedModel) -> list[str]:
    """Make every linear layer of the decoder one of plain ones that are not trained.

    Returns
    -------
    Their names. A product of factors is a chain of `lowrank.decompose.chains` in its place.
    """
    layers = Architecture.from_config(model.config.to_dict()).family.layer_path
    for path, module in list(model.get_submodule(layers).named_modules()):
        name = f"{layers}.{path}"
        if isinstance(module, PivotedLinear):
            rows, coefficients = module.rows, module.coefficients
            made = PivotedChain(
                _linear(rows, None), _linear(coefficients, module.bias), module.place
            )
        elif isinstance(module, LowRankLinear):
            made = Chain()
            made.add_module("right", _linear(module.right, None))
            made.add_module("left", _linear(module.left, module.bias))
        elif isinstance(module, ChannelLinear):
            made = _linear(module.kept_weight, module.bias)
        elif isinstance(module, nn.Linear):
            made = _linear(module.weight, module.bias)
        else:
            continue
        model.set_submodule(name, made)
    return [
        f"{layers}.{path}"
        for path, module in model.get_submodule(layers).named_modules()
        if isinstance(module, FrozenLinear)
    ]


def _linear(weight_OI: Tensor, bias_O: Tensor | None) -> FrozenLinear:
    outputs, inputs = weight_OI.shape
    made = FrozenLinear(inputs, outputs, bias=bias_O is not None, device="meta")
    made.weight = nn.Parameter(weight_OI.data, requires_grad=False)
    if bias_O is not None:
        made.bias = nn.Parameter(bias_O.data, requires_grad=False)
    return made


class FrozenLinear(nn.Linear):
    """A linear layer that is not trained, and that computes its quantized weight again to go back.

    A plain one would keep the weight that its codes stand for until the backward pass.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the outputs."""
        return _Product.apply(input, self)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FrozenLinear) -> Tensor:
        ctx.layer = layer
        return nn.functional.linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return slope @ ctx.layer.weight, None
