"""From an interval to a verdict, and from the verdicts on tests to that on a claim."""

import itertools

import numpy as np
import pytest
from lowrank.base.statistics import percentile_interval
from lowrank.claims.estimate import (
    COUNTED,
    QUESTIONS_LIKE_THESE,
    THIS_TEST_SET,
    Contrasts,
    Estimate,
    Reading,
)
from lowrank.claims.verdict_names import (
    CONTRADICTED,
    NOT_SEEN,
    NOT_TESTABLE,
    SEEN,
    SUPPORTED,
    TRIVIAL,
    TRIVIALLY_SEEN,
    UNDECIDED,
)
from lowrank.claims.verdicts import combine, deciding, judge, judge_test, like_these
from scipy.stats import norm

TEST = {"says": "a", "short": "a", "operator": "loss", "unit": "points", "at_chance": "trivial"}


def normal(value, error):
    """A reading with a normal interval."""
    return Reading(
        QUESTIONS_LIKE_THESE,
        lambda c: (value - norm.ppf((1 + c) / 2) * error, value + norm.ppf((1 + c) / 2) * error),
    )


def exact(value):
    (reading,) = Estimate.exact(value).readings
    return reading


@pytest.mark.parametrize(
    ("value", "tests", "verdict"),
    [
        (5.0, 1, SUPPORTED),
        (0.0, 1, UNDECIDED),
        (-1.5, 1, UNDECIDED),
        (-2.1, 1, CONTRADICTED),
        (-2.1, 5, UNDECIDED),  # one of five is this far out by chance too often
        (-3.0, 5, CONTRADICTED),
    ],
)
def test_verdicts_on_a_known_error(value, tests, verdict):
    assert judge(normal(value, 1.0), 0, None, tests) == verdict


def test_an_effect_of_exactly_nothing_supports_no_order():
    nothing = exact(0.0)
    assert judge(nothing, 0, None) == UNDECIDED
    assert judge(nothing, None, 0) == UNDECIDED
    assert judge(nothing, 0, 0) == SUPPORTED
    assert judge(exact(1e-14), 0, None) == UNDECIDED  # what rounding left
    assert judge(exact(-1e-14), None, 0) == UNDECIDED
    assert judge(exact(-1e-14), 0, 0) == SUPPORTED
    assert judge(exact(0.1), 0, None) == SUPPORTED
    assert judge(exact(0.1), None, 0) == CONTRADICTED


def test_resamples_that_are_all_equal_are_no_certainty():
    (equal,) = Estimate.from_replicates(np.array([5.0]), np.full(2000, 5.0), False).readings
    assert judge(equal, 4, 6) == judge(equal, 0, 1) == UNDECIDED
    assert judge(exact(5.0), 4, 6) == SUPPORTED
    assert "resamples are equal" in equal.undecidable


