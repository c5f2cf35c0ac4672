"""Differences of configurations against exact probabilities, simulation and statsmodels."""

import functools
import itertools
import math
import zlib

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from lowrank.base.errors import LowrankError
from lowrank.base.paired import (
    PairedScores,
    differences_from_first,
    mean_contrasts,
    pseudo_pair,
)
from lowrank.base.statistics import (
    AVERAGES,
    RESAMPLES,
    bootstrap_means,
    bootstrap_p_values,
    holm,
    percentile_interval,
)
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

RNG = np.random.default_rng(0)
DIFFERENCE = np.array([[1.0], [-1.0]])


def scores_of(values_QC, benchmark="quiz", averaging="mean", **columns):
    names = [f"c{index}" for index in range(values_QC.shape[1])]
    return PairedScores(averaging, values_QC, benchmark, names, **columns)


def difference(values_QC, benchmark="quiz", averaging="mean", **columns):
    """Replicates of the difference of two configurations, (R,)."""
    return scores_of(values_QC, benchmark, averaging, **columns).contrasts(DIFFERENCE)[1][:, 0]


def pairs(both, first, second, neither):
    """Answers of two configurations: how many questions both answer, the first alone, …"""
    counts = both, first, second, neither
    return np.repeat([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], counts, axis=0)


