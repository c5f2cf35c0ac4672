"""One test of a claim on the results of a scope: what it measures, and its verdict.

Where a run asks its questions in planned looks, a test is judged at each of them. Its verdict is
that of the first look that decides it, or of the last one that it has reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lowrank.claims.estimate import QUESTIONS_LIKE_THESE, Estimate, Reading
from lowrank.claims.looks import Looks, described, outlook
from lowrank.claims.scopes import Scope
from lowrank.claims.verdict_names import UNDECIDED
from lowrank.claims.verdicts import JUDGED, TRUE_OF_GUESSES, judge_test, measure

NO_LOOK = "not even the questions of the first planned look were asked"


@dataclass(frozen=True)
class Measured:
    """What a test measures.

    Attributes
    ----------
    found
        On all that was asked: an estimate, or why it measures nothing.
    looks
        The plan of its looks; None where it has none.
    at_looks
        From each look that it has reached, from 1, to what it measures there, as if that look were
        the only one.
    exist
        How many questions its benchmarks have.
    """

    found: Estimate | str
    looks: Looks | None = None
    at_looks: Mapping[int, Estimate] = field(default_factory=dict)
    exist: int = 0


def measure_in(test: Mapping[str, Any], scope: Scope) -> Measured:
    """Return what a test measures on the results of a scope.

    A test has a plan if its scope has one, of all the benchmarks that it compares.

    Parameters
    ----------
    test
        See `lowrank.claims.verdicts.measure`.
    """
    evidence = scope.evidence.get(test["kind"])
    found = measure(test, evidence)
    looks = scope.looks
    if looks is None or evidence is None or isinstance(found, str) or not found.benchmarks:
        return Measured(found)
    if not set(found.benchmarks) <= set(looks.numbers):
        return Measured(found)
    study = evidence.study(test["arguments"]["study"])
    is_compared = study.configurations["decomposition"].isin(found.configurations)
    counts = study.questions_of(list(is_compared.to_numpy().nonzero()[0]), found.benchmarks)
    reached = looks.reached({benchmark: asked for benchmark, (asked, _) in counts.items()})
    made = {
        look: measure(test, scope.at_look(test["kind"], look)) for look in range(1, reached + 1)
    }
    return Measured(
        found,
        looks,
        {look: own for look, own in made.items() if not isinstance(own, str)},
        sum(available for _, available in counts.values()),
    )


def judge_measured(
    test: Mapping[str, Any],
    measured: Measured,
    tests: int,
    unfit: str = "",
    is_named: bool = True,
) -> dict[str, Any]:
    """Return the verdict on a test, at its looks where it has a plan.

    Parameters
    ----------
    test, tests, unfit, is_named
        As `lowrank.claims.verdicts.judge_test` takes them.
    measured
        What `measure_in` returned.

    Returns
    -------
    What `judge_test` returns, and `plan`: None, also where the results cannot judge the test, or
    what `lowrank.claims.looks.described` says.
    """
    found, looks = measured.found, measured.looks
    if looks is None or isinstance(found, str) or unfit:
        return judge_test(test, found, tests, unfit, is_named) | {"plan": None}
    fractions = looks.fractions(found.benchmarks)
    look, single = 0, None
    result = judge_test(test, _before_looks(found), tests, unfit, is_named)
    for look, single in measured.at_looks.items():
        stretched = single.at_look(fractions, look)
        result = judge_test(test, stretched, tests, unfit, is_named)
        if result["verdict"] != UNDECIDED:
            break
    # Guesses contradict nothing; where they have no order, they support nothing either.
    at_chance = test["at_chance"] if single and single.at_chance else JUDGED
    ahead = single and outlook(
        single, test["range"], fractions, look, tests, can_contradict=at_chance == JUDGED
    )
    is_foretold = at_chance in (JUDGED, TRUE_OF_GUESSES)
    plan = described(
        looks,
        found.benchmarks,
        look,
        ahead,
        measured.exist,
        is_open=result["verdict"] == UNDECIDED,
        is_foretold=is_foretold and not (single and single.readings[0].undecidable),
    )
    return result | {"plan": plan}


def _before_looks(found: Estimate) -> Estimate:
    """Return an estimate that decides nothing, since its first look has not been reached."""

    def barred(reading: Reading) -> Reading:
        is_sampled = reading.name == QUESTIONS_LIKE_THESE
        return replace(reading, undecidable=NO_LOOK) if is_sampled else reading

    return replace(found, readings=tuple(map(barred, found.readings)))
