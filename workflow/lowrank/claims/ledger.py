"""The ledger: every claim, what was expected, what was measured, and the verdict.

Verdicts are not corrected across claims, and benchmarks are fixed effects: see
`lowrank.claims.verdicts.METHOD`, which the ledger carries.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from lowrank.base.errors import LowrankError
from lowrank.base.files import write_json
from lowrank.base.provenance import code_digest, versions
from lowrank.claims.evidence import Evidence
from lowrank.claims.verdict_names import NOT_TESTABLE, UNDECIDED, VERDICTS
from lowrank.claims.verdicts import METHOD, combine, outline, run_test

WIDTH = 100

IN_PART = "testable in part here"


def judge_claims(
    claims: Mapping[str, Mapping[str, Any]],
    evidence: Mapping[str, Evidence],
    scopes: Mapping[str, Mapping[str, str]],
    figures: Mapping[str, Sequence[str]],
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
        From the same kinds to `model` (its key), `label`, `device` and `device_type`: what a
        verdict holds for.
    figures
        From a figure's or table's name to the files that this run makes of it.
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
            ledger.append(_judge(name, claim, evidence, scopes, figures))
        except LowrankError as error:
            raise LowrankError(f"config/claims.yaml: {name}: {error}") from None
    counts = {verdict: sum(row["verdict"] == verdict for row in ledger) for verdict in VERDICTS}
    facts = {"code_sha256": code_digest(), "versions": versions(("numpy", "scipy", "pandas"))}
    content = {"claims": ledger, "counts": counts, "method": METHOD, "provenance": facts}
    write_json(output, content)


def _judge(
    name: str,
    claim: Mapping[str, Any],
    evidence: Mapping[str, Evidence],
    scopes: Mapping[str, Mapping[str, str]],
    figures: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    tests = []
    for test in claim["tests"]:
        scope = scopes.get(test["kind"], {})
        found = evidence.get(test["kind"])
        reason = _unfit(test, scope)
        if reason:
            result = outline(test, found) | {"verdict": NOT_TESTABLE, "reason": reason}
        else:
            result = run_test(test, found, len(claim["tests"]), claim["untested"])
        device = result.pop("device", "") or scope.get("device", "")
        where = ", ".join(filter(None, (scope.get("label"), device)))
        tests.append(
            result
            | {
                "expected": expected(test),
                "scales": ["paper"] if test["models"] or test["devices"] else claim["scales"],
                "scope": where if result["verdict"] != NOT_TESTABLE else "",
            }
        )
    verdicts = [test["verdict"] for test in tests]
    verdict = combine(verdicts)
    reason = "; ".join(dict.fromkeys(test["reason"] for test in tests if test["reason"]))
    if verdict == UNDECIDED and NOT_TESTABLE in verdicts:
        tested = len(verdicts) - verdicts.count(NOT_TESTABLE)
        reason = f"{IN_PART}: {tested} of {len(verdicts)} tests; {reason}"
    scope = " and ".join(dict.fromkeys(test["scope"] for test in tests if test["scope"]))
    return {
        "id": name,
        **{key: claim[key] for key in ("claim", "source", "named", "allowed", "scales")},
        "studies": sorted({study for test in tests for study in test["studies"]}),
        "figures": [
            {"name": figure, "files": list(figures.get(figure, []))} for figure in claim["figures"]
        ],
        "verdict": verdict,
        "reason": reason,
        "scope": scope,
        "statement": _statement(verdict, scope, reason),
        "tests": tests,
    }


def _unfit(test: Mapping[str, Any], scope: Mapping[str, str]) -> str:
    """Return why the model or the device of a run is not one that a test speaks of."""
    if test["models"] and scope.get("model") not in test["models"]:
        return f"it speaks of {' and '.join(test['models'])}, which this run does not have"
    if test["devices"] and scope.get("device_type") not in test["devices"]:
        return (
            f"it is measured on {' or '.join(test['devices'])} alone, which this run does not use"
        )
    return ""


def _statement(verdict: str, scope: str, reason: str) -> str:
    """Return a verdict that cannot be quoted without what it holds for."""
    where = f"on {scope}: {verdict}" if scope else verdict
    return f"{where} ({reason})" if reason else where


def measured(test: Mapping[str, Any]) -> str:
    """Return what a test measured as text: value, unit, 95% interval, number of questions."""
    if "value" not in test:
        return test["reason"]
    low, high = test["interval_95"]
    text = f"{_number(test['value'])}{_unit(test)}"
    if low < high:
        text += f" [{_number(low)}, {_number(high)}]"
    return f"{text}, {test['questions']} questions" if test["questions"] else text


def expected(test: Mapping[str, Any]) -> str:
    """Return the range that supports a test as text."""
    low, high = test["range"]
    if low is None:
        return _signed(f"below {high:g}{_unit(test)}")
    if high is None:
        return _signed(f"above {low:g}{_unit(test)}")
    return _signed((f"{low:g}" if low == high else f"{low:g} to {high:g}") + _unit(test))


def _unit(test: Mapping[str, Any]) -> str:
    unit = test["unit"]
    return unit if unit.startswith("%") or not unit else f" {unit}"


def _number(value: float) -> str:
    return _signed(f"{round(value, 9) + 0.0:.3g}")  # what rounding left of nothing is nothing


def _signed(numbers: str) -> str:
    return numbers.replace("-", "−")


def sources(files: Sequence[str], shown: int = 3) -> str:
    """Return files as text: a few by name, answers of many configurations by their pattern."""
    if len(files) <= shown:
        return ", ".join(files)
    by_folder: dict[str, list[PurePath]] = {}
    for path in map(PurePath, files):
        is_answers = path.parents[1].name == "evaluations"
        by_folder.setdefault(str(path.parents[1] / "*" if is_answers else path), []).append(path)
    parts = []
    for folder, paths in by_folder.items():
        names = list(dict.fromkeys(path.stem for path in paths))
        pattern = names[0] if len(names) == 1 else "{" + ",".join(names) + "}"
        is_one = folder == str(paths[0])
        parts.append(folder if is_one else f"{len(paths)} of {folder}/{pattern}{paths[0].suffix}")
    return ", ".join(parts)


def as_text(ledger: Mapping[str, Any]) -> str:
    """Return the ledger as a terminal shows it."""
    lines = ["Claims of the thesis, judged by this run", "", *_wrapped(ledger["method"], ""), ""]
    for row in ledger["claims"]:
        lines += [f"{row['id']:>4}  {row['verdict'].upper()}  {row['scope']}".rstrip()]
        lines += _wrapped(row["claim"], "      ")
        if row["reason"].startswith(IN_PART):
            lines += _wrapped(row["reason"].partition(";")[0], "      ")
        for test in _merged(row["tests"]):
            lines += _wrapped(_sentence(test, row["scope"]), "      - ")
        files = list(dict.fromkeys(file for test in row["tests"] for file in test["evidence"]))
        lines += _wrapped(f"Computed from: {sources(files)}", "      ") if files else []
        lines += _wrapped(f"Allowed: {row['allowed']}", "      ")
        figures = ", ".join(file for figure in row["figures"] for file in figure["files"])
        scales = " and ".join(row["scales"]) or "no"
        lines += _wrapped(
            f"Studies: {', '.join(row['studies']) or 'none'}; figures: "
            f"{figures or 'none in this run'}; testable at {scales} scale",
            "      ",
        )
    counts = ", ".join(f"{number} {verdict}" for verdict, number in ledger["counts"].items())
    return "\n".join([*lines, "", counts, ""])


def _merged(tests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return tests, those that cannot be tested for one reason as one."""
    made: list[dict[str, Any]] = []
    by_reason: dict[str, dict[str, Any]] = {}
    for test in tests:
        reason = test["reason"]
        if test["verdict"] == NOT_TESTABLE and reason in by_reason:
            first = by_reason[reason]
            first["says"] += f"; {test['says']}"
            if test["expected"] not in first["expected"].split("; "):
                first["expected"] += f"; {test['expected']}"
            continue
        made.append(dict(test))
        if test["verdict"] == NOT_TESTABLE:
            by_reason[reason] = made[-1]
    return made


