import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from lowrank.decompose import svd
from lowrank.decompose.svd import higher_order_orthogonal_iteration, truncated_svd
from tensorly.decomposition import tucker


def decaying(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.standard_normal((height, min(height, width))))
    right, _ = np.linalg.qr(rng.standard_normal((width, min(height, width))))
    return (left * 0.9 ** np.arange(min(height, width))) @ right.T


def product(factors: svd.Factors, rank: int) -> np.ndarray:
    return (factors.left_OR[:, :rank] * factors.scales_R[:rank]) @ factors.right_RI[:rank]


def optimum(weight: np.ndarray, rank: int) -> float:
    values = np.linalg.svd(weight, compute_uv=False)
    return float(np.sqrt(np.sum(values[rank:] ** 2)) / np.linalg.norm(weight))


MATRICES = {
    "tall, decaying": decaying(120, 70),
    "wide, decaying": decaying(60, 150),
    "square, Gaussian": np.random.default_rng(1).standard_normal((90, 90)),
    "rank 3": decaying(80, 50)[:, :3] @ decaying(3, 50),
}


@pytest.mark.parametrize("lanczos", [True, False], ids=["Lanczos", "Gram"])
@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("rank", [1, 2, 25])
def test_error_is_the_eckart_young_optimum(name, rank, lanczos, monkeypatch):
    monkeypatch.setattr(svd, "LANCZOS_FRACTION", 0.9 if lanczos else 0.0)
    weight = MATRICES[name]
    factors = truncated_svd(weight, rank)
    error = np.linalg.norm(weight - product(factors, rank)) / np.linalg.norm(weight)
    assert error == pytest.approx(optimum(weight, rank), rel=1e-9, abs=1e-7)
    assert factors.relative_error(rank) == pytest.approx(error, rel=1e-6, abs=2e-7)
    assert np.allclose(factors.left_OR.T @ factors.left_OR, np.eye(rank), atol=1e-8)
    assert np.allclose(factors.right_RI @ factors.right_RI.T, np.eye(rank), atol=1e-8)


@pytest.mark.parametrize("name", ["tall, decaying", "wide, decaying", "square, Gaussian"])
@pytest.mark.parametrize("rank", [1, 10])
def test_fast_path_equals_tensorly(name, rank):
    weight = MATRICES[name]
    core, (left, right) = tucker(weight, rank=[rank, rank])
    theirs = np.linalg.norm(weight - left @ core @ right.T)
    for method in (truncated_svd, higher_order_orthogonal_iteration):
        ours = np.linalg.norm(weight - product(method(weight, rank), rank))
        assert ours == pytest.approx(theirs, rel=1e-10)


def test_a_cut_is_as_good_as_a_factorization_of_its_own():
    weight = MATRICES["square, Gaussian"]
    large = truncated_svd(weight, 60)
    for rank in (1, 7, 59):
        own = truncated_svd(weight, rank)
        error = np.linalg.norm(weight - product(large, rank))
        assert error == pytest.approx(np.linalg.norm(weight - product(own, rank)), rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 12), st.integers(1, 12)),
        elements=st.floats(-10, 10, width=32),
    ),
    st.data(),
)
def test_any_matrix_at_any_rank(weight, data):
    rank = data.draw(st.integers(1, min(weight.shape)))
    factors = truncated_svd(weight, rank)
    values = np.linalg.svd(weight, compute_uv=False)
    best = np.sqrt(np.sum(values[rank:] ** 2))
    scale = max(np.linalg.norm(weight), 1e-30)
    assert np.linalg.norm(weight - product(factors, rank)) <= best + 1e-6 * scale


def test_equal_input_gives_equal_output():
    weight = MATRICES["tall, decaying"]
    one, two = truncated_svd(weight, 1), truncated_svd(weight.copy(), 1)
    assert np.array_equal(one.left_OR, two.left_OR)
    assert one.left_OR[np.abs(one.left_OR).argmax(), 0] > 0


@pytest.mark.parametrize("rank", [0, 71])
def test_ranks_out_of_range(rank):
    with pytest.raises(ValueError, match="outside"):
        truncated_svd(MATRICES["tall, decaying"], rank)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(value):
    weight = np.ones((4, 4))
    weight[1, 2] = value
    with pytest.raises(ValueError, match="not finite"):
        truncated_svd(weight, 1)


def test_zero_matrix():
    factors = truncated_svd(np.zeros((5, 3)), 2)
    assert factors.relative_error(2) == 0.0 and not product(factors, 2).any()
