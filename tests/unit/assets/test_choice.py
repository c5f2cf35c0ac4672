"""The order that questions are asked in: fixed, nested, and fair to every subset."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lowrank.assets.choice import asking_order
from lowrank.base.files import read_yaml

SIZES = st.dictionaries(st.text("abc", max_size=3), st.integers(1, 60), min_size=1, max_size=8)
SAMPLING = st.sampled_from(["random", "first"])


def subsets_of(sizes, mixed=None):
    """The subset of each question, one subset after the other, or all mixed by a seed."""
    made = np.repeat(np.array(list(sizes)), list(sizes.values()))
    if mixed is not None:
        np.random.default_rng(mixed).shuffle(made)
    return made.tolist()


@given(SIZES, st.integers(0, 5), SAMPLING, st.none() | st.integers(0, 3))
@settings(deadline=None)
def test_every_question_is_asked_once(sizes, seed, sampling, mixed):
    subsets = subsets_of(sizes, mixed)
    order = asking_order(subsets, seed, sampling)
    assert sorted(order.tolist()) == list(range(len(subsets)))
    assert order.tolist() == asking_order(list(subsets), seed, sampling).tolist()


@given(SIZES, st.integers(0, 5), SAMPLING, st.none() | st.integers(0, 3))
@settings(deadline=None)
def test_each_sample_has_each_subset_s_share(sizes, seed, sampling, mixed):
    """Systematic sampling is off by less than a question a subset, at any point of the order."""
    subsets = np.array(subsets_of(sizes, mixed))
    asked = subsets[asking_order(subsets.tolist(), seed, sampling)]
    numbers = np.arange(1, len(asked) + 1)
    for name, size in sizes.items():
        share = size / len(asked)
        counts = np.cumsum(asked == name)
        assert np.abs(counts - numbers * share).max() < 1 + len(sizes) * share


@given(SIZES, st.integers(0, 5))
@settings(deadline=None)
def test_first_asks_each_subset_in_the_order_of_the_file(sizes, mixed):
    subsets = np.array(subsets_of(sizes, mixed))
    order = asking_order(subsets.tolist(), 0, "first")
    for name in sizes:
        rows = [row for row in order.tolist() if subsets[row] == name]
        assert rows == sorted(rows)


def test_first_of_one_subset_is_lm_evals_limit():
    assert asking_order([""] * 1000, 7, "first").tolist() == list(range(1000))
    assert asking_order(["a"] * 6 + ["b"] * 3, 0, "first")[:6].tolist() == [0, 6, 1, 2, 7, 3]


def test_the_seed_makes_the_order():
    orders = {tuple(asking_order([""] * 100, seed).tolist()) for seed in range(20)}
    assert len(orders) == 20
    assert len({tuple(asking_order(["a", "b"] * 50, s, "first").tolist()) for s in range(5)}) == 1


def test_the_first_questions_are_of_the_whole_file():
    """A file that is sorted by origin: its head and its tail are asked alike."""
    shares = [np.mean(asking_order([""] * 1000, seed)[:100] < 500) for seed in range(200)]
    # Hypergeometric: 100 draws of 1,000 have a standard deviation of 0.047.
    assert np.mean(shares) == pytest.approx(0.5, abs=4 * 0.047 / 200**0.5)
    assert np.std(shares) == pytest.approx(0.047, rel=0.25)


def test_a_subset_does_not_depend_on_the_seed_s_luck_with_the_others():
    """Two subsets of one size are shuffled each by itself."""
    order = asking_order(["a"] * 50 + ["b"] * 50, 1)
    of_a = [row for row in order.tolist() if row < 50]
    of_b = [row - 50 for row in order.tolist() if row >= 50]
    assert of_a != of_b != list(range(50))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mmlu_asks_every_subject_soon(seed):
    subjects = read_yaml("config/benchmarks/mmlu.yaml")["subsets"]
    assert len(subjects) == 57
    sizes = {subject: 100 + 20 * index for index, subject in enumerate(subjects)}
    subsets = np.array(subsets_of(sizes))
    order = asking_order(subsets.tolist(), seed)
    # By 1% of the order the smallest has been asked; the others began at most one question early.
    soon = len(subsets) // 100 + len(sizes) + 1
    assert set(subsets[order[:soon]]) == set(subjects)
