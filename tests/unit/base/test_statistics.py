import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lowrank.base.statistics import bootstrap_p_values, holm, mean_interval


@given(st.integers(1, 500), st.data())
def test_right_or_wrong_scores_get_wilson(count, data):
    right = data.draw(st.integers(0, count))
    low, high = mean_interval([1.0] * right + [0.0] * (count - right))
    z, p = 1.959963984540054, right / count  # Wilson (1927), in closed form
    centre = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    assert low == pytest.approx(max(centre - half, 0), abs=1e-9)
    assert high == pytest.approx(min(centre + half, 1), abs=1e-9)


def test_nothing_right_is_not_certainty():
    low, high = mean_interval([0.0] * 8)
    assert low == 0.0 and high > 0.3


def test_graded_scores_get_a_bootstrap_near_the_normal_interval():
    scores = np.random.default_rng(0).uniform(0.2, 0.9, 400)
    low, high = mean_interval(scores)
    half = 1.96 * scores.std(ddof=1) / 20
    assert low == pytest.approx(scores.mean() - half, abs=0.005)
    assert high == pytest.approx(scores.mean() + half, abs=0.005)
    assert (low, high) == mean_interval(scores)


def test_equal_scores_and_no_scores():
    assert mean_interval([0.5, 0.5]) == (0.5, 0.5)
    with pytest.raises(ValueError, match="no score"):
        mean_interval([])


def test_holm_by_hand():
    # In order: 4 · 0.005, 3 · 0.01, 2 · 0.03, then 0.04, which must not lie below the one before.
    adjusted = holm([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == pytest.approx([1.0, 1.0])
    assert holm([]).size == 0


def test_bootstrap_p_values_count_the_smaller_tail_twice():
    replicates_RC = np.array([[-1.0, 1.0, 0.0], [-2.0, -1.0, 0.0], [-1.0, 2.0, 0.0]])
    # Tails: none of 3 at or above zero; 1 of 3 at or below; all at zero.
    assert bootstrap_p_values(replicates_RC) == pytest.approx([2 / 4, 1.0, 1.0])
    many = np.full((1999, 1), -1.0)
    assert bootstrap_p_values(many) == pytest.approx([0.001])