def _sentence(test: Mapping[str, Any], scope: str) -> str:
    where = f" on {test['scope']}" if test["scope"] not in ("", scope) else ""
    flags = f" [flags: {'; '.join(test['flags'])}]" if test["flags"] else ""
    return (
        f"{test['says']}{where}: {measured(test)} (expected: {test['expected']}) "
        f"{_verdict(test)}{flags}"
    )


def _verdict(test: Mapping[str, Any]) -> str:
    """Return a test's verdict, with a reason that does not stand in place of its measurement."""
    has_reason = "value" in test and test["reason"]
    return f"{test['verdict']} ({test['reason']})" if has_reason else test["verdict"]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_long_words=False,
        break_on_hyphens=False,
    )


HEADER = (
    "",
    "Claim",
    "Verdict",
    "Test",
    "Expected (allowed)",
    "Measured",
    "Test says",
    "Holds for",
    "Flags",
    "Shown by",
    "Computed from",
)


def as_rows(ledger: Mapping[str, Any]) -> list[list[str]]:
    """Return the ledger as rows below `HEADER`, one a test; a claim stands in its first row."""
    rows = []
    for row in ledger["claims"]:
        for index, test in enumerate(_merged(row["tests"])):
            whole = (row["id"], row["claim"], row["statement"]) if index == 0 else ("", "", "")
            shown = [*map(figure_label, row["figures"]), *(f"study {s}" for s in test["studies"])]
            cells = (test["says"], test["expected"], measured(test), _verdict(test), test["scope"])
            rows.append(
                [
                    *whole,
                    *cells,
                    "; ".join(test["flags"]),
                    ", ".join(shown),
                    sources(test["evidence"]),
                ]
            )
    return rows


SUMMARY_HEADER = ("", "Claim", "Expected", "Measured", "Shown by", "Verdict")


def as_summary(ledger: Mapping[str, Any], shown: int = 3) -> list[list[str]]:
    """Return the ledger as rows below `SUMMARY_HEADER`, one a claim.

    Of many tests the first that decide the verdict stand for all.
    """
    rows = []
    for row in ledger["claims"]:
        tested = [test for test in row["tests"] if "value" in test]
        # In part testable, a claim is undecided though each of its tests may be supported.
        deciding = [test for test in tested if test["verdict"] == row["verdict"]] or tested
        told = (deciding or row["tests"])[:shown]
        more = len(row["tests"]) - len(told)
        rest = [f"{more} more in the table of claims"] if more else []
        rows.append(
            [
                row["id"],
                row["claim"],
                "; ".join([*(f"{test['says']}: {test['expected']}" for test in told), *rest]),
                "; ".join(f"{t['says']}: {measured(t)}" for t in told if "value" in t) or "–",
                ", ".join(map(figure_label, row["figures"])),
                row["statement"],
            ]
        )
    return rows


def figure_label(figure: Mapping[str, Any]) -> str:
    """Return a figure's or table's name as a text has it: `figure_3_2` as figure 3.2."""
    return figure["name"].replace("_", " ", 1).replace("_", ".")
