"""From an estimate and the range that a claim allows to a verdict.

A test is *supported* if its 95% interval lies in the range, *contradicted* if an interval outside
of it still does not touch the range, and *undecided* otherwise: at this number of questions both
readings fit. A claim of several tests is supported only if all of them are, and contradicted if one
is; since one of many is outside by chance more often than one alone, the interval that
contradicts has level 1 - 0.05/m for a claim of m tests (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lowrank.claims.evidence import Estimate, Evidence, NotTestable
from lowrank.claims.operators import OPERATORS
from lowrank.errors import LowrankError

SUPPORTED, CONTRADICTED = "supported", "contradicted"
UNDECIDED, NOT_TESTABLE = "undecided", "not testable here"
VERDICTS = (SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTABLE)

LEVEL = 0.05


def judge(estimate: Estimate, low: float | None, high: float | None, tests: int = 1) -> str:
    """Return the verdict on one statistic.

    Parameters
    ----------
    low, high
        Ends of the allowed range, both allowed; None for an open end.
    tests
        How many tests the claim has.
    """
    least = float("-inf") if low is None else low
    most = float("inf") if high is None else high
    inner_low, inner_high = estimate.interval(1 - LEVEL)
    if least <= inner_low and inner_high <= most:
        return SUPPORTED
    outer_low, outer_high = estimate.interval(1 - LEVEL / tests)
    if outer_high < least or outer_low > most:
        return CONTRADICTED
    return UNDECIDED


def run_test(test: Mapping[str, Any], evidence: Evidence | None, tests: int) -> dict[str, Any]:
    """Evaluate one test of a claim.

    Parameters
    ----------
    test
        Its entry in `config/claims.yaml`: `says`, `operator`, `arguments`, `unit`, `range`.
    evidence
        The results of the model that it is tested on; None if the run has no such model.
    tests
        How many tests the claim has.

    Returns
    -------
    `says`, `verdict`, `reason`, and where it could be tested `value`, `interval_95`, `questions`,
    `flags`, `evidence`.

    Raises
    ------
    LowrankError
        If the operator is unknown, or its arguments do not fit.
    """
    operator, arguments = test["operator"], dict(test["arguments"])
    if operator not in OPERATORS:
        raise LowrankError(f"unknown operator {operator!r}; known: {', '.join(OPERATORS)}")
    low, high = test["range"]
    made: dict[str, Any] = {
        "says": test["says"],
        "operator": operator,
        "unit": test["unit"],
        "range": [low, high],
    }
    try:
        if evidence is None:
            raise NotTestable("no model of the run is of this test's kind")
        estimate = OPERATORS[operator](evidence, **arguments)
    except NotTestable as reason:
        return made | {"verdict": NOT_TESTABLE, "reason": str(reason)}
    except TypeError as error:
        raise LowrankError(f"{operator}: {error}") from None
    return made | {
        "verdict": judge(estimate, low, high, tests),
        "reason": "",
        "value": estimate.value,
        "interval_95": list(estimate.interval(1 - LEVEL)),
        "questions": estimate.questions,
        "flags": list(estimate.flags),
        "evidence": list(estimate.evidence),
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
