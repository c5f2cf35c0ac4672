"""Calibrated factorizations against NumPy, SciPy and each other, on made weights and inputs."""

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from lowrank.base.errors import LowrankError
from lowrank.decompose.calibrated import ALPHA, FLOOR
from lowrank.decompose.layer_factors import Cut, factorize
from lowrank.decompose.moments import RunningMoments, read_moments, write_moments
from lowrank.space.methods import METHODS, Method

CALIBRATED = [
    name
    for name, own in METHODS.items()
    if own.inputs != "none" and own.scope == "tensor" and not own.factors_of
]
SHAPES = [(12, 20), (20, 12), (16, 16)]


def made(shape, tokens=200, seed=0):
    """A weight, and inputs of unequal size that are not centred."""
    rng = np.random.default_rng(seed)
    weight_OI = rng.normal(size=shape)
    spread_II = rng.normal(size=(shape[1], shape[1])) * np.geomspace(3, 0.02, shape[1])
    x_NI = rng.normal(size=(tokens, shape[1])) @ spread_II + rng.normal(size=shape[1])
    return weight_OI, x_NI


def moments_of(x_NI, pieces=3):
    running = RunningMoments(x_NI.shape[1])
    for piece in np.array_split(x_NI, pieces):
        running.add(piece)
    return running.moments("here")


def cut_of(method, weight_OI, x_NI, rank):
    return Cut.of(1, "q", factorize(weight_OI, rank, method, "cpu", moments_of(x_NI)), rank)


def product(cut):
    return (cut.left_OR * cut.scales_R) @ cut.right_RI


def error(cut, weight_OI, x_NI):
    shift_O = 0 if cut.shift_O is None else cut.shift_O
    return np.square(x_NI @ weight_OI.T - x_NI @ product(cut).T - shift_O).sum()


def by_cholesky(weight_OI, x_NI, rank):
    """SVD-LLM as its authors have it: whiten by a Cholesky factor, truncate, turn back."""
    whitening = np.linalg.cholesky(x_NI.T @ x_NI)
    left, values, right = np.linalg.svd(weight_OI @ whitening)
    return (left[:, :rank] * values[:rank]) @ right[:rank] @ np.linalg.inv(whitening)


