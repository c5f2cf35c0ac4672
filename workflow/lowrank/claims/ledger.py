"""The ledger: every claim, what was expected, what was measured, and the verdict.

Verdicts are not corrected across claims, and intervals do not all speak of the same thing: see
`lowrank.claims.verdicts.METHOD`, which the ledger carries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError
from lowrank.base.files import write_json
from lowrank.base.provenance import code_digest, versions
from lowrank.claims.evidence import Evidence
from lowrank.claims.judging import Measured, judge_measured, measure_in
from lowrank.claims.kept import KeptRun, kept_judgement
from lowrank.claims.looks import PLAN_METHOD
from lowrank.claims.scopes import Scope
from lowrank.claims.verdict_names import NOT_TESTABLE, VERDICTS
from lowrank.claims.verdicts import (
    DECIDING,
    METHOD,
    combine,
    deciding,
    like_these,
)
from lowrank.claims.wording import deciding_words, expected, looked, measured, otherwise

SLICES = {"MIG", "GRID"}
"""Words in the names of slices of a GPU, which have a part of its speed and its memory."""


def judge_claims(
    claims: Mapping[str, Mapping[str, Any]],
    scopes: Sequence[Scope | KeptRun],
    figures: Mapping[str, Sequence[str]],
    output: str | Path,
) -> None:
    """Judge every claim on the results of every scope and write the ledger.

    The JSON has

    - `scopes`: of each its `scope` (a key), `title`, `short` (a short title), `holds_for` (models
      and devices), `reason` (why it has no results; empty where it has) and `counts` (from a
      verdict to the number of claims),
    - `claims`: of each its `id`, what `config/claims.yaml` says of it (`title`, `claim`, `source`,
      `named`, `allowed`, `scales`), the `digest` of what a verdict on it rests on beside results
      (see `lowrank.project.registry`), its `figures`, and `scopes`, from the name of a scope to the
      judgement on its results: `verdict`, `reading` (what its interval speaks of),
      `verdict_like_these` (of other questions or workloads, where that is another reading),
      `otherwise` (the same in words, where it differs),
      `is_named` (whether the claim speaks of what was judged), `reason`, `holds_for`, `statement`
      (all in one), `studies`, `deciding` (see `lowrank.claims.wording.deciding_words`) and `tests`
      (see `lowrank.claims.judging.judge_measured`; beside that `expected`, `measured` and `looked`
      as text, `scales`, `studies`, `is_named` and `holds_for`),
    - `method` and `deciding`: how a verdict is reached, and which test is called deciding,
    - `plan`: None, or of a run that asks its questions in planned looks `numbers`, from a benchmark
      to its questions at each look,
    - `plan_method`: how tests are judged at planned looks; empty where none is,
    - `provenance`.

    Parameters
    ----------
    claims
        The content of `config/claims.yaml`, checked, each claim with its `digest`.
    scopes
        The results that judge them, in the order of the columns.
    figures
        From a figure's or table's name to the files that this run makes of it.
    output
        The JSON to write.

    Raises
    ------
    LowrankError
        If the results do not fit a claim's tests; the message names the claim.
    """
    rows = []
    for name, claim in claims.items():
        shown = [{"name": own, "files": list(figures.get(own, []))} for own in claim["figures"]]
        kept = ("title", "claim", "source", "named", "allowed", "scales", "digest")
        try:
            judgements = {
                scope.name: kept_judgement(scope, name, claim)
                if isinstance(scope, KeptRun)
                else _judge(claim, scope)
                for scope in scopes
            }
        except LowrankError as error:
            raise LowrankError(f"config/claims.yaml: {name}: {error}") from None
        own = {key: claim[key] for key in kept}
        rows.append({"id": name, **own, "figures": shown, "scopes": judgements})
    content = {
        "scopes": [_summary(scope, rows) for scope in scopes],
        "claims": rows,
        "method": METHOD,
        "deciding": DECIDING,
        "plan": _plan(scopes),
        "plan_method": PLAN_METHOD if _has_plan(rows) else "",
        "provenance": {
            "code_sha256": code_digest(),
            "versions": versions(("numpy", "scipy", "pandas")),
        },
    }
    write_json(output, content)


def _plan(scopes: Sequence[Scope | KeptRun]) -> dict[str, Any] | None:
    """Return the plan of looks of the one scope that has one."""
    for scope in scopes:
        if isinstance(scope, Scope) and scope.looks is not None:
            return {"numbers": scope.looks.numbers}
    return None


def _has_plan(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a test of this run, or of a kept one, was judged at planned looks."""
    judgements = (own for row in rows for own in row["scopes"].values())
    return any(test.get("plan") for own in judgements for test in own["tests"])


