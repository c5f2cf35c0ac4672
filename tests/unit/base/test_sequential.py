"""Bounds of planned looks, against published constants, simulation and the joint normal law."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lowrank.base.sequential import critical_values, inflation, stretch
from scipy.stats import multivariate_normal, norm

DOUBLING = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)


def equal(looks):
    return [(look + 1) / looks for look in range(looks)]


@pytest.mark.parametrize(
    ("confidence", "looks", "constant"),
    [  # Jennison and Turnbull (2000), Table 2.3
        (0.95, 1, 1.960),
        (0.95, 2, 1.977),
        (0.95, 3, 2.004),
        (0.95, 4, 2.024),
        (0.95, 5, 2.040),
        (0.95, 10, 2.087),
        (0.99, 2, 2.580),
        (0.99, 3, 2.595),
        (0.99, 4, 2.609),
        (0.99, 5, 2.621),
        (0.90, 5, 1.751),
    ],
)
def test_constants_are_the_published_ones(confidence, looks, constant):
    bounds = critical_values(equal(looks), confidence)
    assert bounds[-1] == pytest.approx(constant, abs=5e-4)
    assert bounds * np.sqrt(equal(looks)) == pytest.approx(bounds[-1])


@pytest.mark.parametrize(
    ("looks", "ratio"),
    [(2, 1.007), (3, 1.016), (4, 1.022), (5, 1.026)],  # their Table 2.4, at a power of 0.9
)
def test_a_plan_needs_few_more_questions_than_one_look(looks, ratio):
    assert inflation(equal(looks), 0.9) == pytest.approx(ratio, abs=1e-3)


def test_doubling_needs_about_one_percent_more():
    assert 1.005 < inflation(DOUBLING, 0.9) < 1.01
    assert inflation([1.0]) == pytest.approx(1.0)


def test_the_law_of_three_looks_by_another_integration():
    shares = np.array([0.2, 0.5, 1.0])
    bounds = critical_values(shares)
    correlation = np.sqrt(np.minimum.outer(shares, shares) / np.maximum.outer(shares, shares))
    law = multivariate_normal(np.zeros(3), correlation, abseps=1e-7, releps=1e-7, maxpts=2_000_000)
    inside = law.cdf(bounds, lower_limit=-bounds, rng=np.random.default_rng(0))
    assert inside == pytest.approx(0.95, abs=1e-4)


def test_noise_that_is_looked_at_five_times_is_believed_one_time_in_twenty():
    rng, times = np.random.default_rng(0), np.array(DOUBLING)
    steps = np.sqrt(np.diff(times, prepend=0))
    paths = np.cumsum(steps * rng.standard_normal((200_000, 5)), axis=1)
    seen = np.abs(paths) / np.sqrt(times)
    believed = (seen > critical_values(DOUBLING)).any(axis=1).mean()
    assert believed == pytest.approx(0.05, abs=0.0015)
    assert (seen > norm.ppf(0.975)).any(axis=1).mean() == pytest.approx(
        0.17, abs=0.003
    )  # by the bound of a single look


def test_one_look_is_stretched_by_nothing_and_equal_looks_are_one():
    assert stretch(0.95, [1.0], 1) == pytest.approx(1.0)
    assert stretch(0.95, [1.0, 1.0], 1) == stretch(0.95, [1.0, 1.0], 2) == pytest.approx(1.0)
    assert stretch(0.95, [0.5, 1.0, 1.0], 1) == pytest.approx(stretch(0.95, [0.5, 1.0], 1))
    assert stretch(0.95, DOUBLING, 5) == pytest.approx(critical_values(DOUBLING)[-1] / 1.959964)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 63), max_size=5), st.sampled_from([0.9, 0.95, 0.999]))
def test_a_later_look_is_stretched_less_and_none_is_narrower_than_one_alone(parts, confidence):
    fractions = [*sorted(part / 64 for part in parts), 1.0]
    made = [stretch(confidence, fractions, look + 1) for look in range(len(fractions))]
    assert all(one >= other - 1e-9 for one, other in itertools.pairwise(made))
    assert 1.0 - 1e-6 <= made[-1] < 1.3


@pytest.mark.parametrize("fractions", [[], [0.5], [0.5, 0.2, 1.0], [0.0, 1.0], [0.5, 1.5]])
def test_shares_that_are_no_plan_are_refused(fractions):
    with pytest.raises(ValueError, match="ascend to 1"):
        critical_values(fractions)
