"""The ledger: every claim, what was expected, what was measured, and the verdict."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowrank.claims.evidence import Evidence
from lowrank.claims.verdicts import NOT_TESTABLE, VERDICTS, combine, run_test
from lowrank.errors import LowrankError
from lowrank.files import write_json
from lowrank.provenance import code_digest, versions

WIDTH = 100


def judge_claims(
    claims: Mapping[str, Mapping[str, Any]],
    evidence: Mapping[str, Evidence],
    scopes: Mapping[str, Mapping[str, str]],
    output: str | Path,
) -> None:
    """Judge every claim and write the ledger.

    Parameters
    ----------
    claims
        The content of `config/claims.yaml`, checked.
    evidence
        From a kind of test (`llama`, `bert`, `none`) to the results that judge it.
    scopes
        From the same kinds to `model` (its key), `label` and `device`: what a verdict holds for.
    output
        The JSON to write.

    Raises
    ------
    LowrankError
        If a claim's operator or arguments do not fit; the message names the claim.
    """
    ledger = []
    for name, claim in claims.items():
        try:
            ledger.append(_judge(name, claim, evidence, scopes))
        except LowrankError as error:
            raise LowrankError(f"config/claims.yaml: {name}: {error}") from None
    counts = {verdict: sum(row["verdict"] == verdict for row in ledger) for verdict in VERDICTS}
    facts = {"code_sha256": code_digest(), "versions": versions(("numpy", "scipy", "pandas"))}
    write_json(output, {"claims": ledger, "counts": counts, "provenance": facts})


def _judge(
    name: str,
    claim: Mapping[str, Any],
    evidence: Mapping[str, Evidence],
    scopes: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    made = {
        "id": name,
        **{key: claim[key] for key in ("claim", "source", "named", "allowed")},
        "figures": claim["figures"],
    }
    if not claim["tests"]:
        return made | {
            "verdict": NOT_TESTABLE,
            "reason": claim["untested"],
            "scope": "",
            "statement": f"not testable here: {claim['untested']}",
            "tests": [],
        }
    tests = []
    for test in claim["tests"]:
        kind = test["kind"]
        wanted = test["models"]
        scope = scopes.get(kind, {})
        if wanted and scope.get("model") not in wanted:
            reason = f"it speaks of {' and '.join(wanted)}, which this run does not have"
            ends = {key: test[key] for key in ("says", "operator", "unit", "range")}
            tests.append(ends | {"verdict": NOT_TESTABLE, "reason": reason, "scope": ""})
            continue
        result = run_test(test, evidence.get(kind), len(claim["tests"]))
        where = ", ".join(scope[key] for key in ("label", "device") if scope.get(key))
        tests.append(result | {"scope": where if result["verdict"] != NOT_TESTABLE else ""})
    verdict = combine([test["verdict"] for test in tests])
    reasons = dict.fromkeys(test["reason"] for test in tests if test["reason"])
    scope = " and ".join(dict.fromkeys(test["scope"] for test in tests if test["scope"]))
    return made | {
        "verdict": verdict,
        "reason": "; ".join(reasons),
        "scope": scope,
        "statement": _statement(verdict, scope, reasons),
        "tests": tests,
    }


def _statement(verdict: str, scope: str, reasons: Mapping[str, Any]) -> str:
    """Return a verdict that cannot be quoted without what it holds for."""
    where = f"on {scope}: {verdict}" if scope else verdict
    return f"{where} ({'; '.join(reasons)})" if reasons else where


def measured(test: Mapping[str, Any]) -> str:
    """Return what a test measured as text: value, interval, unit."""
    if "value" not in test:
        return test["reason"]
    low, high = test["interval_95"]
    unit = f" {test['unit']}" if test["unit"] else ""
    if low == high:
        return _signed(f"{test['value']:.3g}{unit}")
    return _signed(f"{test['value']:.3g}{unit} [{low:.3g}, {high:.3g}]")


def allowed(test: Mapping[str, Any]) -> str:
    """Return the range that a test allows as text."""
    low, high = test["range"]
    if low is None:
        return _signed(f"at most {high:g}")
    if high is None:
        return _signed(f"at least {low:g}")
    return _signed(f"{low:g}" if low == high else f"{low:g} to {high:g}")


def _signed(numbers: str) -> str:
    return numbers.replace("-", "−")


def as_text(ledger: Mapping[str, Any]) -> str:
    """Return the ledger as a terminal shows it."""
    lines = ["Claims of the thesis, judged by this run", ""]
    for row in ledger["claims"]:
        lines += [f"{row['id']:>4}  {row['verdict'].upper()}  {row['scope']}".rstrip()]
        lines += _wrapped(row["claim"], "      ")
        for test in row["tests"]:
            text = f"{test['says']}: {measured(test)} (allowed: {allowed(test)}) {test['verdict']}"
            lines += _wrapped(text, "      - ")
        if not row["tests"]:
            lines += _wrapped(row["reason"], "      - ")
    counts = ", ".join(f"{number} {verdict}" for verdict, number in ledger["counts"].items())
    return "\n".join([*lines, "", counts, ""])


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=" " * len(indent))


def as_rows(ledger: Mapping[str, Any]) -> list[list[str]]:
    """Return the ledger as rows of a table.

    Columns: id, claim, test, allowed, measured, verdict on the test, verdict on the claim.
    """
    rows = []
    for row in ledger["claims"]:
        tests = row["tests"] or [{"says": "", "reason": row["reason"], "range": None}]
        for index, test in enumerate(tests):
            whole = (row["id"], row["claim"], row["statement"]) if index == 0 else ("", "", "")
            cells = (
                test["says"],
                allowed(test) if test["range"] else "",
                measured(test),
                test.get("verdict", ""),
            )
            rows.append([*whole[:2], *cells, whole[2]])
    return rows
