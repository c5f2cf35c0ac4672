"""From an estimate and the range that a claim allows to a verdict.

A test is *supported* if its 95% interval lies in the range, *contradicted* if an interval outside
of it still does not touch the range, and *undecided* otherwise. The bound of a range that is open
to the other side is not allowed itself, so an effect of exactly nothing supports no order. A claim
of several tests is supported only if all of them are, and contradicted if one is; since one of many
is outside by chance more often than one alone, the interval that contradicts has level 1 - 0.05/m
where m of its tests can be judged (Bonferroni). Results that cannot support a claim, since one of
its tests cannot be judged on them, cannot contradict it either. What is made on a model or a device
that the claim does not speak of decides nothing about it, and has words of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lowrank.claims.estimate import LIKE_THESE, Estimate, NotTestable, Reading
from lowrank.claims.evidence import Evidence
from lowrank.claims.operators import OPERATORS
from lowrank.claims.verdict_names import (
    CONTRADICTED,
    ELSEWHERE,
    NOT_TESTABLE,
    SUPPORTED,
    TRIVIAL,
    UNDECIDED,
)

LEVEL = 0.05

ROUNDING = 1e-9
"""How far sums of equal scores may differ: less is no effect."""

AT_CHANCE = "at chance"

JUDGED, TRUE_OF_GUESSES = "judged", "trivial"
"""What becomes of a test whose results are all at chance. `judged`: the same as elsewhere.
`trivial`: it is trivially supported or undecided. With the third word, `undecided`, it is that."""

METHOD = (
    "A test compares one number with a range. It is supported if the 95% interval of the number "
    "lies inside the range. It is contradicted if the interval at level 1 − 0.05/m lies outside, "
    "where m is the number of tests of its claim that can be judged: one of many is outside by "
    "chance more often than one alone. Otherwise it is undecided. Guesses have no order, and can "
    "fall no further. Where everything that a test compares scores at chance, it is therefore "
    "never contradicted: it is trivially supported if chance alone makes it true, and undecided "
    "otherwise. At chance means that the mean over the test's benchmarks is no better than a "
    "guess, beyond its interval. A claim is supported if all its tests are, and contradicted if "
    "one is. It is trivially supported if all its tests are supported and some of them "
    "trivially. Otherwise it is undecided. So is a claim of which some tests cannot be judged: "
    "what cannot support a claim cannot contradict it. A model or a device that a claim does not "
    "speak of decides nothing: there, what it says is seen or not seen. A number that a test's "
    "model or device cannot judge is shown all the same. Intervals are not corrected across "
    "claims: of many claims at the edge of their range, about one in twenty is decided wrongly. "
    "An interval is read in up to two ways. Where every question of a test set was asked, the "
    "score on this test set has no error of sampling. On questions like these it has: that "
    "interval says what other questions of the same benchmarks would give. On these workloads, "
    "latency, energy, power and memory have the errors of their measurement; of one run each, "
    "those that the line leaves. On workloads like these they also vary between workloads. The "
    "first of the two decides. Noise adds to an absolute difference, to the largest of several "
    "numbers and to a spread: each end of their intervals is taken on the safe side. Only the "
    "interval on workloads like these says what other benchmarks would give."
)

DECIDING = (
    "Of the tests that have the claim's own verdict, the deciding one is the one whose 95% "
    "interval reaches furthest out of the range, or comes nearest to its edge if none reaches "
    "out, counted in half-widths of the interval; in the unit of the test where intervals have "
    "no width. Undecided tests that have another reason than their interval come last. Where a "
    "claim is undecided only because some of its tests cannot be judged, the deciding test is "
    "one of the others. Where none can be judged, the first that was measured is shown. Where "
    "nothing was measured, the reason stands in place of a number."
)


def judge(reading: Reading, low: float | None, high: float | None, tests: int = 1) -> str:
    """Return the verdict on one statistic, read in one way.

    Parameters
    ----------
    low, high
        Ends of the range that supports, both in it; None for an open end, and then the other one
        is not in it.
    tests
        How many tests of the claim can be judged.
    """
    if reading.undecidable:
        return UNDECIDED
    inner_low, inner_high = reading.interval(1 - LEVEL)
    outer_low, outer_high = reading.interval(1 - LEVEL / tests)
    if high is None:
        inside, outside = low + ROUNDING < inner_low, outer_high < low - ROUNDING
    elif low is None:
        inside, outside = inner_high < high - ROUNDING, high + ROUNDING < outer_low
    else:
        inside = low - ROUNDING <= inner_low and inner_high <= high + ROUNDING
        outside = outer_high < low - ROUNDING or high + ROUNDING < outer_low
    return SUPPORTED if inside else CONTRADICTED if outside else UNDECIDED


def measure(test: Mapping[str, Any], evidence: Evidence | None) -> Estimate | str:
    """Return what a test measures on the results of a model, or why it measures nothing.

    Parameters
    ----------
    test
        Its entry in `config/claims.yaml`: `says`, `short`, `operator`, `arguments`, `unit`,
        `range`, `at_chance`. The schema has checked its operator and arguments.
    evidence
        The results of the model that it is tested on; None if there is no such model.
    """
    if evidence is None:
        return "there is no model of this test's kind"
    try:
        return OPERATORS[test["operator"]](evidence, **test["arguments"])
    except NotTestable as answer:
        return str(answer)


def judge_test(
    test: Mapping[str, Any],
    found: Estimate | str,
    tests: int,
    unfit: str = "",
    is_named: bool = True,
) -> dict[str, Any]:
    """Judge one test of a claim.

    Parameters
    ----------
    test
        See `measure`.
    found
        What `measure` returned.
    tests
        How many tests of the claim can be judged on these results.
    unfit
        Why these results cannot judge the test, if they cannot; what it measures is shown still.
    is_named
        Whether the claim speaks of the model and the device.

    Returns
    -------
    `says`, `short`, `operator`, `unit`, `range`, `verdict`, `reason`, `flags`, `evidence`, and
    where it could be measured `value`, `interval_95`, `reading`, `readings` (of each its
    `reading`, `interval_95` and `verdict`; the first is that of the test), and of what it rests on
    `questions`, `available` (as `Estimate` has them), `configurations` and `benchmarks`.
    """
    made = {key: test[key] for key in ("says", "short", "operator", "unit")}
    made |= {"range": list(test["range"]), "flags": [], "evidence": []}
    if isinstance(found, str):
        return made | {"verdict": NOT_TESTABLE, "reason": unfit or found}
    at_chance = test["at_chance"] if found.at_chance else JUDGED
    readings = [
        {
            "reading": reading.name,
            "interval_95": list(reading.interval(1 - LEVEL)),
            "verdict": NOT_TESTABLE
            if unfit
            else _in_words(judge(reading, *test["range"], tests), at_chance, is_named),
        }
        for reading in found.readings
    ]
    reason = unfit or found.readings[0].undecidable
    if readings[0]["verdict"] == UNDECIDED and at_chance != JUDGED:
        reason = f"all {AT_CHANCE}"
    return made | {
        "verdict": readings[0]["verdict"],
        "reason": reason,
        "value": found.value,
        "interval_95": readings[0]["interval_95"],
        "reading": readings[0]["reading"],
        "readings": readings,
        "questions": found.questions,
        "available": found.available,
        "configurations": list(found.configurations),
        "benchmarks": list(found.benchmarks),
        "flags": [*found.flags, *([AT_CHANCE] if found.at_chance else [])],
        "evidence": list(found.evidence),
    }


def _in_words(verdict: str, at_chance: str, is_named: bool) -> str:
    """Return a verdict in the words for results at chance, or of what a claim does not speak of."""
    if at_chance != JUDGED:
        is_true = verdict == SUPPORTED and at_chance == TRUE_OF_GUESSES
        verdict = TRIVIAL if is_true else UNDECIDED
    return verdict if is_named else ELSEWHERE.get(verdict, verdict)


def combine(verdicts: Sequence[str], is_named: bool = True) -> str:
    """Return the verdict on a claim from those on its tests.

    What a claim speaks of can support or contradict it only if all its tests can be made. What it
    does not speak of decides nothing; there the tests that can be made say what is seen.

    Parameters
    ----------
    is_named
        Whether the claim speaks of the models and devices.
    """
    judged = [verdict for verdict in verdicts if verdict != NOT_TESTABLE]
    if not judged:
        return NOT_TESTABLE
    if is_named and len(judged) < len(verdicts):
        return UNDECIDED
    known = {ELSEWHERE.get(v, v) if not is_named else v for v in judged}
    supported, trivial, contradicted = (
        (SUPPORTED, TRIVIAL, CONTRADICTED) if is_named else ELSEWHERE.values()
    )
    if contradicted in known:
        return contradicted
    if known <= {supported, trivial}:
        return trivial if trivial in known else supported
    return UNDECIDED


def like_these(tests: Sequence[Mapping[str, Any]], is_named: bool = True) -> str | None:
    """Return the verdict on a claim as read on questions and workloads like these.

    None if no test has another reading than its first one.

    Parameters
    ----------
    tests
        The results of `judge_test`.
    is_named
        See `combine`.
    """
    verdicts, has_other = [], False
    for test in tests:
        others = [own for own in test.get("readings", [])[1:] if own["reading"] in LIKE_THESE]
        has_other |= bool(others)
        verdicts.append(others[0]["verdict"] if others else test["verdict"])
    return combine(verdicts, is_named) if has_other else None


def deciding(tests: Sequence[Mapping[str, Any]], verdict: str) -> int | None:
    """Return which test decides a claim, as `DECIDING` says; None if no test could be made.

    Parameters
    ----------
    tests
        The results of `judge_test`.
    verdict
        The verdict on the claim.
    """
    made = [index for index, test in enumerate(tests) if "value" in test]
    judged = [index for index in made if tests[index]["verdict"] != NOT_TESTABLE]
    own = [index for index in judged if tests[index]["verdict"] == verdict] or judged or made[:1]
    return min(
        own, key=lambda index: (bool(tests[index]["reason"]), *_room(tests[index])), default=None
    )


def _room(test: Mapping[str, Any]) -> tuple[float, float]:
    """Return how far an interval stays inside its range; negative outside.

    In its half-widths, and in the unit of the test.
    """
    (low, high), (lower, upper) = test["range"], test["interval_95"]
    room = min(
        lower - low if low is not None else math.inf,
        high - upper if high is not None else math.inf,
    )
    if abs(room) < ROUNDING:
        return 0.0, 0.0
    if upper - lower > ROUNDING:
        return room / (upper - lower) * 2, room
    return math.copysign(math.inf, room), room
