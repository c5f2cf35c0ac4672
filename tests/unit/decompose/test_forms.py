"""The pivoted form against the plain product."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lowrank.decompose.forms import pivoted, stored
from lowrank.decompose.layer_factors import Cut
from lowrank.decompose.linear import PivotedLinear
from lowrank.space.methods import METHODS


def orthonormal(rng, out, rank):
    return np.linalg.qr(rng.normal(size=(out, rank)))[0]


def unfolded(arrays):
    rows = np.concatenate([arrays["rows"], arrays["coefficients"] @ arrays["rows"]])
    made = np.empty_like(rows)
    made[arrays["order"]] = rows
    return made


@settings(deadline=None)
@given(
    st.integers(1, 24),
    st.integers(1, 24),
    st.integers(1, 24),
    st.sampled_from([0, 4, 8, 12]),
    st.integers(0, 999),
)
def test_it_is_the_same_product_with_fewer_numbers(out, in_, rank, decades, seed):
    """Also where the terms differ by twelve decades."""
    rank = min(out, in_, rank)
    rng = np.random.default_rng(seed)
    left_OR = orthonormal(rng, out, rank)
    right_RI = rng.normal(size=(rank, in_)) * np.logspace(0, -decades, rank)[:, None]
    arrays = pivoted(left_OR, right_RI)
    expected = left_OR @ right_RI
    assert np.abs(unfolded(arrays) - expected).max() <= 1e-12 * np.abs(right_RI).sum()
    assert sorted(arrays["order"]) == list(range(out))
    numbers = arrays["rows"].size + arrays["coefficients"].size
    assert numbers == rank * (out + in_) - rank**2
    assert numbers == METHODS["svd"].stored_parameters("pivoted", out, in_, rank)
    assert (numbers < out * in_) == (rank < min(out, in_))


@pytest.mark.parametrize("rank", [8, 100, 199])
def test_coefficients_stay_small(rank):
    """Pivots keep them so: 16 bits hold them, and the product of float16 is near the exact one."""
    rng = np.random.default_rng(0)
    left_OR, right_RI = orthonormal(rng, 200, rank), rng.normal(size=(rank, 300))
    arrays = pivoted(left_OR, right_RI)
    assert np.abs(arrays["coefficients"]).max(initial=0) < 10
    half = {name: array.astype(np.float16).astype(float) for name, array in arrays.items()}
    half["order"] = arrays["order"]
    exact = left_OR @ right_RI
    assert np.linalg.norm(unfolded(half) - exact) < 3e-3 * np.linalg.norm(exact)


@pytest.mark.parametrize("shift", [None, np.arange(5.0)])
def test_the_module_is_the_dense_one(shift):
    rng = np.random.default_rng(0)
    scales_R, right_RI = np.array([5.0, 1.0]), rng.normal(size=(2, 7))
    cut = Cut(1, "q", orthonormal(rng, 5, 2), scales_R, right_RI, shift, 0.0)
    arrays = {name: torch.from_numpy(own) for name, own in stored(cut, "pivoted", False).items()}
    layer = PivotedLinear(
        arrays["rows"], arrays["coefficients"], arrays["order"], arrays.get("shift")
    )
    weight = torch.tensor((cut.left_OR * scales_R) @ right_RI).float()
    assert torch.allclose(layer.weight, weight, atol=1e-5)
    x_BTI = torch.rand(2, 3, 7)
    expected = x_BTI @ weight.T + (0 if shift is None else torch.tensor(shift).float())
    assert torch.allclose(layer(x_BTI), expected, atol=1e-5)


def test_pairs_fold_their_scales_unless_there_is_a_core():
    cut = Cut(1, "q", np.eye(4, 2), np.array([3.0, 2.0]), np.ones((2, 5)), None, 0.0)
    plain, with_core = stored(cut, "pairs", False), stored(cut, "pairs", True)
    assert np.array_equal(
        plain["left"] @ plain["right"], (cut.left_OR * cut.scales_R) @ np.ones((2, 5))
    )
    assert np.array_equal(with_core["core"], np.diag([3.0, 2.0]))
    assert {array.dtype for array in with_core.values()} == {np.dtype("float32")}
