"""Intervals and p-values against closed forms, exact probabilities and statsmodels."""

import functools
import itertools
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
    paired_replicates,
    percentile_interval,
    pseudo_pair,
    standard_error,
)
from sklearn.metrics import average_precision_score
from statsmodels.stats.contingency_tables import mcnemar
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


# --- differences of two configurations ---------------------------------------------------------


def pairs(both, first, second, neither):
    """Answers of two configurations: how many questions both answer, the first alone, …"""
    counts = both, first, second, neither
    return np.repeat([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], counts, axis=0)


@functools.cache
def interval_of_difference(questions, first, second):
    rest = questions - first - second
    values_QC = pairs(rest // 2, first, second, rest - rest // 2)
    scores_RC = paired_replicates("mean", values_QC, None, None, "quiz", ["dense", "other"])
    low, high = percentile_interval(scores_RC[:, :1] - scores_RC[:, 1:])
    return float(low[0]), float(high[0])


def probability(holds, questions, first, second):
    """Probability of what holds of the interval of a difference, from these shares that differ."""
    found = 0.0
    for b, c in itertools.product(range(int(questions * first) + 15), repeat=2):
        chance = scipy.stats.multinomial.pmf(
            [b, c, questions - b - c], questions, [first, second, 1 - first - second]
        )
        if chance > 2e-5:
            found += chance * holds(*interval_of_difference(questions, b, c))
    return found


@pytest.mark.parametrize("questions", [40, 225])
@pytest.mark.parametrize("shares", [(0.02, 0), (0.015, 0.005), (0.03, 0), (0.015, 0.015)])
def test_intervals_cover_where_few_answers_differ(questions, shares):
    truth = shares[0] - shares[1]
    assert probability(lambda low, high: low <= truth <= high, questions, *shares) >= 0.94


@pytest.mark.parametrize("shares", [(0.02, 0), (0.025, 0.005)])
@pytest.mark.parametrize("questions", [40, 225])
def test_a_loss_at_the_bound_is_rarely_inside(questions, shares):
    assert probability(lambda low, high: low > -0.02 and high < 0.02, questions, *shares) <= 0.03


def newcombe(both, first, second, neither):
    """The paired interval of Newcombe (1998), his method 10, from his formulas."""
    n = both + first + second + neither
    margins = both + first, both + second
    one, other = (count / n for count in margins)
    (low, high), (other_low, other_high) = (
        proportion_confint(count, n, method="wilson") for count in margins
    )
    product = np.prod([*margins, neither + first, neither + second], dtype=float)
    association = both * neither - first * second
    association = max(association - n / 2, 0) if association > 0 else association
    phi = association / math.sqrt(product) if product else 0.0

    def reach(a, b):
        return math.sqrt(a**2 - 2 * phi * a * b + b**2)

    difference = one - other
    return (
        difference - reach(one - low, other_high - other),
        difference + reach(high - one, other - other_low),
    )


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (1, 1), (3, 1), (5, 0), (22, 11), (45, 45)])
def test_intervals_are_newcombe_s_and_no_narrower(counts):
    assert newcombe(36, 12, 2, 0) == pytest.approx((0.0569, 0.3404), abs=5e-5)  # as he prints it
    rest = 225 - sum(counts)
    low, high = interval_of_difference(225, *counts)
    expected = newcombe(rest // 2, *counts, rest - rest // 2)
    assert 0.98 < (high - low) / np.ptp(expected) < 1.04 + 0.6 / (1 + sum(counts) / 3)
    assert low <= (counts[0] - counts[1]) / 225 <= high


def test_no_answer_that_differs_is_the_rule_of_three():
    assert interval_of_difference(1000, 0, 0) == pytest.approx((-0.003, 0.003), abs=1e-4)


def test_the_pseudo_pair_is_one_question_more_each_way():
    first_R, second_R = (pseudo_pair(50, (1, seed)) for seed in (1, 2))
    assert first_R.mean() == pytest.approx(0, abs=5 / 50 / math.sqrt(RESAMPLES))
    assert np.var(first_R - second_R) == pytest.approx(2 / 50**2, rel=0.1)
    # Exponential less exponential is Laplace's distribution.
    law = scipy.stats.laplace(scale=1 / 50)
    assert scipy.stats.kstest(first_R - second_R, law.cdf).pvalue > 0.01


def test_a_configuration_does_not_differ_from_itself():
    values_QC = pairs(10, 3, 2, 5)[:, [0, 1, 0, 1]]
    names = ["dense", "a", "dense", "b"]
    dense, a, again, b = paired_replicates("mean", values_QC, None, None, "quiz", names).T
    assert np.abs(dense - again).max() < 1e-12
    # Another configuration is another one, though it gave the same answers.
    assert np.percentile(a - b, 97.5) == pytest.approx(3 / 20, rel=0.1)
    (other,) = paired_replicates("mean", values_QC[:, 1:2], None, None, "quiz", ["a"]).T
    assert np.abs(a - other).max() < 1e-12  # whatever else a study has
    (other,) = paired_replicates("mean", values_QC[:, 1:2], None, None, "exam", ["a"]).T
    assert abs(np.corrcoef(a, other)[0, 1]) < 0.1


def test_the_mean_over_benchmarks_covers_where_few_answers_differ():
    """Of five benchmarks of 40 questions, 2 or 3% of which differ, all of them losses."""
    rng = np.random.default_rng(0)

    @functools.cache
    def replicates(benchmark, lost):
        values_QC = pairs(20, lost, 0, 20 - lost)
        one, other = paired_replicates("mean", values_QC, None, None, benchmark, ["d", "o"]).T
        return (one - other)[:2000]

    covered = inside = 0
    shares = np.array([0.02, 0.02, 0.02, 0.03, 0.03])
    for lost_B in rng.binomial(40, shares, (1000, 5)):
        made = [replicates(f"b{number}", lost) for number, lost in enumerate(lost_B)]
        low, high = np.percentile(np.mean(made, axis=0), [2.5, 97.5])
        covered += low <= shares.mean() <= high
        inside += -shares.mean() < low and high < shares.mean()
    assert covered / 1000 >= 0.94 and inside / 1000 <= 0.03


@pytest.mark.parametrize("counts", [(10, 10), (30, 12), (25, 4)])
def test_p_values_are_mcnemar_s(counts):
    table = [[100, counts[0]], [counts[1], 80]]
    one, other = paired_replicates(
        "mean", pairs(100, *counts, 80), None, None, "quiz", ["dense", "other"]
    ).T
    made = bootstrap_p_values((one - other)[:, None])[0]
    # Between the approximation by chi-squared and the exact test, which is conservative.
    loose = mcnemar(table, exact=False, correction=False).pvalue
    strict = mcnemar(table, exact=True).pvalue
    assert 0.8 * loose < made < 1.2 * strict


def test_differences_of_graded_scores_have_student_s_interval():
    values_QC = RNG.uniform(0, 1, (15, 1)) + RNG.uniform(-0.1, 0.2, (15, 2))
    for averaging, others_Q in (("mean", None), ("weighted_mean", np.full(15, 7))):
        one, other = paired_replicates(averaging, values_QC, others_Q, None, "q", ["a", "b"]).T
        expected = DescrStatsW(values_QC[:, 0] - values_QC[:, 1]).tconfint_mean()
        made = np.percentile(one - other, [2.5, 97.5])
        assert made == pytest.approx(expected, abs=0.1 * np.ptp(expected))


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


def test_holm_can_reject_with_many_configurations():
    scores_RC = paired_replicates("mean", pairs(0, 60, 0, 40), None, None, "quiz", ["a", "b"])
    smallest = bootstrap_p_values(scores_RC[:, 1:] - scores_RC[:, :1])[0]
    assert holm([smallest] + [1.0] * 99)[0] < 0.05


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