def test_whole_test_sets_are_certain_of_themselves_alone():
    """Two records of them span an interval; other questions have the bootstrap's."""
    replicates_R = np.random.default_rng(0).normal(5, 1, 2000)
    made = Estimate.from_replicates(np.array([5.0, 5.5]), replicates_R, True)
    whole, sampled = made.readings
    assert (whole.name, sampled.name) == (THIS_TEST_SET, QUESTIONS_LIKE_THESE)
    assert whole.interval(0.95) == whole.interval(0.999) == (5.0, 5.5)
    low, high = sampled.interval(0.95)
    assert (low, high) == pytest.approx((5 - 1.96, 5 + 1.96), abs=0.15)
    result = judge_test(TEST | {"range": [4, 6]}, made, 1)
    assert [own["verdict"] for own in result["readings"]] == [SUPPORTED, UNDECIDED]
    assert (result["verdict"], result["reading"]) == (SUPPORTED, THIS_TEST_SET)
    assert like_these([result]) == UNDECIDED
    counted = judge_test(TEST | {"range": [4, 6]}, Estimate.exact(5.0), 1)
    assert (counted["reading"], like_these([counted])) == (COUNTED, None)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_of_equal_contrasts_is_passed_no_more_often_than_promised(sign):
    """Six true contrasts of nothing: noise picks one, and neither end may believe it."""
    rng = np.random.default_rng(1)
    above = below = naive = 0
    for _ in range(400):
        seen = rng.normal(size=(1, 6))
        contrasts = Contrasts(seen, seen + rng.normal(size=(1000, 6)), False)
        low, high = Estimate.of_largest(contrasts, sign).readings[0].interval(0.95)
        above += low > 0
        below += high < 0
        naive += percentile_interval(contrasts.replicates_RS.max(axis=1))[0] > 0
    assert above / 400 < 0.05 and below / 400 < 0.05
    assert naive / 400 > 0.2  # what percentiles of the largest replicate would believe
    # What is really apart is found: 3 standard errors above the others.
    seen = np.array([[9.0, 3.0, 0.0]])
    contrasts = Contrasts(seen, seen + rng.normal(size=(1000, 3)), False)
    made = Estimate.of_largest(contrasts, sign)
    assert made.value == (9.0 if sign > 0 else 0.0)
    low, high = made.readings[0].interval(0.95)
    assert low == pytest.approx(made.value - 2.2, abs=0.6)
    assert high == pytest.approx(made.value + 2.2, abs=0.6)


@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize("rule", ["trivial", "undecided", "judged"])
def test_what_is_at_chance_supports_trivially_or_not_at_all(rule, is_named):
    def verdict(low, high):
        made = Estimate(0.0, (normal(0.0, 1.0),), at_chance=True)
        test = TEST | {"range": [low, high], "at_chance": rule}
        return judge_test(test, made, 1, is_named=is_named)

    words = {
        ("trivial", True): (TRIVIAL, UNDECIDED, UNDECIDED),
        ("trivial", False): (TRIVIALLY_SEEN, UNDECIDED, UNDECIDED),
        ("judged", True): (SUPPORTED, CONTRADICTED, UNDECIDED),
        ("judged", False): (SEEN, NOT_SEEN, UNDECIDED),
    }.get((rule, is_named), (UNDECIDED, UNDECIDED, UNDECIDED))
    made = [verdict(-3, 3), verdict(3, 5), verdict(-1, 1)]
    assert tuple(own["verdict"] for own in made) == words
    assert made[2]["reason"] == ("" if rule == "judged" else "all at chance")
    assert all(own["flags"] == ["at chance"] for own in made)


def test_what_cannot_judge_shows_its_number_still():
    made = Estimate(5.0, (normal(5.0, 1.0),))
    result = judge_test(TEST | {"range": [0, 1]}, made, 1, unfit="another device")
    assert (result["verdict"], result["reason"]) == (NOT_TESTABLE, "another device")
    assert result["value"] == 5.0 and result["interval_95"][0] == pytest.approx(5 - 1.96, abs=0.01)
    assert {own["verdict"] for own in result["readings"]} == {NOT_TESTABLE}
    nothing = judge_test(TEST | {"range": [0, 1]}, "no study", 1)
    assert (nothing["verdict"], nothing["reason"]) == (NOT_TESTABLE, "no study")
    assert "value" not in nothing


