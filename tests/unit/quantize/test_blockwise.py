"""Blocks with a scale each, against their definition in NumPy."""

import math

import numpy as np
import pytest
import torch
from lowrank.quantize.blockwise import decode, encode
from lowrank.quantize.entry import Quantization

# In some releases the library's own shapes go wrong: rows of 16, 32 or 48 end within a block.
SHAPES = [(5, 3), (1, 576), (40, 1), (63, 90), (20, 64), (64, 172)]
SHAPES += [(24, columns) for columns in (16, 32, 48, 80)] + [(3, 16), (5, 48), (1, 80)]
INT8 = Quantization("int8", block=64)
NF4 = Quantization("nf4", block=64)
NESTED = Quantization("nf4", block=64, nested=True)

# QLoRA, arXiv 2305.14314, appendix E.
LEVELS = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ]
)


def weight_of(shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def largest_by_block(weight, block=64):
    """The largest magnitude of each number's block, blocks going on over the ends of rows."""
    flat = np.abs(weight.double().numpy().ravel())
    starts = range(0, len(flat), block)
    return np.concatenate(
        [np.full_like(flat[i : i + block], flat[i : i + block].max()) for i in starts]
    ).reshape(weight.shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_eight_bits_are_off_by_half_a_step_at_most(shape):
    weight = weight_of(shape)
    arrays = encode(weight, INT8)
    made = decode(arrays, shape, torch.float32, INT8)
    step = largest_by_block(weight) / 127
    # The library looks its nearest level up in single precision.
    assert (np.abs((made - weight).double().numpy()) <= 0.51 * step).all()
    assert np.allclose(made.numpy() / step, np.rint(made.numpy() / step), atol=1e-3)
    assert arrays["codes"].shape == shape and arrays["codes"].dtype == torch.uint8
    assert arrays["scales"].numel() == math.ceil(math.prod(shape) / 64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_four_bits_are_the_nearest_levels_two_to_a_byte(shape, dtype):
    weight = weight_of(shape, dtype)
    arrays = encode(weight, NF4)
    scales = largest_by_block(weight)
    count = math.prod(shape)
    assert arrays["codes"].numel() == math.ceil(count / 2)
    packed = arrays["codes"].numpy()
    codes = np.stack([packed >> 4, packed & 15], axis=1).ravel()[:count].reshape(shape)
    nearest = np.abs(weight.double().numpy()[..., None] / scales[..., None] - LEVELS).argmin(-1)
    assert (codes == nearest).all()
    made = decode(arrays, shape, dtype, NF4)
    assert made.dtype == dtype and made.shape == shape
    by_hand = torch.from_numpy(LEVELS.astype(np.float32)[codes]) * torch.from_numpy(scales).float()
    assert torch.equal(made, by_hand.to(dtype))


def test_nested_scales_take_a_quarter_of_the_bytes_and_change_little():
    weight = weight_of((256, 640))
    blocks = 256 * 640 // 64
    plain, nested = (encode(weight, how) for how in (NF4, NESTED))
    assert torch.equal(plain["codes"], nested["codes"])
    assert plain["scales"].nbytes == 4 * blocks
    sizes = {name: nested[name].nbytes for name in ("scales", "nested_scales", "offset")}
    assert sizes == {"scales": blocks, "nested_scales": 4 * blocks // 256, "offset": 4}
    both = [
        decode(arrays, weight.shape, torch.float32, how)
        for arrays, how in ((plain, NF4), (nested, NESTED))
    ]
    off = (both[0] - both[1]).norm() / both[0].norm()
    assert 0 < off < 0.01


@pytest.mark.parametrize("how", [INT8, NF4, NESTED])
def test_zeros_stay_zeros(how):
    weight = torch.zeros(6, 70)
    assert torch.equal(decode(encode(weight, how), (6, 70), torch.float32, how), weight)
