"""Blocks of weights with a scale each, by bitsandbytes: on CPUs and on GPUs.

A weight is read row after row, and cut in blocks of one length; a block may go over the end of a
row. Each number becomes the nearest of 16 or 256 levels, times the block's largest magnitude. The
levels of `int8` are the whole numbers from −127 to 127, over 127. Those of `nf4` are quantiles of a
normal distribution (QLoRA, arXiv 2305.14314).

Shape suffixes: ``O`` outputs, ``I`` inputs, ``N`` numbers of a weight, ``B`` blocks.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lowrank.base.provenance import require_packages
from lowrank.quantize.entry import Quantization

NESTED_BLOCK = 256
"""Scales that share a scale of theirs: bitsandbytes fixes it."""

CODES = "codes"


@functools.cache
def library() -> Any:
    """Return bitsandbytes' functions.

    Raises
    ------
    LowrankError
        If it is not installed.
    """
    require_packages({"bitsandbytes": "0.50"})
    # On some processors it asks for a package of kernels that is fetched from a hub.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    import bitsandbytes.functional

    return bitsandbytes.functional


def encode(weight_OI: Tensor, how: Quantization) -> dict[str, Tensor]:
    """Return the codes and scales of a weight of 16 or 32 bits, on its device.

    Returns
    -------
    `codes`, of `int8` (out × in) and of four bits two to a byte, an odd last one with a zero; and
    `scales`, (blocks,). Nested: `scales` of 8 bits, with `nested_scales` and `offset` of theirs.
    """
    made = library()
    flat_N = weight_OI.detach().reshape(-1)
    if how.method == "int8":
        codes_N, state = made.quantize_blockwise(
            flat_N, code=levels(weight_OI.device), blocksize=how.block
        )
        return {CODES: codes_N.reshape(weight_OI.shape), "scales": state.absmax}
    # The library's way on a CPU for an odd number of columns wants a compiler.
    flat_N = torch.nn.functional.pad(flat_N, (0, flat_N.numel() % 2))
    codes, state = made.quantize_4bit(
        flat_N, blocksize=how.block, quant_type=how.method, compress_statistics=how.nested
    )
    arrays = {CODES: codes.reshape(-1), "scales": state.absmax}
    if how.nested:
        arrays |= {"nested_scales": state.state2.absmax, "offset": state.offset.reshape(1)}
    return arrays


def decode(
    arrays: Mapping[str, Tensor], shape: Sequence[int], dtype: torch.dtype, how: Quantization
) -> Tensor:
    """Return the weight, (out × in), that codes and scales stand for."""
    made = library()
    codes, scales_B = arrays[CODES], arrays["scales"]
    if how.nested:
        scales_B = made.dequantize_blockwise(
            scales_B,
            absmax=arrays["nested_scales"],
            code=_nested_levels(codes.device),
            blocksize=NESTED_BLOCK,
        )
        scales_B = scales_B + arrays["offset"]
    if how.method == "int8":
        state = made.QuantState(
            scales_B, code=levels(codes.device), blocksize=how.block, dtype=dtype
        )
        return made.dequantize_blockwise(codes, state)
    numbers = math.prod(shape)
    state = made.QuantState(
        scales_B,
        shape=torch.Size((numbers + numbers % 2,)),
        blocksize=how.block,
        quant_type=how.method,
        dtype=dtype,
    )
    flat_N = made.dequantize_4bit(codes[:, None], state).reshape(-1)
    return flat_N[:numbers].reshape(tuple(shape))


@functools.cache
def levels(device: torch.device) -> Tensor:
    """Return the 256 levels of `int8`, ascending: whole numbers over 127, zero twice."""
    steps = torch.arange(-127, 128, dtype=torch.float32) / 127
    return torch.cat([steps[:127], torch.zeros(1), steps[127:]]).to(device)


@functools.cache
def _nested_levels(device: torch.device) -> Tensor:
    """Return the levels that bitsandbytes quantizes scales to."""
    return library().create_dynamic_map().to(device)
