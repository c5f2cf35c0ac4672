"""Which questions are asked next: worked out by hand, and what holds of every step."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lowrank.claims.ladder import (
    GIVEN_UP,
    NO_NEED,
    NO_TIME,
    OpenTest,
    next_step,
    open_tests,
    settled_claims,
)
from lowrank.claims.looks import Looks
from lowrank.claims.verdict_names import CONTRADICTED, NOT_SEEN, SUPPORTED, UNDECIDED

LOOKS = Looks.doubling({"easy": 8, "hard": 16}, {"easy": 1000, "hard": 50}, 4)
SECONDS = {"easy": 1.0, "hard": 3.0}


def opened(claim="C1", configurations=("dense", "a"), benchmarks=("easy",), look=1, **changes):
    known = {
        "decides_at": 3,
        "expects": None,
        "needs": 32,
        "endless": False,
        "planned": 64,
        "exist": 1000,
        "given_up": False,
    } | changes
    return OpenTest(claim, f"{claim} test", "small", configurations, benchmarks, look, **known)


def step(tests, asked=None, remaining=1e6, settled=()):
    return next_step(tests, set(settled), LOOKS, asked or {}, SECONDS, remaining)


def test_the_looks_are_as_planned():
    assert LOOKS.numbers == {"easy": (8, 16, 32, 64), "hard": (16, 32, 50, 50)}


def test_only_what_an_undecided_test_compares_is_asked_one_look_more():
    made = step([opened(benchmarks=("easy", "hard"))])
    assert made.asked == {"small": {name: {"easy": 16, "hard": 32} for name in ("dense", "a")}}
    assert made.seconds == 2 * (8 * 1 + 16 * 3)
    assert not made.left


def test_what_was_asked_stays_and_is_not_paid_for_again():
    asked = {"small": {"a": {"easy": 64}, "b": {"hard": 32}}}
    made = step([opened()], asked)
    assert made.asked == {"small": {"a": {"easy": 64}, "b": {"hard": 32}, "dense": {"easy": 16}}}
    assert made.seconds == 8
    assert asked == {"small": {"a": {"easy": 64}, "b": {"hard": 32}}}


def test_what_is_settled_or_given_up_is_not_asked():
    tests = [opened("C1"), opened("C2", given_up=True, needs=9000, decides_at=None)]
    made = step(tests, settled=["C1"])
    assert [reason for _, reason in made.left] == [NO_NEED, GIVEN_UP]
    assert made.asked == {} and not made.going_on


def test_the_cheapest_to_decide_goes_first_as_far_as_the_time_goes():
    dear = opened("C1", ("dense", "a"), ("hard",))  # up to look 3: 2 · 34 questions, 204 s
    cheap = opened("C2", ("dense", "b"), ("easy",))  # 2 · 24 questions, 48 s
    assert [own.claim for own in step([dear, cheap], remaining=1000).going_on] == ["C2", "C1"]
    made = step([dear, cheap], remaining=143)
    assert [own.claim for own in made.going_on] == ["C2"]
    assert made.left == [(dear, NO_TIME)]
    assert set(made.asked["small"]) == {"dense", "b"}
    assert [own.claim for own in step([dear, cheap], remaining=252).going_on] == ["C2", "C1"]


def test_time_that_is_left_takes_a_dear_test_one_look_further():
    dear = opened("C1", ("dense", "a"), ("hard",))  # up to its next look: 2 · 16 questions, 96 s
    cheap = opened("C2", ("dense", "b"), ("easy",))
    made = step([dear, cheap], remaining=144)
    assert [own.claim for own in made.going_on] == ["C2", "C1"]
    assert made.asked["small"]["a"] == {"hard": 32}


def test_what_two_tests_ask_is_counted_once():
    first = opened("C1", ("dense", "a"))  # 48 s
    # 72 s, of which 48 are the first one's; up to its next look 24, of which 16 are.
    second = opened("C2", ("dense", "a", "b"))
    assert len(step([first, second], remaining=72).going_on) == 2
    assert len(step([first, second], remaining=56).going_on) == 2
    assert len(step([first, second], remaining=55).going_on) == 1


def test_the_claim_that_costs_least_to_decide_goes_before_cheaper_tests():
    supporting = [
        opened("C1", ("dense", name), ("easy", "hard"), expects=SUPPORTED) for name in "ab"
    ]  # 252 s each, of which 126 s are of the dense model
    against = opened("C2", ("dense", "c"), ("hard",), expects=CONTRADICTED)  # 204 s, 102 of c
    cheap = opened("C2", ("c",), expects=SUPPORTED)  # 24 s, and decides nothing by itself
    every = [cheap, *supporting, against]
    assert step(every, remaining=204).going_on == [against]
    assert step(every, remaining=480).going_on == [against, *supporting]
    assert step(every, remaining=504).going_on == [against, *supporting, cheap]
    # 378 s are not enough for the other claim: what is left goes to single tests.
    assert step(every, remaining=378).going_on == [against, cheap, supporting[0]]
    given_up = opened("C1", given_up=True, decides_at=None)
    assert step([*every, given_up], remaining=480).going_on == [against, cheap, *supporting]


def test_one_test_that_contradicts_a_claim_is_enough():
    near, far = (
        opened("C1", (name,), decides_at=look, expects=CONTRADICTED)
        for name, look in (("a", 2), ("b", 4))
    )
    assert step([far, near], remaining=8).going_on == [near]
    assert step([far, near]).going_on == [near, far]


def test_tests_of_which_nothing_is_foretold_come_last():
    dark = opened("C1", ("dense",), decides_at=None, needs=None)
    dear = opened("C2", ("dense", "a"), ("hard",))
    assert [own.claim for own in step([dark, dear]).going_on] == ["C2", "C1"]
    assert [own.claim for own in step([dark, dear], remaining=8).going_on] == ["C1"]


def test_open_tests_are_read_from_the_ledger_of_the_run():
    plan = {"model": "small", "look": 2, "decides_at": 4, "needs": 64, "exist": 1000}
    plan |= {"expects": SUPPORTED, "endless": False, "given_up": False, "planned": [8, 16, 32, 64]}
    shared = {"configurations": ["dense", "a"], "benchmarks": ["easy"]}
    tests = [
        shared | {"says": "open", "verdict": UNDECIDED, "plan": plan},
        shared | {"says": "decided", "verdict": SUPPORTED, "plan": plan},
        {"says": "without a plan", "verdict": UNDECIDED, "plan": None},
    ]
    rows = [
        {"id": name, "scopes": {"run": {"verdict": verdict, "tests": tests}, "authors": {}}}
        for name, verdict in (("C1", UNDECIDED), ("C2", CONTRADICTED), ("C3", NOT_SEEN))
    ]
    found = open_tests({"claims": rows})
    assert [(own.claim, own.says) for own in found] == [(n, "open") for n in ("C1", "C2", "C3")]
    assert found[0].configurations == ("dense", "a")
    assert (found[0].decides_at, found[0].planned) == (4, 64)
    assert settled_claims({"claims": rows}) == {"C2", "C3"}


names = st.sampled_from(["dense", "a", "b", "c"])
made_tests = st.builds(
    lambda foretold, **own: opened(decides_at=foretold[0], expects=foretold[1], **own),
    foretold=st.sampled_from([(None, None), (2, SUPPORTED), (3, CONTRADICTED), (4, SUPPORTED)]),
    claim=st.sampled_from(["C1", "C2", "C3"]),
    configurations=st.lists(names, min_size=1, unique=True).map(tuple),
    benchmarks=st.sampled_from([("easy",), ("hard",), ("easy", "hard")]),
    look=st.integers(1, 3),
    given_up=st.booleans(),
)
made_asked = st.dictionaries(names, st.fixed_dictionaries({"easy": st.sampled_from([16, 32, 64])}))


@settings(deadline=None)
@given(st.lists(made_tests, max_size=6), made_asked, st.floats(0, 500))
def test_a_step_never_takes_back_nor_asks_for_nothing(tests, asked, remaining):
    before = {"small": asked} if asked else {}
    made = step(tests, before, remaining, settled=["C3"])
    assert len(made.going_on) + len(made.left) == len(tests)
    assert made.seconds <= remaining
    wanted = {}
    for test in made.going_on:
        for name in test.configurations:
            for benchmark in test.benchmarks:
                number = LOOKS.numbers[benchmark][test.look]
                wanted[name, benchmark] = max(wanted.get((name, benchmark), 0), number)
    for name, own in made.asked.get("small", {}).items():
        for benchmark, number in own.items():
            had = asked.get(name, {}).get(benchmark, 0)
            assert number == max(had, wanted.get((name, benchmark), 0)) > 0
            assert number in LOOKS.numbers[benchmark]
    for (name, benchmark), number in wanted.items():
        first = LOOKS.numbers[benchmark][0]
        assert max(made.asked.get("small", {}).get(name, {}).get(benchmark, 0), first) >= number


@pytest.mark.parametrize("tests", [[], [opened(given_up=True)]])
def test_nothing_to_ask_leaves_everything_as_it_is(tests):
    assert step(tests, {"small": {"a": {"easy": 16}}}).asked == {"small": {"a": {"easy": 16}}}
