"""Small numbers packed without gaps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from lowrank.quantize.bits import pack, unpack


def test_three_numbers_of_three_bits_by_hand():
    # 1, 2, 3 with the lowest bit first are 100 010 110: bytes 10001011 and 0, so 0b11010001.
    assert pack(np.array([1, 2, 3]), 3).tolist() == [0b11010001, 0]


@given(
    st.integers(1, 8).flatmap(
        lambda bits: st.tuples(st.just(bits), st.lists(st.integers(0, 2**bits - 1), max_size=70))
    )
)
def test_what_is_packed_comes_back_in_as_few_bytes_as_its_bits_take(case):
    bits, numbers = case
    packed = pack(np.array(numbers, dtype=np.uint8), bits)
    assert len(packed) == -(-len(numbers) * bits // 8)
    assert unpack(packed, len(numbers), bits).tolist() == numbers