def by_two_decompositions(weight_OI, x_NI, rank):
    """Its second version: the root of the moment by an SVD, then an SVD of the product."""
    basis, values, _ = np.linalg.svd(x_NI.T @ x_NI)
    left, kept, right = np.linalg.svd(weight_OI @ (basis * np.sqrt(values)))
    return (left[:, :rank] * kept[:rank]) @ right[:rank] @ (basis / np.sqrt(values)).T


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [1, 5, 12])
def test_svd_llm_is_its_authors_whitening_in_both_versions(shape, rank):
    weight_OI, x_NI = made(shape)
    found = product(cut_of("svd_llm", weight_OI, x_NI, rank))
    assert np.allclose(found, by_cholesky(weight_OI, x_NI, rank), atol=1e-8)
    assert np.allclose(found, by_two_decompositions(weight_OI, x_NI, rank), atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_lord_is_the_principal_components_of_the_outputs(shape):
    """Against scikit-learn's PCA: what it gives back of an output is what the cut model says."""
    from sklearn.decomposition import PCA

    weight_OI, x_NI = made(shape)
    y_NO = x_NI @ weight_OI.T
    pca = PCA(5, svd_solver="full").fit(y_NO)
    cut = cut_of("lord", weight_OI, x_NI, 5)
    expected_NO = pca.inverse_transform(pca.transform(y_NO))
    assert np.allclose(x_NI @ product(cut).T + cut.shift_O, expected_NO, atol=1e-8)
    left_over = 1 - pca.explained_variance_ratio_.sum()
    assert cut.error == pytest.approx(np.sqrt(left_over), abs=1e-7)


def test_a_module_with_a_bias_keeps_what_feature_mimicking_keeps():
    """The authors' form: U Uᵀ(W x + b) + (I − U Uᵀ) ȳ, with b inside of ȳ."""
    weight_OI, x_NI = made((12, 20))
    bias_O = np.random.default_rng(1).normal(size=12)
    cut = cut_of("lord", weight_OI, x_NI, 4)
    outputs_NO = x_NI @ weight_OI.T + bias_O
    projection = cut.left_OR @ cut.left_OR.T
    theirs = outputs_NO @ projection + (np.eye(12) - projection) @ outputs_NO.mean(axis=0)
    assert np.allclose(x_NI @ product(cut).T + bias_O + cut.shift_O, theirs, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [1, 4, 11])
def test_each_is_the_best_of_its_kind(shape, rank):
    """The affine fit beats all others, and the linear fit beats all others without a bias."""
    weight_OI, x_NI = made(shape)
    cuts = {name: cut_of(name, weight_OI, x_NI, rank) for name in [*CALIBRATED, "svd"]}
    errors = {name: error(cut, weight_OI, x_NI) for name, cut in cuts.items()}
    biased = {name: errors.pop(name) for name in CALIBRATED if METHODS[name].has_bias}
    assert max(biased.values()) == pytest.approx(min(biased.values()))
    assert min(biased.values()) <= min(errors.values())
    assert min(errors, key=errors.get) == "svd_llm"
    rng = np.random.default_rng(2)
    best = product(cuts["svd_llm"])
    for _ in range(20):  # nothing near it is better
        left = cuts["svd_llm"].left_OR + 0.01 * rng.normal(size=(shape[0], rank))
        right = cuts["svd_llm"].right_RI + 0.01 * rng.normal(size=(rank, shape[1]))
        moved = np.square(x_NI @ (weight_OI - left @ right).T).sum()
        assert moved >= np.square(x_NI @ (weight_OI - best).T).sum()


@pytest.mark.parametrize("method", ["svd_llm", "lord"])
def test_the_error_that_is_told_is_that_of_the_outputs(method):
    weight_OI, x_NI = made((20, 12))
    y_NO = x_NI @ weight_OI.T
    centre = y_NO.mean(axis=0) if method == "lord" else 0
    for rank in (1, 6, 12):
        cut = cut_of(method, weight_OI, x_NI, rank)
        expected = error(cut, weight_OI, x_NI) / np.square(y_NO - centre).sum()
        assert cut.error == pytest.approx(np.sqrt(max(expected, 0)), abs=1e-6)


def test_asvd_truncates_the_scaled_weight():
    weight_OI, x_NI = made((12, 20))
    scale_I = np.abs(x_NI).mean(axis=0) ** ALPHA + FLOOR
    left, values, right = np.linalg.svd(weight_OI * scale_I)
    expected = (left[:, :5] * values[:5]) @ right[:5] / scale_I
    cut = cut_of("asvd", weight_OI, x_NI, 5)
    assert np.allclose(product(cut), expected)
    assert cut.error == pytest.approx(
        np.sqrt(np.square(values[5:]).sum() / np.square(values).sum())
    )


@pytest.mark.parametrize("method", CALIBRATED)
@pytest.mark.parametrize("shape", SHAPES)
def test_factors_are_cut_to_any_smaller_rank(method, shape):
    weight_OI, x_NI = made(shape)
    moments = moments_of(x_NI)
    whole = factorize(weight_OI, 9, method, "cpu", moments)
    small = factorize(weight_OI, 4, method, "cpu", moments)
    one, other = Cut.of(1, "q", whole, 4), Cut.of(1, "q", small, 4)
    assert np.allclose(product(one), product(other))
    assert one.error == pytest.approx(other.error)
    if method != "asvd":
        assert np.allclose(whole.left_OR.T @ whole.left_OR, np.eye(9))


@pytest.mark.parametrize("method", CALIBRATED)
def test_the_full_rank_changes_nothing(method):
    weight_OI, x_NI = made((12, 20))
    cut = cut_of(method, weight_OI, x_NI, 12)
    assert np.allclose(product(cut), weight_OI)
    assert cut.error == pytest.approx(0, abs=1e-6)
    assert cut.shift_O is None or np.allclose(cut.shift_O, 0, atol=1e-9)


@pytest.mark.parametrize("method", CALIBRATED)
def test_inputs_of_a_small_space_do_no_harm(method):
    """Three tokens span three directions: the outputs on them are kept by rank 3."""
    weight_OI, x_NI = made((12, 20), tokens=3)
    cut = cut_of(method, weight_OI, x_NI, 3)
    assert np.isfinite(product(cut)).all()
    if method in ("svd_llm", "lord"):
        assert error(cut, weight_OI, x_NI) == pytest.approx(0, abs=1e-8)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 99))
