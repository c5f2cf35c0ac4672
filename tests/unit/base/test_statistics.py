"""Intervals and p-values against closed forms, exact probabilities and statsmodels."""

import math

import numpy as np
import pytest
import scipy.stats
import statsmodels.api
from hypothesis import given
from hypothesis import strategies as st
from lowrank.base.statistics import (
    AVERAGES,
    RESAMPLES,
    average_precisions,
    bootstrap_average_precision,
    bootstrap_means,
    bootstrap_p_values,
    holm,
    independent_units,
    mean_interval,
    standard_error,
)
from sklearn.metrics import average_precision_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

RNG = np.random.default_rng(0)


# --- one score ---------------------------------------------------------------------------------


@given(st.integers(1, 500), st.data())
def test_right_or_wrong_scores_get_wilson(count, data):
    right = data.draw(st.integers(0, count))
    interval = mean_interval([1.0] * right + [0.0] * (count - right))
    expected = proportion_confint(right, count, method="wilson")
    assert interval == pytest.approx(np.clip(expected, 0, 1), abs=1e-9)


def test_nothing_right_is_not_certainty():
    low, high = mean_interval([0.0] * 8)
    assert low == 0.0 and high > 0.3
    assert mean_interval([1.0] * 8) == pytest.approx((1 - high, 1.0))


def test_many_graded_scores_get_student_s_interval():
    scores = RNG.uniform(0.2, 0.9, 1000)
    expected = DescrStatsW(scores).tconfint_mean()
    assert mean_interval(scores) == pytest.approx(expected, abs=0.001)
    assert mean_interval(scores, confidence=0.5) == pytest.approx(
        DescrStatsW(scores).tconfint_mean(alpha=0.5), abs=0.001
    )


def test_equal_graded_scores_are_no_certainty():
    assert mean_interval([0.5]) == (0, 1)
    widths = [np.ptp(mean_interval([0.5] * count)) for count in (2, 10, 100)]
    assert widths[0] > 0.9 > widths[1] > 0.2 > 0.05 > widths[2] > 0.01
    for nothing in ([], [0.5, math.nan]):
        with pytest.raises(ValueError, match="no score"):
            mean_interval(nothing)


def test_few_graded_scores_cover_their_mean():
    """Of a skewed law, of which percentiles of a bootstrap cover 0.90 and Student's t 0.92."""
    drawn = np.random.default_rng(1).beta(0.3, 0.9, (2000, 10))
    covered = [low <= 0.25 <= high for low, high in map(mean_interval, drawn)]
    assert np.mean(covered) > 0.94


def test_scores_beyond_shares_get_student_s_interval():
    scores = RNG.normal(30, 5, 12)
    assert mean_interval(scores) == pytest.approx(DescrStatsW(scores).tconfint_mean())
    low, high = mean_interval([30.0])
    assert low < -1e300 and 1e300 < high < math.inf


# --- clusters ----------------------------------------------------------------------------------


def in_clusters(clusters, size, alike, rng):
    """Right-or-wrong scores, 60% right, that are alike within clusters of about one size."""
    cluster_Q = np.repeat(np.arange(clusters), rng.integers(1, 2 * size, clusters))
    a, b = 0.6 * (1 / alike - 1), 0.4 * (1 / alike - 1)
    right_Q = rng.random(len(cluster_Q)) < rng.beta(a, b, clusters)[cluster_Q]
    return right_Q.astype(float), cluster_Q