@functools.cache
def interval_of_difference(questions, first, second):
    rest = questions - first - second
    values_QC = pairs(rest // 2, first, second, rest - rest // 2)
    low, high = percentile_interval(difference(values_QC))
    return float(low), float(high)


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
    first_R, second_R = pseudo_pair(50, (1, 1)).T
    assert first_R.mean() == pytest.approx(0, abs=5 / 50 / math.sqrt(RESAMPLES))
    assert np.var(first_R - second_R) == pytest.approx(2 / 50**2, rel=0.1)
    # Exponential less exponential is Laplace's distribution.
    law = scipy.stats.laplace(scale=1 / 50)
    assert scipy.stats.kstest(first_R - second_R, law.cdf).pvalue > 0.01
    assert scipy.stats.kstest(first_R + second_R, law.cdf).pvalue > 0.01


def test_a_configuration_does_not_differ_from_itself():
    names = ["dense", "a", "dense", "b"]
    values_QC = pairs(10, 3, 2, 5)[:, [0, 1, 0, 1]]
    scores = PairedScores("mean", values_QC, "quiz", names)
    score_S, replicates_RS = scores.contrasts(differences_from_first(4))
    assert score_S == pytest.approx([0, -0.05, 0, -0.05])
    assert (replicates_RS[:, [0, 2]] == 0).all()
    # Another configuration is another one, though it gave the same answers.
    _, apart_RS = scores.contrasts(np.array([[0.0], [1.0], [0.0], [-1.0]]))
    assert np.percentile(apart_RS, 97.5) == pytest.approx(3 / 20, rel=0.1)
    # Whatever else a study has, it says the same of them.
    _, other_RS = scores_of(values_QC[:, :2]).contrasts(-DIFFERENCE)
    assert np.abs(replicates_RS[:, 1:2] - other_RS).max() < 1e-12
    _, exam_RS = scores_of(values_QC[:, :2], "exam").contrasts(-DIFFERENCE)
    assert abs(np.corrcoef(exam_RS[:, 0], other_RS[:, 0])[0, 1]) < 0.1


def test_plain_replicates_have_no_noise_of_their_own():
    values_QC = pairs(10, 3, 2, 5)
    scores = scores_of(values_QC)
    seed = zlib.crc32(b"quiz")
    assert np.array_equal(scores.replicates(), bootstrap_means(values_QC, seed))
    assert scores.scores() == pytest.approx([13 / 20, 12 / 20])
    _, one_RS = scores.contrasts(np.eye(2))
    assert np.var(one_RS - scores.replicates(), axis=0) == pytest.approx([1 / 20**2] * 2, rel=0.1)


def test_means_over_benchmarks_are_plain_and_their_noise_averages():
    first, second = (scores_of(np.zeros((20, 2)), name) for name in ("a", "b"))
    value_S, replicates_RS = mean_contrasts([first, second], DIFFERENCE)
    assert value_S == pytest.approx([0])
    assert np.var(replicates_RS) == pytest.approx(2 / 20**2 / 2, rel=0.1)


@pytest.mark.parametrize("questions", [100, 1000])
@pytest.mark.parametrize("graded", [1.0, 0.5])
def test_one_graded_answer_that_differs_decides_nothing(questions, graded):
    values_QC = np.tile(np.linspace(0, 1, questions)[:, None], 2)
    values_QC[-1, 1] -= graded
    low, high = percentile_interval(difference(values_QC))
    assert low < 0 < graded / questions < high
    assert 3 < (high - low) * questions < 8


def test_no_graded_answer_that_differs_is_the_rule_of_three():
    values_QC = np.tile(RNG.uniform(size=(500, 1)), 2)
    assert percentile_interval(difference(values_QC)) == pytest.approx((-0.006, 0.006), rel=0.05)


# --- groups of configurations ------------------------------------------------------------------


def group_difference(values_QC):
    """Interval of the first configuration less the mean of the others."""
    others = values_QC.shape[1] - 1
    weights_C = np.array([1.0, *[-1 / others] * others])
    low, high = percentile_interval(scores_of(values_QC).contrasts(weights_C[:, None])[1])
    return float(low[0]), float(high[0])


@pytest.mark.parametrize("others", [1, 3, 27])
@pytest.mark.parametrize("questions", [40, 225])
def test_groups_that_err_together_are_covered(questions, others):
    """The least coverage, where each loses 1.8 to 2.9 questions of as many as were asked."""

    @functools.cache
    def interval(lost):
        values_QC = pairs(questions // 2, lost, 0, questions - questions // 2 - lost)
        return group_difference(values_QC[:, [0, *[1] * others]])

    for truth in np.linspace(1.8, 2.9, 4) / questions:
        law = scipy.stats.binom(questions, truth)
        covered = sum(
            law.pmf(lost) for lost in range(10) if interval(lost)[0] <= truth <= interval(lost)[1]
        )
        assert covered >= 0.95


def test_groups_that_err_apart_are_covered():
    rng = np.random.default_rng(1)
    truth, covered = 2.4 / 40, 0
    for _ in range(100):
        right_QC = np.concatenate([np.ones((40, 1)), rng.random((40, 8)) > truth], axis=1)
        low, high = group_difference(right_QC)
        covered += low <= truth <= high
    assert covered >= 95


def test_the_mean_over_benchmarks_covers_where_few_answers_differ():
    """Of five benchmarks of 40 questions, 2 or 3% of which differ, all of them losses."""
    rng = np.random.default_rng(0)

    @functools.cache
    def replicates(benchmark, lost):
        values_QC = pairs(20, lost, 0, 20 - lost)
        return difference(values_QC, benchmark)[:2000]

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
    made = bootstrap_p_values(difference(pairs(100, *counts, 80))[:, None])[0]
    # Between the approximation by chi-squared and the exact test, which is conservative.
    loose = mcnemar(table, exact=False, correction=False).pvalue
    strict = mcnemar(table, exact=True).pvalue
    assert 0.8 * loose < made < 1.2 * strict


def test_differences_of_scores_beyond_shares_have_student_s_interval():
    values_QC = RNG.uniform(0, 1, (15, 1)) + RNG.uniform(-0.1, 0.2, (15, 2))
    for averaging, others_Q in (("mean", None), ("weighted_mean", np.full(15, 7))):
        replicates_R = difference(values_QC, "q", averaging, others_Q=others_Q, is_share=False)
        expected = DescrStatsW(values_QC[:, 0] - values_QC[:, 1]).tconfint_mean()
        made = percentile_interval(replicates_R)
        assert made == pytest.approx(expected, abs=0.1 * np.ptp(expected))


def test_holm_can_reject_with_many_configurations():
    smallest = bootstrap_p_values(difference(pairs(0, 60, 0, 40))[:, None])[0]
    assert holm([smallest] + [1.0] * 99)[0] < 0.05


# --- configurations that were asked different questions -----------------------------------------


def asked_first(values_QC, *questions):
    """The same answers where each configuration was asked only so many of the first questions."""
    is_asked_QC = np.arange(len(values_QC))[:, None] < np.array(questions)
    return np.where(is_asked_QC, values_QC, np.nan)


def plain_replicates(values_QC, seed, weights_Q, unit_Q):
    """The replicates of the mean where all were asked the same, by its formula, (R, C)."""
    size_U, rng = np.bincount(unit_Q, weights_Q), np.random.default_rng(seed)
    sum_UC = np.zeros((len(size_U), values_QC.shape[1]))
    np.add.at(sum_UC, unit_Q, values_QC * weights_Q[:, None])
    made = []
    for _ in range(0, RESAMPLES, 100):
        drawn_RU = rng.standard_exponential((100, len(size_U)))
        made.append((drawn_RU @ sum_UC) / (drawn_RU @ size_U)[:, None])
    units = len(size_U)
    factor = scipy.stats.t.ppf(0.975, units - 1) / scipy.stats.norm.ppf(0.975)
    factor = factor * np.sqrt((units + 1) / (units - 1))
    centre_C = sum_UC.sum(axis=0) / size_U.sum()
    return centre_C + factor * (np.concatenate(made) - centre_C)


@pytest.mark.parametrize("averaging", ["mean", "weighted_mean"])
@pytest.mark.parametrize("has_clusters", [False, True])
def test_of_equal_questions_the_numbers_are_those_of_whole_columns(averaging, has_clusters):
    """To the last bit: what is new for unequal questions changes nothing here."""
    values_QC = RNG.uniform(size=(60, 5))
    words_Q = RNG.integers(1, 90, 60) if averaging == "weighted_mean" else None
    clusters_Q = np.arange(60) % 13 if has_clusters else None
    scores = scores_of(values_QC, "quiz", averaging, others_Q=words_Q, clusters_Q=clusters_Q)
    weights_Q = np.ones(60) if words_Q is None else words_Q
    unit_Q = np.arange(60) if clusters_Q is None else clusters_Q
    seed = zlib.crc32(b"quiz")
    means_RC = plain_replicates(values_QC, seed, weights_Q, unit_Q)
    assert np.array_equal(scores.replicates(), means_RC)
    weights_SC = np.array([[1.0, 0, 0, 0, 0], [-1, 1, 0, 0, 0], [0.5, 0.5, -0.25, -0.75, 0]])
    weights_CS = np.ascontiguousarray(weights_SC.T)
    value_S, replicates_RS = scores.contrasts(weights_CS)
    expected_RS = means_RC @ weights_CS
    if averaging == "mean":
        sides_2S = np.stack(
            [weights_CS.clip(min=0).sum(axis=0), weights_CS.clip(max=0).sum(axis=0)]
        )
        expected_RS = expected_RS + pseudo_pair(60, (seed, 1)) @ sides_2S
    assert np.array_equal(replicates_RS, expected_RS)
    assert np.array_equal(value_S, AVERAGES[averaging].scores(values_QC, words_Q) @ weights_CS)
    assert np.array_equal(scores.scores(), AVERAGES[averaging].scores(values_QC, words_Q))


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_contrast_is_that_of_the_complete_cases(data):
    """The value is NumPy's over the rows that all with a weight have, in any pattern."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    questions, configurations = data.draw(st.integers(2, 30)), data.draw(st.integers(2, 5))
    values_QC = rng.integers(0, 2, (questions, configurations)).astype(float)
    asked = data.draw(
        st.lists(st.integers(1, questions), min_size=configurations, max_size=configurations)
    )
    values_QC = asked_first(values_QC, *asked)[rng.permutation(questions)]
    weights_C = np.array(data.draw(st.permutations([1.0, -1.0, *[0.0] * (configurations - 2)])))
    scores = scores_of(values_QC)
    value_S, replicates_RS = scores.contrasts(weights_C[:, None])
    used = np.flatnonzero(weights_C)
    complete_QC = values_QC[:, used][~np.isnan(values_QC[:, used]).any(axis=1)]
    assert scores.common_questions(used) == len(complete_QC) == min(np.array(asked)[used])
    assert value_S[0] == pytest.approx(complete_QC.mean(axis=0) @ weights_C[used], abs=1e-12)
    assert scores.scores() == pytest.approx(np.nanmean(values_QC, axis=0), abs=1e-12)
    # Of questions that are not compared, the values do not count.
    others = np.delete(np.arange(configurations), used)
    changed_QC = values_QC.copy()
    changed_QC[:, others] = 1 - changed_QC[:, others]
    assert np.array_equal(scores_of(changed_QC).contrasts(weights_C[:, None])[1], replicates_RS)


def test_contrasts_of_unequal_questions_are_as_sure_as_their_common_questions():
    values_QC = RNG.integers(0, 2, (400, 3)).astype(float)
    scores = scores_of(asked_first(values_QC, 400, 400, 40))
    weights_CS = np.array([[1.0, -1, 0], [1, 0, -1], [0, 0, 1], [0, 1, 0]]).T
    value_S, replicates_RS = scores.contrasts(weights_CS)
    _, few_RS = scores_of(values_QC[:40]).contrasts(weights_CS)
    _, many_RS = scores_of(values_QC).contrasts(weights_CS)
    widths = [
        np.ptp(percentile_interval(made), axis=0) for made in (replicates_RS, few_RS, many_RS)
    ]
    assert widths[0] == pytest.approx(np.where([0, 1, 1, 0], widths[1], widths[2]), rel=0.05)
    mean_S = [values_QC[:rows].mean(axis=0) @ weights_CS for rows in (40, 400)]
    assert value_S == pytest.approx(np.where([0, 1, 1, 0], *mean_S))


def test_contrasts_over_nested_questions_vary_together():
    """Their covariance is that of the larger set, as of a mean and the mean of a part of it."""
    values_QC = np.tile(RNG.integers(0, 2, (400, 1)).astype(float), 2)
    many_R, few_R = scores_of(asked_first(values_QC, 400, 100)).replicates().T
    assert np.corrcoef(many_R, few_R)[0, 1] == pytest.approx(np.sqrt(100 / 400), abs=0.05)


@pytest.mark.parametrize("averaging", sorted(AVERAGES))
def test_a_part_of_the_questions_is_judged_as_if_no_others_were_there(averaging):
    """Every average; the replicates differ by the luck of their draw alone."""
    others_Q = {"label": np.arange(200) % 3 == 0, "weight": RNG.integers(1, 9, 200)}.get(
        AVERAGES[averaging].column
    )
    values_QC = RNG.uniform(size=(200, 2)) + (0 if others_Q is None else 0.2 * others_Q[:, None])
    few = scores_of(asked_first(values_QC, 200, 50), "quiz", averaging, others_Q=others_Q)
    part_Q = None if others_Q is None else others_Q[:50]
    alone = scores_of(values_QC[:50], "quiz", averaging, others_Q=part_Q)
    value_S, replicates_RS = few.contrasts(DIFFERENCE)
    alone_S, alone_RS = alone.contrasts(DIFFERENCE)
    assert value_S == pytest.approx(alone_S)
    ends, alone_ends = percentile_interval(replicates_RS), percentile_interval(alone_RS)
    assert np.ravel(ends) == pytest.approx(np.ravel(alone_ends), abs=0.04 * np.ptp(alone_ends))


def test_clusters_count_in_what_is_compared():
    """Too few of them there, and questions count one by one; else the cluster keeps its weight."""
    clusters_Q = np.repeat(np.arange(40), 10)
    values_QC = np.repeat(RNG.uniform(size=(40, 2)), 10, axis=0)
    for asked, fewest in ((390, 39), (50, 50)):
        scores = scores_of(
            asked_first(values_QC, 400, asked), clusters_Q=clusters_Q, is_share=False
        )
        found = np.std(scores.contrasts(DIFFERENCE)[1])
        differences_Q = (values_QC[:asked] @ DIFFERENCE)[:, 0]
        assert found == pytest.approx(np.std(differences_Q) / np.sqrt(fewest), rel=0.15)


def test_what_cancels_is_over_no_questions_of_others():
    values_QC = asked_first(RNG.integers(0, 2, (80, 3)).astype(float), 80, 40, 80)
    value_S, replicates_RS = scores_of(values_QC).contrasts(differences_from_first(3))
    assert value_S[0] == 0 and (replicates_RS[:, 0] == 0).all()
    # What rounding leaves of a weight is none.
    weights_C1 = np.array([[1.0], [1e-17], [-1.0]])
    value_S, _ = scores_of(values_QC).contrasts(weights_C1)
    assert value_S == pytest.approx((values_QC[:, :1] - values_QC[:, 2:]).mean(axis=0))


def test_logarithms_are_summed_on_request():
    values_QC = RNG.uniform(1, 3, (30, 2))
    scores = scores_of(values_QC, "q", "perplexity", others_Q=np.ones(30), is_share=False)
    value_S, replicates_RS = scores.contrasts(DIFFERENCE, np.log)
    assert value_S == pytest.approx((values_QC @ DIFFERENCE).mean(axis=0))
    assert np.allclose(replicates_RS, np.log(scores.replicates()) @ DIFFERENCE)


def test_what_has_no_question_in_common_is_said():
    values_QC = np.full((4, 2), np.nan)
    values_QC[:2, 0] = values_QC[2:, 1] = 1.0
    scores = scores_of(values_QC)
    assert scores.scores().tolist() == [1, 1]
    with pytest.raises(LowrankError, match="compared on quiz have no question in common"):
        scores.contrasts(DIFFERENCE)
    with pytest.raises(LowrankError, match="c1 was asked no question of quiz"):
        scores_of(values_QC[:2])