def test_moments_do_not_depend_on_the_pieces(tokens, size, seed):
    x_NI = np.random.default_rng(seed).normal(size=(tokens, size))
    whole, pieces = moments_of(x_NI, 1), moments_of(x_NI, 5)
    assert whole.tokens == pieces.tokens == tokens
    assert np.allclose(whole.second_moment_II, pieces.second_moment_II)
    assert np.allclose(whole.covariance(), np.cov(x_NI.T, bias=True).reshape(size, size))
    assert np.allclose(whole.mean_magnitude_I, np.abs(x_NI).mean(axis=0))


def test_moments_come_back_from_their_file(tmp_path):
    moments = moments_of(made((4, 6))[1])
    path = tmp_path / "layer-3.safetensors"
    write_moments(path, {"q": moments}, 3, 0.25)
    back = read_moments(path, 3, "q")
    assert np.array_equal(back.second_moment_II, moments.second_moment_II)
    assert (back.tokens, back.mean_I.tolist()) == (moments.tokens, moments.mean_I.tolist())
    with pytest.raises(LowrankError, match="holds layer 3, not 2"):
        read_moments(path, 2, "q")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(LowrankError, match="is not a readable file of moments"):
        read_moments(path, 3, "q")


def test_inputs_that_are_not_finite_are_refused():
    running = RunningMoments(2)
    with pytest.raises(LowrankError, match="no finite inputs at here"):
        running.moments("here")
    running.add(np.array([[np.inf, 1.0]]))
    with pytest.raises(LowrankError, match="no finite inputs at here"):
        running.moments("here")


def test_the_method_that_the_documents_add_works():
    """The two blocks as they stand there: the file, and the entry."""
    page = Path(__file__).parents[3].joinpath("docs/extending.md").read_text(encoding="utf-8")
    file, entry = re.findall(r"```python\n(.*?)```", page.partition("## A method\n")[2], re.S)[:2]
    module = {}
    exec(file, module)
    method = eval(f"{{{entry}}}", {"Method": Method})["my_method"]
    assert (method.factorization, method.inputs) == (
        "lowrank.decompose.my_method:factorize",
        "dense",
    )
    weight_OI, x_NI = made((12, 20))
    for rank in (4, 12):
        factors = module["factorize"](weight_OI, rank, "cpu", moments_of(x_NI))
        found = product(Cut.of(1, "q", factors, rank))
        expected = np.linalg.norm((weight_OI - found) * x_NI.std(axis=0))
        assert factors.relative_error(rank) == pytest.approx(
            expected / np.linalg.norm(weight_OI * x_NI.std(axis=0)), abs=1e-4
        )


def test_signs_are_fixed_and_scipy_agrees():
    weight_OI, x_NI = made((12, 20))
    factors = factorize(weight_OI, 5, "svd_llm", "cpu", moments_of(x_NI))
    largest = np.abs(factors.left_OR).argmax(axis=0)
    assert (factors.left_OR[largest, range(5)] > 0).all()
    y_NO = x_NI @ weight_OI.T
    values = scipy.linalg.eigvalsh(y_NO.T @ y_NO / len(y_NO))[::-1]
    assert np.allclose(factors.energies_R, values[:5])
    assert factors.squared_norm == pytest.approx(values.sum())