@pytest.mark.parametrize("graded", [False, True])
def test_errors_are_robust_to_clusters(graded):
    values, cluster_Q = in_clusters(30, 12, 0.2, np.random.default_rng(3))
    values = values * RNG.uniform(0.8, 1, len(values)) if graded else values
    fitted = statsmodels.api.OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": cluster_Q}
    )
    error = float(fitted.bse[0])
    assert standard_error(values, cluster_Q) == pytest.approx(error)
    assert error > 1.3 * standard_error(values)
    names = np.array([f"passage {number}" for number in cluster_Q])
    order = RNG.permutation(len(values))
    assert standard_error(values[order], names[order]) == pytest.approx(error)
    means_R = bootstrap_means(values[:, None], clusters_Q=cluster_Q)[:, 0]
    # As far as the ends of Student's interval, which the fit has for so many clusters.
    reach = scipy.stats.t.ppf(0.975, 29) * error
    assert np.ptp(np.percentile(means_R, [2.5, 97.5])) == pytest.approx(2 * reach, rel=0.05)
    assert np.ptp(mean_interval(values, cluster_Q)) == pytest.approx(2 * reach, rel=0.05)


def test_intervals_of_scores_in_clusters_cover():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(500):
        values, cluster_Q = in_clusters(40, 12, 0.2, rng)
        intervals = mean_interval(values, cluster_Q), mean_interval(values)
        covered.append([low <= 0.6 <= high for low, high in intervals])
    with_clusters, without = np.mean(covered, axis=0)
    assert with_clusters > 0.925 and without < 0.75


def test_questions_of_a_cluster_weigh_alike():
    cluster_Q = np.repeat(np.arange(12), 3)
    # What differs within clusters alone is left out by weights that are the same within each.
    within = np.tile([1.0, 0.0, -1.0], 12)
    assert np.ptp(bootstrap_means(within[:, None], clusters_Q=cluster_Q)) < 1e-12
    assert bootstrap_means(within[:, None]).std() > 0.1
    labels = np.tile([1, 0, 0], 12)
    alike = np.tile([0.9, 0.5, 0.7], 12)[:, None]
    assert np.ptp(bootstrap_average_precision(alike, labels, clusters_Q=cluster_Q)) < 1e-12


def test_too_few_clusters_are_none():
    assert list(independent_units(4)) == [0, 1, 2, 3]
    nine, ten = np.arange(40) % 9, np.arange(40) % 10
    assert list(independent_units(40, nine)) == list(range(40))
    assert list(independent_units(40, ten)) == list(ten)
    values = RNG.integers(0, 2, 40)
    assert mean_interval(values, nine) == mean_interval(values)
    # Clusters of one question each are no clusters.
    assert mean_interval(values, np.arange(40)) == mean_interval(values)


def test_equal_clusters_say_no_more_than_their_questions():
    values, cluster_Q = np.tile([1.0, 0.0], 20), np.repeat(np.arange(20), 2)
    assert standard_error(values, cluster_Q) == 0
    assert np.ptp(mean_interval(values, cluster_Q)) > np.ptp(mean_interval(values))


# --- many comparisons --------------------------------------------------------------------------


