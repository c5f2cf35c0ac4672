"""The ladder: which questions to ask next, so that they decide something.

A round judges the claims. Each test that is undecided, and that more questions can decide, then
goes one look further: what it compares is asked the questions of the next look. Nothing else is
asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lowrank.claims.looks import Looks
from lowrank.claims.verdict_names import CONTRADICTED, NOT_SEEN, RUN_SCOPE, SUPPORTED, UNDECIDED

Asked = Mapping[str, Mapping[str, Mapping[str, int]]]
"""From a model to a configuration to a benchmark: how many of its questions to ask."""

GIVEN_UP, NO_TIME, NO_NEED = (
    "it needs more questions than the last look has",
    "the time does not suffice",
    "another test has decided its claim",
)
"""Why an undecided test is asked no further."""

LookOf = Callable[["OpenTest"], int]
"""From a test to the look that it is counted up to."""


@dataclass(frozen=True, eq=False)
class OpenTest:
    """An undecided test, and what would decide it; two of equal content are two tests.

    Attributes
    ----------
    claim, says
        Which test it is.
    model, configurations, benchmarks
        What it compares.
    look
        The last look that it has reached.
    decides_at
        The look that is expected to decide it; None where nothing can be predicted.
    expects
        The verdict that is expected there, or None.
    needs
        The questions that it needs, or None.
    endless
        Whether no number of questions is expected to decide it.
    planned
        The questions of the last look.
    exist
        How many questions there are.
    given_up
        Whether it needs more than the last look has.
    """

    claim: str
    says: str
    model: str
    configurations: tuple[str, ...]
    benchmarks: tuple[str, ...]
    look: int
    decides_at: int | None
    expects: str | None
    needs: int | None
    endless: bool
    planned: int
    exist: int
    given_up: bool

    def wants(self, looks: Looks, look: int) -> Iterator[tuple[tuple[str, str, str], int]]:
        """Yield (model, configuration, benchmark) and the questions of a look."""
        for configuration in self.configurations:
            for benchmark in self.benchmarks:
                key = self.model, configuration, benchmark
                yield key, looks.numbers[benchmark][look - 1]


@dataclass(frozen=True)
class Step:
    """What is asked next.

    Attributes
    ----------
    asked
        The questions of each configuration, with those of earlier steps.
    going_on
        The tests that these questions may decide.
    left
        The undecided tests that are asked no further, each with the reason.
    seconds
        How long the new questions are expected to take.
    """

    asked: dict[str, dict[str, dict[str, int]]]
    going_on: list[OpenTest] = field(default_factory=list)
    left: list[tuple[OpenTest, str]] = field(default_factory=list)
    seconds: float = 0.0


def open_tests(ledger: Mapping[str, Any]) -> list[OpenTest]:
    """Return the undecided tests of a run's ledger that have a plan.

    Parameters
    ----------
    ledger
        What `lowrank.claims.ledger.judge_claims` wrote.
    """
    return [
        OpenTest(
            row["id"],
            test["says"],
            test["plan"]["model"],
            tuple(test["configurations"]),
            tuple(test["benchmarks"]),
            *(test["plan"][key] for key in ("look", "decides_at", "expects", "needs", "endless")),
            test["plan"]["planned"][-1],
            *(test["plan"][key] for key in ("exist", "given_up")),
        )
        for row in ledger["claims"]
        for test in row["scopes"][RUN_SCOPE]["tests"]
        if test.get("plan") and test["verdict"] == UNDECIDED
    ]


def settled_claims(ledger: Mapping[str, Any]) -> set[str]:
    """Return the claims that no test can change any more: one test contradicts them."""
    verdicts = {row["id"]: row["scopes"][RUN_SCOPE]["verdict"] for row in ledger["claims"]}
    return {name for name, verdict in verdicts.items() if verdict in (CONTRADICTED, NOT_SEEN)}


def next_step(
    tests: Sequence[OpenTest],
    settled: set[str],
    looks: Looks,
    asked: Asked,
    seconds: Mapping[str, float],
    remaining: float,
) -> Step:
    """Return what to ask next.

    Claims go first, those before others whose decision is expected to cost least, as far as the
    time goes. One test that contradicts a claim decides it, or else all its tests together. Each
    test is counted up to the look that is expected to decide it, and what several ask is counted
    once. What time is left goes to the other tests, the cheapest first; then to those that it
    suffices for up to their next look alone: a later call may go on with them. Last come those
    of which nothing can be predicted. Whatever was counted, a test goes one look further at a time.

    Parameters
    ----------
    tests
        The undecided tests.
    settled
        The claims that need no more tests.
    looks
        The plan.
    asked
        The questions of each configuration so far, beside those of the first look.
    seconds
        How long one question of a benchmark takes, of one configuration.
    remaining
        How many seconds there are.
    """
    step = Step({model: {c: dict(own) for c, own in of.items()} for model, of in asked.items()})
    waiting = []
    for test in tests:
        reason = NO_NEED if test.claim in settled else GIVEN_UP if test.given_up else ""
        if reason:
            step.left.append((test, reason))
        else:
            waiting.append(test)
    bill = _Bill(looks, asked, seconds, remaining)
    own = [test for test in tests if test.claim not in settled]
    deciding = _take(bill, _ways(own), _decision, one_a_claim=True)
    foretold = [[test] for test in waiting if test.decides_at and test not in deciding]
    cheap = _take(bill, foretold, _decision)
    dear = [test for test in waiting if test.decides_at and test not in [*deciding, *cheap]]
    further = _take(bill, [[test] for test in dear], _next)
    dark = [test for test in waiting if not test.decides_at]
    further += _take(bill, [[test] for test in dark], _next)
    step.going_on.extend([*deciding, *cheap, *further])
    out_of_time = [test for test in waiting if test not in step.going_on]
    step.left.extend((test, NO_TIME) for test in out_of_time)
    new = 0.0
    for test in step.going_on:
        for (model, configuration, benchmark), wanted in test.wants(looks, _next(test)):
            own = step.asked.setdefault(model, {}).setdefault(configuration, {})
            had = max(own.get(benchmark, 0), looks.numbers[benchmark][0])
            if wanted > had:
                own[benchmark] = wanted
                new += (wanted - had) * seconds[benchmark]
    return Step(step.asked, step.going_on, step.left, new)


def _next(test: OpenTest) -> int:
    return test.look + 1


def _decision(test: OpenTest) -> int:
    return max(test.decides_at or 0, _next(test))


def _ways(tests: Sequence[OpenTest]) -> list[list[OpenTest]]:
    """Return the sets of tests that are expected to decide a claim, each set by itself.

    Parameters
    ----------
    tests
        All undecided tests of the claims.
    """
    ways = []
    for claim in dict.fromkeys(test.claim for test in tests):
        own = [test for test in tests if test.claim == claim]
        ways += [[test] for test in own if test.expects == CONTRADICTED and not test.given_up]
        if all(test.expects == SUPPORTED and not test.given_up for test in own):
            ways.append(own)
    return ways


class _Bill:
    """What is counted so far: questions, and the seconds that are left.

    Parameters
    ----------
    looks, asked, seconds, remaining
        As `next_step` takes them.
    """

    def __init__(
        self, looks: Looks, asked: Asked, seconds: Mapping[str, float], remaining: float
    ) -> None:
        self._looks, self._seconds, self._remaining = looks, seconds, remaining
        self._counted = {
            (model, configuration, benchmark): number
            for model, of_each in asked.items()
            for configuration, own in of_each.items()
            for benchmark, number in own.items()
        }

    def price(self, tests: Sequence[OpenTest], look_of: LookOf) -> float:
        """Return the seconds that tests add up to their looks."""
        wanted = self._wanted(tests, look_of)
        return sum(
            max(number - max(self._counted.get(key, 0), self._looks.numbers[key[-1]][0]), 0)
            * self._seconds[key[-1]]
            for key, number in wanted.items()
        )

    def take(self, tests: Sequence[OpenTest], look_of: LookOf) -> bool:
        """Count tests up to their looks, if the time suffices; return whether it does."""
        price = self.price(tests, look_of)
        if price > self._remaining:
            return False
        self._remaining -= price
        for key, number in self._wanted(tests, look_of).items():
            self._counted[key] = max(self._counted.get(key, 0), number)
        return True

    def _wanted(
        self, tests: Sequence[OpenTest], look_of: LookOf
    ) -> dict[tuple[str, str, str], int]:
        wanted: dict[tuple[str, str, str], int] = {}
        for test in tests:
            for key, number in test.wants(self._looks, look_of(test)):
                wanted[key] = max(wanted.get(key, 0), number)
        return wanted


def _take(
    bill: _Bill, ways: Sequence[list[OpenTest]], look_of: LookOf, one_a_claim: bool = False
) -> list[OpenTest]:
    """Return the tests for which the time suffices, the cheapest first.

    Parameters
    ----------
    ways
        Tests that go on together or not at all.
    one_a_claim
        Whether a claim needs one of its ways alone.
    """
    waiting, taken = list(ways), []
    while waiting:
        way = min(waiting, key=lambda own: bill.price(own, look_of))
        waiting.remove(way)
        if bill.take(way, look_of):
            taken.extend(way)
            if one_a_claim:
                waiting = [other for other in waiting if other[0].claim != way[0].claim]
    return taken