def _summary(scope: Scope | KeptRun, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    verdicts = [row["scopes"][scope.name]["verdict"] for row in rows]
    return {
        "scope": scope.name,
        "title": scope.title,
        "short": scope.short or scope.title,
        "holds_for": scope.holds_for,
        "reason": scope.reason if isinstance(scope, KeptRun) else "",
        "counts": {verdict: verdicts.count(verdict) for verdict in VERDICTS},
    }


def _judge(claim: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    found = [measure_in(test, scope) for test in claim["tests"]]
    unfit = [_unfit(test, scope) for test in claim["tests"]]
    judged_tests = sum(
        not (why or isinstance(own.found, str)) for own, why in zip(found, unfit, strict=True)
    )
    tests = [
        _result(test, own, claim, scope, max(judged_tests, 1), why)
        for test, own, why in zip(claim["tests"], found, unfit, strict=True)
    ]
    judged = [test for test in tests if test["verdict"] != NOT_TESTABLE]
    is_named = all(test["is_named"] for test in judged)
    verdict = combine([test["verdict"] for test in tests], is_named)
    index = deciding(tests, verdict)
    reason = _reason(tests, index)
    holds_for = " and ".join(dict.fromkeys(test["holds_for"] for test in judged))
    reading = tests[index]["reading"] if judged else ""
    beyond = like_these(tests, is_named)
    where = ", ".join(filter(None, (f"on {holds_for}" if holds_for else "", reading)))
    other = otherwise(verdict, reading, beyond)
    statement = "; ".join(filter(None, (f"{where}: {verdict}" if where else verdict, other)))
    return {
        "verdict": verdict,
        "verdict_like_these": beyond,
        "otherwise": other,
        "reading": reading,
        "is_named": is_named,
        "reason": reason,
        "holds_for": holds_for,
        # A verdict that cannot be quoted without what it holds for.
        "statement": f"{statement} ({reason})" if reason else statement,
        "studies": sorted({study for test in tests for study in test["studies"]}),
        "deciding": deciding_words(tests, index, verdict, claim["untested"] or reason),
        "tests": tests,
    }


def _result(
    test: Mapping[str, Any],
    measured_test: Measured,
    claim: Mapping[str, Any],
    scope: Scope,
    judged_tests: int,
    unfit: str,
) -> dict[str, Any]:
    subject = scope.subjects.get(test["kind"], {})
    found, device = measured_test.found, ""
    if isinstance(found, str):
        found = f"{found}: {claim['untested']}" if claim["untested"] else found
    else:
        device = found.device or subject.get("device", "")
    is_named = _is_named(claim, subject.get("model", ""), device)
    result = judge_measured(
        test, replace(measured_test, found=found), judged_tests, unfit, is_named
    )
    if result["plan"]:
        result["plan"]["model"] = subject["model"]
    where = ", ".join(filter(None, (subject.get("label"), device)))
    return result | {
        "is_named": is_named,
        "expected": expected(test),
        "measured": measured(result),
        "looked": looked(result),
        "scales": ["paper"] if test["models"] or test["devices"] else claim["scales"],
        "studies": _studies(test, scope.evidence.get(test["kind"])),
        "holds_for": where if "value" in result else "",
    }


def _studies(test: Mapping[str, Any], evidence: Evidence | None) -> list[str]:
    """Return the study that a test names, or else the one that was profiled."""
    if study := test["arguments"].get("study"):
        return [study]
    if "metric" in test["arguments"] and evidence and evidence.profiles:
        return [evidence.profiles.name.removesuffix(".profiles.csv")]
    return []


def _is_named(claim: Mapping[str, Any], model: str, device: str) -> bool:
    """Return whether a claim speaks of a model and of a device; what needs none is spoken of."""
    spoken = claim["speaks_of"]
    return (not model or model in spoken["models"]) and (
        not spoken["devices"]
        or all(_is_one_of(each, spoken["devices"]) for each in device.split(" and "))
    )


def _is_one_of(device: str, names: Sequence[str]) -> bool:
    """Return whether a device is a whole one of those named: no slice of one, no longer name."""
    words = re.findall(r"\w+", device)
    return not SLICES & set(words) and any(name in words for name in names)


def _unfit(test: Mapping[str, Any], scope: Scope) -> str:
    """Return why the model or the device of some results is not one that a test speaks of."""
    subject = scope.subjects.get(test["kind"], {})
    if test["models"] and subject.get("model") not in test["models"]:
        return f"the test speaks of {' and '.join(test['models'])}, which this is not"
    if test["devices"] and subject.get("device_type") not in test["devices"]:
        kinds = " or ".join(test["devices"])
        return f"the test speaks of {kinds} devices, which this is not"
    return ""


def _reason(tests: Sequence[Mapping[str, Any]], deciding_test: int | None) -> str:
    """Return what leaves the deciding test open, and why some tests could not be judged."""
    missing = [test["reason"] for test in tests if test["verdict"] == NOT_TESTABLE]
    whys = "; ".join(dict.fromkeys(missing))
    if deciding_test is None or len(missing) == len(tests):
        return whys
    texts = [tests[deciding_test]["reason"]]
    if missing:
        made = len(tests) - len(missing)
        texts.append(f"{made} of {len(tests)} tests could be judged; not judged: {whys}")
    return "; ".join(filter(None, texts))
