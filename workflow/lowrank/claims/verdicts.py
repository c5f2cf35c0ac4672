"""From an estimate and the range that a claim allows to a verdict.

A test is *supported* if its 95% interval lies in the range, *contradicted* if an interval outside
of it still does not touch the range, and *undecided* otherwise: at this number of questions both
readings fit. The bound of a range that is open to the other side is not allowed itself, so an
effect of exactly nothing supports no order. A claim of several tests is supported only if all of
them are, and contradicted if one is; since one of many is outside by chance more often than one
alone, the interval that contradicts has level 1 - 0.05/m for a claim of m tests (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lowrank.claims.evidence import Estimate, Evidence, NotTestable
from lowrank.claims.operators import OPERATORS
from lowrank.claims.verdict_names import CONTRADICTED, NOT_TESTABLE, SUPPORTED, UNDECIDED

LEVEL = 0.05

ROUNDING = 1e-9
"""How far sums of equal scores may differ: less is no effect."""

AT_CHANCE = "at chance"

METHOD = (
    "A test compares one number with a range. It is supported if the 95% interval of the number "
    "lies inside the range. It is contradicted if the interval at level 1 − 0.05/m lies outside, "
    "where m is the number of tests of its claim: one of many is outside by chance more often "
    "than one alone. Otherwise it is undecided. A claim is supported if all its tests are, and "
    "contradicted if one is. A claim that is neither, or that can be tested only in part, is "
    "undecided. Intervals are not corrected across claims: of many claims at the edge "
    "of their range, about one in twenty is decided wrongly. For scores the benchmarks are fixed "
    "effects: an interval says what other questions of the same benchmarks would give, not what "
    "other benchmarks would. For latency, energy, power and memory an interval says how much the "
    "number varies over the workloads or the configurations that were measured. All at chance "
    "means that every score that a test compares is no better than a guess."
)

DECIDING = (
    "Of the tests that have the claim's own verdict, the deciding one is the one whose 95% "
    "interval reaches furthest out of the range, or comes nearest to its edge if none reaches out, "
    "counted in half-widths of the interval. Undecided tests that have another reason than their "
    "interval come last. Where a claim is undecided only because some of its tests could not be "
    "made, the deciding test is one of the others. Where none could be made, the reason stands in "
    "place of a number."
)


def judge(estimate: Estimate, low: float | None, high: float | None, tests: int = 1) -> str:
    """Return the verdict on one statistic.

    Parameters
    ----------
    low, high
        Ends of the range that supports, both in it; None for an open end, and then the other one
        is not in it.
    tests
        How many tests the claim has.
    """
    if estimate.undecidable:
        return UNDECIDED
    inner_low, inner_high = estimate.interval(1 - LEVEL)
    outer_low, outer_high = estimate.interval(1 - LEVEL / tests)
    if high is None:
        inside, outside = low + ROUNDING < inner_low, outer_high < low - ROUNDING
    elif low is None:
        inside, outside = inner_high < high - ROUNDING, high + ROUNDING < outer_low
    else:
        inside = low - ROUNDING <= inner_low and inner_high <= high + ROUNDING
        outside = outer_high < low - ROUNDING or high + ROUNDING < outer_low
    return SUPPORTED if inside else CONTRADICTED if outside else UNDECIDED


def run_test(
    test: Mapping[str, Any], evidence: Evidence | None, tests: int, untested: str = ""
) -> dict[str, Any]:
    """Evaluate one test of a claim.

    Parameters
    ----------
    test
        Its entry in `config/claims.yaml`: `says`, `short`, `operator`, `arguments`, `unit`,
        `range`, `needs_signal`. The schema has checked its operator and arguments.
    evidence
        The results of the model that it is tested on; None if the run has no such model.
    tests
        How many tests the claim has.
    untested
        Why no run of the workflow has the claim's studies yet, for the reason.

    Returns
    -------
    `says`, `short`, `operator`, `unit`, `range`, `studies`, `verdict`, `reason`, `flags`,
    `evidence`, and where it could be tested `value`, `interval_95`, `questions`, `device`.
    """
    made = outline(test, evidence)
    try:
        if evidence is None:
            raise NotTestable("no model of the run is of this test's kind")
        estimate = OPERATORS[test["operator"]](evidence, **test["arguments"])
    except NotTestable as answer:
        reason = f"{answer}: {untested}" if untested else str(answer)
        return made | {"verdict": NOT_TESTABLE, "reason": reason}
    verdict, reason = judge(estimate, *test["range"], tests), estimate.undecidable
    if estimate.at_chance and test["needs_signal"]:
        verdict = UNDECIDED
        reason = f"all {AT_CHANCE}"
    return made | {
        "verdict": verdict,
        "reason": reason,
        "value": estimate.value,
        "interval_95": list(estimate.interval(1 - LEVEL)),
        "questions": estimate.questions,
        "flags": [*estimate.flags, *([AT_CHANCE] if estimate.at_chance else [])],
        "evidence": list(estimate.evidence),
        "device": estimate.device,
    }


def outline(test: Mapping[str, Any], evidence: Evidence | None) -> dict[str, Any]:
    """Return what a test says of itself, before any result.

    Its study is the one that it names, or the one that was profiled.
    """
    study = test["arguments"].get("study")
    if not study and "metric" in test["arguments"] and evidence and evidence.profiles:
        study = evidence.profiles.name.partition(".")[0]
    return {
        **{key: test[key] for key in ("says", "short", "operator", "unit")},
        "range": list(test["range"]),
        "studies": [study] if study else [],
        "flags": [],
        "evidence": [],
    }


def combine(verdicts: Sequence[str]) -> str:
    """Return the verdict on a claim from those on its tests.

    What can be tested in part only is not supported: it stays undecided.
    """
    if not verdicts or set(verdicts) == {NOT_TESTABLE}:
        return NOT_TESTABLE
    if CONTRADICTED in verdicts:
        return CONTRADICTED
    return SUPPORTED if set(verdicts) == {SUPPORTED} else UNDECIDED


def deciding(tests: Sequence[Mapping[str, Any]], verdict: str) -> int | None:
    """Return which test decides a claim, as `DECIDING` says; None if no test could be made.

    Parameters
    ----------
    tests
        The results of `run_test`.
    verdict
        The verdict on the claim.
    """
    made = [index for index, test in enumerate(tests) if "value" in test]
    own = [index for index in made if tests[index]["verdict"] == verdict] or made
    return min(
        own, key=lambda index: (bool(tests[index]["reason"]), _room(tests[index])), default=None
    )


def _room(test: Mapping[str, Any]) -> float:
    """Return how far an interval stays inside its range, in its half-widths; negative outside."""
    (low, high), (lower, upper) = test["range"], test["interval_95"]
    room = min(
        lower - low if low is not None else math.inf,
        high - upper if high is not None else math.inf,
    )
    if abs(room) < ROUNDING:
        return 0.0
    return room / (upper - lower) * 2 if upper - lower > ROUNDING else math.copysign(math.inf, room)
