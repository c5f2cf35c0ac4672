import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lowrank.base.statistics import AVERAGES, bootstrap_p_values, holm, mean_interval


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


def test_averages_are_those_of_lm_eval():
    """lm-eval divides the sums of log-likelihoods and of words; here texts are averaged."""
    rng = np.random.default_rng(0)
    words_Q = rng.integers(5, 400, 30)
    log_likelihood_QC = -rng.uniform(1, 4, (30, 2)) * words_Q[:, None]
    values_QC = -log_likelihood_QC / words_Q[:, None]
    mean_C = -log_likelihood_QC.sum(axis=0) / words_Q.sum()
    assert np.allclose(AVERAGES["perplexity"].scores(values_QC, words_Q), np.exp(mean_C))
    assert np.allclose(AVERAGES["weighted_mean"].scores(values_QC, words_Q), mean_C)
    weighted_RC = AVERAGES["weighted_mean"].replicates(values_QC, words_Q, 7)
    # One replicate by hand: the first draw of the same seed.
    counts_Q = np.random.default_rng(7).multinomial(30, np.full(30, 1 / 30))
    first_C = np.average(values_QC, axis=0, weights=counts_Q * words_Q)
    assert np.allclose(weighted_RC[0], first_C)
    assert np.allclose(AVERAGES["perplexity"].replicates(values_QC, words_Q, 7)[0], np.exp(first_C))
    equal_Q = np.full(30, 3.0)
    plain_RC = AVERAGES["mean"].replicates(values_QC, None, 7)
    assert np.allclose(AVERAGES["weighted_mean"].replicates(values_QC, equal_Q, 7), plain_RC)
