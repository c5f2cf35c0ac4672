"""Numbers, ranges and what decides a claim, as text: the same in every rendering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lowrank.claims.estimate import (
    QUESTIONS_LIKE_THESE,
    THESE_WORKLOADS,
    THIS_TEST_SET,
    WORKLOADS_LIKE_THESE,
)
from lowrank.claims.verdict_names import NOT_TESTABLE


def measured(test: Mapping[str, Any]) -> str:
    """Return what a test measured: value, unit and 95% interval; empty if it measured nothing."""
    if "value" not in test:
        return ""
    return f"{_number(test['value'])}{_unit(test)} {interval(test)}".rstrip()


def expected(test: Mapping[str, Any]) -> str:
    """Return the range that supports a test, with its unit."""
    return _range(test) + _unit(test)


def looked(test: Mapping[str, Any]) -> str:
    """Return at which planned look a test stands, what it needs, and what it can detect.

    Empty where its questions were not asked in planned looks.

    Parameters
    ----------
    test
        What `lowrank.claims.judging.judge_measured` returned.
    """
    plan = test.get("plan")
    if not plan:
        return ""
    texts = [f"look {plan['look']} of {plan['looks']}"]
    if plan["look"]:
        texts[0] += f", its interval {plan['stretch']:.3g} times that of one look"
    given_up = "given up: " if plan["given_up"] else ""
    needs = needed(plan["needs"], plan["planned"][-1], plan["exist"], plan["endless"])
    if needs:
        texts.append(given_up + needs)
    elif plan["given_up"]:
        texts.append("no look is left")
    if plan["detects"] is not None:
        texts.append(f"the last look detects {_number(plan['detects'])}{_unit(test)}")
    return "; ".join(texts)


def needed(needs: int | None, planned: int, exist: int, endless: bool) -> str:
    """Return how many questions a test needs, and how many there are; empty if nobody can say.

    Parameters
    ----------
    needs
        The questions that it needs, if that is known.
    planned
        The questions of the last look.
    exist
        The questions that there are.
    endless
        Whether no number of questions would do.
    """
    if endless:
        return "no number of questions decides it, if its number stays"
    if needs is None:
        return ""
    if needs <= planned:
        return f"needs about {needs:,} questions, {exist:,} exist"
    about = f"{round(needs, 2 - len(str(needs))):,}"  # a prediction has two digits
    return f"needs about {about} questions, the last look has {planned:,}, {exist:,} exist"


_OTHER = {
    THIS_TEST_SET: QUESTIONS_LIKE_THESE,
    THESE_WORKLOADS: WORKLOADS_LIKE_THESE,
}


def otherwise(verdict: str, reading: str, verdict_like_these: str | None) -> str:
    """Return what a claim is on other questions or workloads, where that is another verdict.

    Parameters
    ----------
    verdict, reading
        The verdict, and what it was read on.
    verdict_like_these
        The verdict on others like these; None where there is no such reading.

    Returns
    -------
    `undecided on questions like these`, say; empty where it is the same.
    """
    if verdict_like_these in (None, verdict):
        return ""
    return f"{verdict_like_these} {_OTHER.get(reading, 'on others like these')}"


def judged(own: Mapping[str, Any]) -> str:
    """Return a claim's verdict with what it was read on, and the other one where it differs."""
    text = " ".join(filter(None, (own["verdict"], own["reading"])))
    return "; ".join(filter(None, (text, own["otherwise"])))


def judged_test(test: Mapping[str, Any]) -> str:
    """Return the verdict on a test, as `judged` does for a claim, with its reason.

    A number that cannot be judged says why. Of what was not measured, the reason stands in place of
    the number.
    """
    if not test["measured"]:
        return str(test["verdict"])
    if test["verdict"] == NOT_TESTABLE:
        return f"not judged: {test['reason']}"
    first, *others = test["readings"]
    texts = [f"{first['verdict']} {first['reading']}"]
    texts += [
        f"{other['verdict']} {other['reading']} {interval(other)}".rstrip()
        for other in others
        if other["verdict"] != first["verdict"]
    ]
    text = "; ".join(texts)
    return f"{text} ({test['reason']})" if test["reason"] else text


def interval(reading: Mapping[str, Any]) -> str:
    """Return a 95% interval; empty where it has no width that would show."""
    low, high = map(_number, reading["interval_95"])
    return f"[{low}, {high}]" if low != high else ""


def _range(test: Mapping[str, Any]) -> str:
    low, high = test["range"]
    if low is None:
        text = f"below {high:g}"
    elif high is None:
        text = f"above {low:g}"
    else:
        text = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return _signed(text)


def deciding_words(
    tests: Sequence[Mapping[str, Any]], index: int | None, verdict: str, reason: str
) -> dict[str, Any]:
    """Return what decides a claim, as every rendering shows it.

    Parameters
    ----------
    tests
        The results of the claim's tests.
    index
        Which of them decides; None if none could be made.
    verdict
        The verdict on the claim.
    reason
        Why no test could be made; used where `index` is None.

    Returns
    -------
    `test` (the index), `says` (what the number is, in few words), `measured` (the number with its
    unit and interval), `note` (what was expected, or why the number says less than it seems) and
    `flags` (what casts doubt on it).
    """
    if index is None:
        return {"test": None, "says": "", "measured": "", "note": reason, "flags": []}
    test = tests[index]
    if test["verdict"] == NOT_TESTABLE:
        note = f"not judged: {test['reason']}"
    elif test["reason"]:
        note = test["reason"]
    elif test["verdict"] != verdict:
        missing = sum(other["verdict"] == NOT_TESTABLE for other in tests)
        note = f"{test['verdict']}, {missing} of {len(tests)} tests not judged"
    else:
        note = f"expected {_range(test)}"
    return {
        "test": index,
        "says": test["short"],
        "measured": measured(test),
        "note": note,
        "flags": [] if test["reason"] else test["flags"],
    }


def _unit(test: Mapping[str, Any]) -> str:
    unit = test["unit"]
    return unit if unit.startswith("%") or not unit else f" {unit}"


def _number(value: float) -> str:
    return _signed(f"{round(value, 9) + 0.0:.3g}")  # what rounding left of nothing is nothing


def _signed(numbers: str) -> str:
    return numbers.replace("-", "−")
