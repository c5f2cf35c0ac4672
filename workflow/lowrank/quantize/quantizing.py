"""Quantize a model in place: its modules stay, and their weights are codes and scales."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from lowrank.base.errors import LowrankError
from lowrank.quantize import blockwise, spqr
from lowrank.quantize.entry import SPQR_LIKE, Quantization
from lowrank.quantize.inputs import Inputs, second_moment
from lowrank.quantize.places import Place, places
from lowrank.quantize.sizes import tensor_bytes

Arrays = dict[str, Tensor]

MARK = "_quantized"
"""An attribute of a model that is quantized."""


class Dequantized(nn.Module):
    """What a quantized parameter is when a module reads it: a weight of floating-point numbers.

    The codes take the parameter's place, and this computes the weight from them at each use.

    Parameters
    ----------
    how
        The quantization.
    shape, dtype
        Of the weight.
    arrays
        What `lowrank.quantize.blockwise.encode` returns, without the codes.
    """

    def __init__(
        self, how: Quantization, shape: Iterable[int], dtype: torch.dtype, arrays: Arrays
    ) -> None:
        super().__init__()
        self.how, self.shape, self.dtype = how, tuple(shape), dtype
        for name, array in arrays.items():
            self.register_buffer(name, array)

    def forward(self, codes: Tensor) -> Tensor:
        """Return the weight."""
        arrays = dict(self.named_buffers()) | {blockwise.CODES: codes}
        if any(
            array.is_floating_point() and array.dtype != torch.float32 for array in arrays.values()
        ):
            raise LowrankError(
                "a quantized model cannot change its number type: load it with the one it is for"
            )
        return blockwise.decode(arrays, self.shape, self.dtype, self.how)


def quantize(
    model: PreTrainedModel,
    entry: Mapping[str, Any],
    keep: dict[str, Tensor] | None = None,
    inputs: Inputs | None = None,
) -> dict[str, Any]:
    """Quantize a model in place.

    Every module stays what it is, and what reads a weight of it gets the rounded one.

    Parameters
    ----------
    model
        A dense or a compressed model, on the device and in the number type it is to be used in.
    entry
        An entry of `config/quantizations/`.
    keep
        Gets the arrays that stand for the tensors, as `{tensor}.{array}`.
    inputs
        Moments of what goes into modules, such as `lowrank.quantize.inputs.stored_inputs` returns.
        `spqr_like` feeds errors back with them; no other method has a use for them.

    Returns
    -------
    `tensors`: of each its shape, bytes and relative error. `facts`: `numbers` and `bytes` of what
    is quantized, `rest_numbers`, parameters that are not, `bits_per_number`, `relative_error` of
    all tensors together, `blocks_across_rows`, how many tensors have rows that do not end with a
    block or group, `fake`, `feeds_back`, and `seconds`. A relative error is ‖Ŵ − W‖ / ‖W‖.

    Raises
    ------
    LowrankError
        If the model is quantized already, a weight is not finite or has become so, or the method
        has no use for `inputs`.
    """
    how = Quantization.from_entry(entry)
    found = places(model, how.parts)
    if hasattr(model, MARK):
        raise LowrankError("the model is quantized already: load it anew")
    if inputs is not None and how.method != SPQR_LIKE:
        raise LowrankError(f"{how.method} has no use for moments of inputs: leave them out")
    setattr(model, MARK, True)
    start = time.perf_counter()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tensors, squares = {}, torch.zeros(2, dtype=torch.float64)
    for place in found:
        weight = place.tensor.detach()
        if not torch.isfinite(weight).all():
            raise LowrankError(f"{place.name} has a number that is not finite: nothing to quantize")
        moment = None if inputs is None else second_moment(place, inputs)
        arrays = _encode(weight, how, moment)
        install(place, arrays, how, weight.dtype)
        made = place.tensor
        if not torch.isfinite(made).all():
            raise LowrankError(
                f"{place.name} is not finite any more after {how.method}: use another method"
            )
        own = torch.tensor([(made - weight).float().norm(), weight.float().norm()]).double() ** 2
        squares += own
        tensors[place.name] = {
            "shape": list(weight.shape),
            "bytes": tensor_bytes(arrays.values()),
            "relative_error": math.sqrt(own[0] / own[1]) if own[1] else 0.0,
        }
        if keep is not None:
            keep |= {f"{place.name}.{name}": array for name, array in arrays.items()}
    numbers = sum(math.prod(tensor["shape"]) for tensor in tensors.values())
    size = sum(tensor["bytes"] for tensor in tensors.values())
    length = how.group or how.block
    facts = {
        "fake": how.is_fake,
        "feeds_back": inputs is not None,
        "numbers": numbers,
        "rest_numbers": parameters - numbers,
        "bytes": size,
        "bits_per_number": 8 * size / numbers if numbers else 0.0,
        "relative_error": math.sqrt(squares[0] / squares[1]) if squares[1] else 0.0,
        "blocks_across_rows": sum(t["shape"][1] % length != 0 for t in tensors.values()),
        "seconds": time.perf_counter() - start,
    }
    return {"tensors": tensors, "facts": facts}


def install(place: Place, arrays: Arrays, how: Quantization, dtype: torch.dtype) -> None:
    """Put what stands for a tensor in its place: codes, or the weight where it is fake."""
    old = place.tensor
    if how.is_fake:
        weight = spqr.decode(arrays, old.shape, dtype, how).to(old.device)
        made = nn.Parameter(weight, requires_grad=False)
        for module in place.modules:
            setattr(module, place.parameter, made)
        return
    scales = {name: array for name, array in arrays.items() if name != blockwise.CODES}
    codes = nn.Parameter(arrays[blockwise.CODES], requires_grad=False)
    weight = Dequantized(how, old.shape, dtype, scales)
    for module in place.modules:
        setattr(module, place.parameter, codes)
        parametrize.register_parametrization(module, place.parameter, weight, unsafe=True)


def _encode(weight: Tensor, how: Quantization, moment: Tensor | None) -> Arrays:
    if how.method == SPQR_LIKE:
        return spqr.encode(weight, how, moment)
    return blockwise.encode(weight, how)
