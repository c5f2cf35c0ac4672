"""Planned looks: the schedule, the verdict at each look, and what more questions would do."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lowrank.base.errors import LowrankError
from lowrank.base.statistics import bootstrap_means
from lowrank.claims.estimate import QUESTIONS_LIKE_THESE, THIS_TEST_SET, Estimate, Reading
from lowrank.claims.looks import BLOCK, Looks, described, outlook
from lowrank.claims.verdict_names import CONTRADICTED, SUPPORTED, UNDECIDED
from lowrank.claims.verdicts import judge
from scipy.stats import norm

DOUBLING = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
RANGES = [(0.0, None), (None, 0.0), (-2.0, 2.0)]


def normal(value, error, least=-np.inf, settled=None):
    def interval(confidence):
        reach = float(norm.ppf((1 + confidence) / 2)) * error
        return max(value - reach, least), value + reach

    reading = Reading(QUESTIONS_LIKE_THESE, interval, least=least)
    return Estimate(value, (reading,), settled=settled)


@given(
    st.one_of(st.none(), st.integers(1, 500)),
    st.integers(1, 20_000),
    st.integers(1, 7),
)
def test_looks_double_in_whole_blocks_up_to_what_exists(limit, exist, count):
    looks = Looks.doubling({"a": limit}, {"a": exist}, count)
    own = looks.numbers["a"]
    assert looks.count == len(own) == count
    assert list(own) == sorted(own) and own[0] >= 1 and own[-1] <= exist
    assert all(number % BLOCK == 0 or number == exist for number in own)
    for one, other in itertools.pairwise(own):
        assert other == min(2 * one, exist)
    assert own[0] >= min(limit or exist, exist)
    assert looks.fractions(["a"])[-1] == 1.0
    assert looks.reached({"a": exist}) == count
    assert looks.reached({"a": own[0] - 1}) == 0


def test_a_test_is_at_the_last_look_that_all_its_benchmarks_have_reached():
    looks = Looks.doubling({"a": 40, "b": 60, "c": None}, {"a": 500, "b": 200, "c": 90}, 4)
    assert looks.numbers == {"a": (40, 80, 160, 320), "b": (64, 128, 200, 200), "c": (90,) * 4}
    assert looks.at(2) == {"a": 80, "b": 128, "c": 90}
    assert looks.questions(["a", "b"]) == [104, 208, 360, 520]
    assert looks.reached({"a": 200, "b": 199}) == 2
    assert looks.reached({"a": 200, "b": 200}) == 3
    assert looks.reached({"b": 200}) == 4  # its last two looks are one
    assert looks.reached({"c": 90}) == 4
    assert looks.fractions(["c"]) == (1.0,) * 4
    # The variance of a mean of two goes as 1/a + 1/b.
    one = 1 / 320 + 1 / 200
    assert looks.fractions(["a", "b"])[0] == pytest.approx(one / (1 / 40 + 1 / 64))


@pytest.mark.parametrize("numbers", [{"a": (8, 4)}, {"a": (8,), "b": (8, 16)}, {"a": ()}])
def test_looks_that_shrink_or_differ_in_number_are_refused(numbers):
    with pytest.raises(LowrankError, match="looks:"):
        Looks(numbers)


def test_only_what_speaks_of_questions_like_these_is_stretched():
    whole = Reading(THIS_TEST_SET, lambda confidence: (1.0, 3.0))
    made = Estimate(2.0, (whole, *normal(2.0, 1.0).readings)).at_look((0.5, 1.0), 1)
    assert made.readings[0].interval(0.95) == (1.0, 3.0)
    low, high = made.readings[1].interval(0.95)
    reach = 1.977 * np.sqrt(2)  # Jennison and Turnbull (2000), Table 2.3
    assert (low, high) == pytest.approx((2 - reach, 2 + reach), abs=2e-3)


def test_a_number_that_cannot_be_below_zero_is_not_stretched_there():
    low, high = normal(0.5, 1.0, least=0.0).at_look((0.25, 1.0), 1).readings[0].interval(0.95)
    assert low == 0.0 and high > 0.5 + 3.9


@settings(deadline=None)
@given(
    st.floats(-6, 6),
    st.floats(0.05, 3),
    st.sampled_from(RANGES),
    st.integers(1, 5),
    st.integers(1, 12),
)
def test_what_is_foretold_is_what_comes_if_the_number_stays(value, error, limits, look, tests):
    """Independently: judge every later look with the same number and the error that goes 1/√n."""

    def at(k, distance=0.0):
        own = normal(value + distance, error / np.sqrt(DOUBLING[k - 1]))
        return judge(own.at_look(DOUBLING, k).readings[0], *limits, tests)

    single = normal(value, error / np.sqrt(DOUBLING[look - 1]))
    found = outlook(single, limits, DOUBLING, look, tests)
    decided = [k for k in range(look, 6) if at(k) != UNDECIDED]
    assert not decided or found.verdict == at(decided[0])
    assert (found.verdict == UNDECIDED) == np.isinf(found.share)
    expected = [k for k in range(look, 6) if DOUBLING[k - 1] >= found.share]
    near = any(abs(DOUBLING[k - 1] / found.share - 1) < 1e-6 for k in range(1, 6))
    assert near or decided == expected
    assert found.least_share <= found.share
    assert found.detects == pytest.approx((1.9776 + 0.8416) * error, rel=1e-3)


def test_a_test_that_needs_more_than_the_plan_has_says_how_many():
    """By hand: one look alone, 100 questions, an interval that is twice too wide."""
    looks = Looks({"a": (100,)})
    found = outlook(normal(1.0, 2 / 1.959964), (0.0, None), (1.0,), 1)
    made = described(looks, ["a"], 1, found, 1000, True)
    assert (made["needs"], made["decides_at"], made["given_up"]) == (400, None, True)
    assert (made["exist"], made["planned"], made["look"], made["looks"]) == (1000, [100], 1, 1)
    assert made["stretch"] == pytest.approx(1.0)
    decided = described(looks, ["a"], 1, found, 1000, False)
    assert (decided["needs"], decided["given_up"]) == (None, False)
    nothing = described(looks, ["a"], 0, None, 1000, True)
    assert (nothing["look"], nothing["bound"], nothing["detects"]) == (0, None, None)


def test_an_early_look_gives_up_only_what_one_standard_error_would_not_save():
    looks = Looks.doubling({"a": 40}, {"a": 10_000}, 5)
    fractions = looks.fractions(["a"])
    on_the_edge = outlook(normal(0.0, 8.0), (0.0, None), fractions, 1)
    assert not described(looks, ["a"], 1, on_the_edge, 10_000, True)["given_up"]
    late = outlook(normal(0.1, 2.8), (0.0, None), fractions, 4)
    made = described(looks, ["a"], 4, late, 10_000, True)
    assert made["given_up"] and made["needs"] > 640
    guessing = outlook(normal(0.1, 0.1), (-2.0, -1.0), fractions, 1, can_contradict=False)
    made = [described(looks, ["a"], look, guessing, 10_000, True) for look in range(1, 6)]
    assert [own["given_up"] for own in made] == [False] * 4 + [True]  # it may be no guess yet
    assert {(own["endless"], own["needs"], own["expects"]) for own in made} == {(True, None, None)}
    hopeless = outlook(normal(0.0, 2.8), (-1.0, 1.0), fractions, 4)
    made = [described(looks, ["a"], look, hopeless, 10_000, True) for look in range(1, 6)]
    assert [own["given_up"] for own in made] == [False, False, True, True, True]
    assert {own["endless"] for own in made} == {False}


def test_what_noise_adds_to_a_number_is_taken_off_what_is_foretold():
    """By hand: of 3.0 at a sixteenth of the plan, 2.8 is noise, which goes as 1/√n."""
    fractions = Looks.doubling({"a": 40}, {"a": 10_000}, 5).fractions(["a"])
    noisy, firm = normal(3.0, 0.7, settled=0.2), normal(3.0, 0.7)
    limits = (0.0, 1.5)
    assert outlook(firm, limits, fractions, 1).verdict == CONTRADICTED
    found = outlook(noisy, limits, fractions, 1)
    assert found.verdict == SUPPORTED
    reach = 1.9776 / np.sqrt(1 / 16) * 0.7
    edge = 0.2 + 2.8 * np.sqrt(1 / 16 / found.share) + reach / 16 / found.share
    assert edge == pytest.approx(1.5, rel=1e-4)


@pytest.mark.parametrize("share_that_differs", [0.1, 0.4])
def test_an_effect_of_nothing_is_decided_one_time_in_twenty_however_often_one_looks(
    share_that_differs,
):
    """Paired right-or-wrong answers, peeked at five looks; both wrong verdicts count."""
    rng = np.random.default_rng(3)
    numbers = Looks.doubling({"a": 16}, {"a": 10_000}, 5).numbers["a"]
    worlds, wrong, naive = 500, 0, 0
    for world in range(worlds):
        differs = rng.random(numbers[-1]) < share_that_differs
        differences_Q = np.where(differs, rng.choice([-1.0, 1.0], numbers[-1]), 0.0)
        is_wrong = is_naive = False
        for look, questions in enumerate(numbers, 1):
            values_Q1 = differences_Q[:questions, None]
            if not values_Q1.any():
                continue
            replicates_R = bootstrap_means(values_Q1, world, resamples=400)[:, 0]
            made = Estimate.from_replicates(values_Q1.mean(axis=0), replicates_R, False)
            is_naive |= judge(made.readings[0], 0, None) in (SUPPORTED, CONTRADICTED)
            stretched = made.at_look(DOUBLING, look).readings[0]
            is_wrong |= judge(stretched, 0, None) in (SUPPORTED, CONTRADICTED)
        wrong += is_wrong
        naive += is_naive
    assert wrong / worlds < 0.05 + 2 * np.sqrt(0.05 * 0.95 / worlds)
    assert naive / worlds > 0.12