def test_a_true_claim_at_the_edge_is_contradicted_no_more_often_than_promised():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(2000):
        verdicts = [judge(normal(value, 1.0), 0, None, 4) for value in rng.normal(0, 1, 4)]
        wrong += combine(verdicts) == CONTRADICTED
    assert wrong / 2000 < 0.05


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        ([SUPPORTED, SUPPORTED], SUPPORTED),
        ([SUPPORTED, TRIVIAL], TRIVIAL),
        ([TRIVIAL, CONTRADICTED], CONTRADICTED),
        ([TRIVIAL, UNDECIDED], UNDECIDED),
        ([SUPPORTED, UNDECIDED], UNDECIDED),
        ([SUPPORTED, NOT_TESTABLE], UNDECIDED),
        ([SUPPORTED, CONTRADICTED, NOT_TESTABLE], UNDECIDED),  # it could not be supported
        ([NOT_TESTABLE, NOT_TESTABLE], NOT_TESTABLE),
        ([], NOT_TESTABLE),
    ],
)
def test_a_claim_of_several_tests(verdicts, whole):
    assert combine(verdicts) == whole


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        ([SEEN, SEEN], SEEN),
        ([SEEN, NOT_SEEN], NOT_SEEN),
        ([SEEN, TRIVIALLY_SEEN], TRIVIALLY_SEEN),
        ([SEEN, UNDECIDED], UNDECIDED),
        ([SEEN, NOT_TESTABLE], SEEN),
        ([SUPPORTED, NOT_SEEN], NOT_SEEN),  # one model that it speaks of, one that it does not
        ([SUPPORTED, SEEN], SEEN),
        ([NOT_TESTABLE], NOT_TESTABLE),
    ],
)
def test_what_a_claim_does_not_speak_of_shows_what_is_seen(verdicts, whole):
    assert combine(verdicts, is_named=False) == whole


def test_no_claim_can_be_contradicted_where_it_cannot_be_supported():
    """Whatever the tests that can be judged say."""
    words = (SUPPORTED, TRIVIAL, CONTRADICTED, UNDECIDED, NOT_TESTABLE)
    for verdicts in itertools.product(words, repeat=3):
        best = [SUPPORTED if own != NOT_TESTABLE else own for own in verdicts]
        if combine(best) != SUPPORTED:
            assert combine(verdicts) in (UNDECIDED, NOT_TESTABLE)


def made_test(verdict, low, high, bounds, reason=""):
    """A test's result, as far as it says which test decides."""
    own = {"verdict": verdict, "reason": reason, "range": bounds, "interval_95": [low, high]}
    return own | {"value": (low + high) / 2}


MISSING = {"verdict": NOT_TESTABLE, "reason": "no such model", "range": [0, None]}


@pytest.mark.parametrize(
    ("verdict", "tests", "index"),
    [
        # Its far end is out by 3 half-widths, by 5 and by 4: the second is the clearest.
        (
            CONTRADICTED,
            [
                made_test(CONTRADICTED, -3, -1, [0, None]),
                made_test(CONTRADICTED, 15, 17, [None, 12]),
                made_test(CONTRADICTED, -16, -8, [0, 5]),
                made_test(UNDECIDED, -90, 1, [0, None]),
            ],
            1,
        ),
        # What was counted has no doubt at all.
        (
            CONTRADICTED,
            [made_test(CONTRADICTED, -30, -29, [0, None]), made_test(CONTRADICTED, 2, 2, [0, 0])],
            1,
        ),
        # The tightest of the supported: 1 of 1, 1 of 4.
        (
            SUPPORTED,
            [made_test(SUPPORTED, 1, 3, [0, None]), made_test(SUPPORTED, 1, 9, [0, 10])],
            1,
        ),
        (SUPPORTED, [made_test(SUPPORTED, 0, 0, [0, 0]), made_test(SUPPORTED, 1, 1, [0, 2])], 0),
        # The undecided test, though a supported one is tighter; one that is at chance comes last.
        (
            UNDECIDED,
            [
                made_test(SUPPORTED, 0.1, 9, [0, None]),
                made_test(UNDECIDED, -9, 1, [0, None], "all at chance"),
                made_test(UNDECIDED, -1, 3, [0, None]),
            ],
            2,
        ),
        # Undecided because one could not be made: the tightest of the others.
        (
            UNDECIDED,
            [
                MISSING,
                made_test(SUPPORTED, 5, 6, [0, None]),
                made_test(SUPPORTED, 1, 9, [0, None]),
            ],
            2,
        ),
        (NOT_TESTABLE, [MISSING, MISSING], None),
    ],
)
def test_which_test_decides(verdict, tests, index):
    assert deciding(tests, verdict) == index