def test_holm_by_hand():
    # In order: 4 · 0.005, 3 · 0.01, 2 · 0.03, then 0.04, which must not lie below the one before.
    adjusted = holm([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == pytest.approx([1.0, 1.0])
    assert holm([]).size == 0


@pytest.mark.parametrize("count", [1, 2, 12, 60])
def test_holm_is_that_of_statsmodels(count):
    p_values = np.round(RNG.random(count) ** 3, 2)  # some are equal
    _, expected, *_ = multipletests(p_values, method="holm")
    assert holm(p_values) == pytest.approx(expected)


def test_bootstrap_p_values_count_the_smaller_tail_twice():
    replicates_RC = np.array([[-1.0, 1.0, 0.0], [-2.0, -1.0, 0.0], [-1.0, 2.0, 0.0]])
    # Tails: none of 3 at or above zero; 1 of 3 at or below; all at zero.
    assert bootstrap_p_values(replicates_RC) == pytest.approx([2 / 4, 1.0, 1.0])
    many = np.full((1999, 1), -1.0)
    assert bootstrap_p_values(many) == pytest.approx([0.001])


# --- averages ----------------------------------------------------------------------------------


def test_means_have_the_right_spread():
    values = RNG.normal(size=(200, 3))
    means = bootstrap_means(values)
    assert np.allclose(means.mean(axis=0), values.mean(axis=0), atol=0.01)
    assert np.allclose(means.std(axis=0), values.std(axis=0) / np.sqrt(200), rtol=0.03)
    equal = np.repeat(values[:, :1], 2, axis=1)
    assert np.allclose(*bootstrap_means(equal).T)
    assert np.array_equal(means, bootstrap_means(values))
    assert not np.array_equal(means, bootstrap_means(values, seed=1))
    assert bootstrap_means(values[:1]) == pytest.approx(np.tile(values[:1], (RESAMPLES, 1)))


def test_averages_are_those_of_lm_eval():
    """lm-eval divides the sums of log-likelihoods and of words; here texts are averaged."""
    rng = np.random.default_rng(0)
    words_Q = rng.integers(5, 400, 30)
    log_likelihood_QC = -rng.uniform(1, 4, (30, 2)) * words_Q[:, None]
    values_QC = -log_likelihood_QC / words_Q[:, None]
    mean_C = -log_likelihood_QC.sum(axis=0) / words_Q.sum()
    assert np.allclose(AVERAGES["perplexity"].scores(values_QC, words_Q), np.exp(mean_C))
    assert np.allclose(AVERAGES["weighted_mean"].scores(values_QC, words_Q), mean_C)
    weighted_RC = AVERAGES["weighted_mean"].replicates(values_QC, words_Q, 7, None)
    # One replicate by hand: the first weights of the same seed, and 30 texts count as few.
    drawn_Q = np.random.default_rng(7).standard_exponential(30) * words_Q
    first_C = np.average(values_QC, axis=0, weights=drawn_Q)
    factor = scipy.stats.t.ppf(0.975, 29) / scipy.stats.norm.ppf(0.975) * math.sqrt(31 / 29)
    first_C = mean_C + factor * (first_C - mean_C)
    assert np.allclose(weighted_RC[0], first_C)
    perplexity_RC = AVERAGES["perplexity"].replicates(values_QC, words_Q, 7, None)
    assert np.allclose(perplexity_RC[0], np.exp(first_C))
    equal_Q = np.full(30, 3.0)
    plain_RC = AVERAGES["mean"].replicates(values_QC, None, 7, None)
    assert np.allclose(AVERAGES["weighted_mean"].replicates(values_QC, equal_Q, 7, None), plain_RC)


def test_average_precision_is_scikit_learns():
    labels = RNG.integers(0, 2, 50)
    scores = np.round(RNG.normal(size=(50, 2)) + labels[:, None], 1)  # some are equal
    weights_RQ = RNG.exponential(size=(20, 50))
    made_RC = average_precisions(scores, labels, weights_RQ)
    for row, weights in zip(made_RC, weights_RQ, strict=True):
        for made, column in zip(row, scores.T, strict=True):
            assert made == pytest.approx(
                average_precision_score(labels, column, sample_weight=weights)
            )
    resampled = bootstrap_average_precision(scores, labels)
    whole = average_precision_score(labels, scores[:, 0])
    assert abs(np.median(resampled[:, 0]) - whole) < 0.05
    assert resampled.min() >= 0 and resampled.max() <= 1
    assert np.array_equal(resampled, bootstrap_average_precision(scores, labels))


def test_a_ranking_covers_its_average_precision():
    """The truth is that of a million pairs."""
    rng = np.random.default_rng(0)

    def ranking(count):
        labels = (rng.random(count) < 0.4).astype(int)
        return (labels + rng.normal(size=count))[:, None], labels

    scores, labels = ranking(10**6)
    truth = average_precision_score(labels, scores)
    covered = []
    for _ in range(300):
        made_R = bootstrap_average_precision(*ranking(60), resamples=500)[:, 0]
        low, high = np.percentile(made_R, [2.5, 97.5])
        covered.append(low <= truth <= high)
    assert np.mean(covered) > 0.9
