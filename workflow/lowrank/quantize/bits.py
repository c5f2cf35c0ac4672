"""Small whole numbers without a gap between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def pack(codes_N: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """Return numbers below 2 to the `bits` as bytes, the lowest bit first: ⌈N · bits / 8⌉ bytes."""
    one_by_one = codes_N.reshape(-1, 1) >> np.arange(bits) & 1
    return np.packbits(one_by_one.astype(np.uint8), bitorder="little")


def unpack(packed: NDArray[np.uint8], count: int, bits: int) -> NDArray[np.uint8]:
    """Return the first `count` numbers of `pack`'s bytes."""
    one_by_one = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    return (one_by_one << np.arange(bits, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)
