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
from lowrank.claims.verdict_names import CONTRADICTED, NOT_SEEN, RUN_SCOPE, UNDECIDED

Asked = Mapping[str, Mapping[str, Mapping[str, int]]]
"""From a model to a configuration to a benchmark: how many of its questions to ask."""

GIVEN_UP, NO_TIME, NO_NEED = (
    "it needs more questions than the last look has",
    "the time does not suffice",
    "another test has decided its claim",
)
"""Why an undecided test is asked no further."""


@dataclass(frozen=True)
class OpenTest:
    """An undecided test, and what would decide it.

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
    needs
        The questions that it needs, or None.
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
    needs: int | None
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
            *(test["plan"][key] for key in ("look", "decides_at", "needs")),
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

    The tests that are expected to cost least go first, as far as the time goes: each is counted up
    to the look that is expected to decide it, and what several ask is counted once. What time is
    left goes to the others, counted up to their next look: a later call may go on with them. Last
    come those of which nothing can be predicted. Whatever was counted, a test goes one look further
    at a time.

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
    foretold = [test for test in waiting if test.decides_at is not None]
    dear = _take(bill, foretold, lambda test: max(test.decides_at or 0, test.look + 1), step)
    dear = _take(bill, dear, _next, step)
    dark = [test for test in waiting if test.decides_at is None]
    dark = _take(bill, dark, _next, step)
    step.left.extend((test, NO_TIME) for test in [*dear, *dark])
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

    def price(self, test: OpenTest, look: int) -> float:
        """Return the seconds that a test adds up to a look."""
        total = 0.0
        for key, wanted in test.wants(self._looks, look):
            benchmark = key[-1]
            had = max(self._counted.get(key, 0), self._looks.numbers[benchmark][0])
            total += max(wanted - had, 0) * self._seconds[benchmark]
        return total

    def take(self, test: OpenTest, look: int) -> bool:
        """Count a test up to a look, if the time suffices; return whether it does."""
        price = self.price(test, look)
        if price > self._remaining:
            return False
        self._remaining -= price
        for key, wanted in test.wants(self._looks, look):
            self._counted[key] = max(self._counted.get(key, 0), wanted)
        return True


def _take(
    bill: _Bill, tests: Sequence[OpenTest], look_of: Callable[[OpenTest], int], step: Step
) -> list[OpenTest]:
    """Let tests go on, the cheapest first, as far as the time goes; return the others."""
    waiting, dear = list(tests), []
    while waiting:
        test = min(waiting, key=lambda own: bill.price(own, look_of(own)))
        waiting.remove(test)
        if bill.take(test, look_of(test)):
            step.going_on.append(test)
        else:
            dear.append(test)
    return dear
