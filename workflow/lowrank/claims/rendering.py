"""The ledger as text: a line a claim, every test with its sources, and rows of tables.

What is rendered is the JSON of `lowrank.claims.ledger.judge_claims`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from lowrank.claims.verdict_names import NOT_TESTABLE, VERDICTS

WIDTH = 100

GLANCE_WIDTH = 110
"""Characters of a line that shows a claim at a glance."""


def at_a_glance(
    ledger: Mapping[str, Any], details: str | PurePath, lines: Mapping[str, int]
) -> str:
    """Return one line a claim on the first scope: verdict, deciding number, where the details are.

    Parameters
    ----------
    details, lines
        The file of `as_details`, and the line of each claim in it.
    """
    scope = ledger["scopes"][0]
    made = [
        f"The claims of the thesis, judged on {scope['holds_for'] or scope['title']}.",
        "A line has the verdict, the number that decides it [with its 95% interval], and where the",
        f"details are: a line of {details}.",
        "",
    ]
    for row in ledger["claims"]:
        own = row["scopes"][scope["scope"]]
        verdict = own["verdict"].removesuffix(" here")
        head, tail = f"{row['id']:<3}  {verdict:<12}  ", f"  line {lines[row['id']]}"
        room = GLANCE_WIDTH - len(head) - len(tail)
        made.append(f"{head}{_fitted(own['deciding'], room):<{room}}{tail}")
    return "\n".join([*made, "", f"{_counts(scope)}.", ""])


LEAST_WORDS = 20
"""Characters that say what a number is, where a line is too short for all of them."""


def _fitted(deciding: Mapping[str, Any], room: int) -> str:
    """Return what decides in at most so many characters.

    Flags go first, then words that say what the number is, then what was expected.
    """
    if not deciding["measured"]:
        return _shortened(deciding["note"], room)
    text = ""
    for shorter in (deciding, {**deciding, "flags": []}):
        text = decided_by(shorter)
        if len(text) <= room:
            return text
    rest = text.removeprefix(deciding["says"])
    if room - len(rest) < LEAST_WORDS:
        rest = f": {deciding['measured']}"
    return _shortened(deciding["says"], room - len(rest)) + rest


def _shortened(text: str, room: int) -> str:
    return textwrap.shorten(text, room, placeholder=" …", break_on_hyphens=False)


def decided_by(deciding: Mapping[str, Any]) -> str:
    """Return what decides a claim: what the number is, the number, what was expected, doubts."""
    notes = "; ".join([deciding["note"], *deciding["flags"]])
    measured = deciding["measured"]
    return f"{deciding['says']}: {measured} ({notes})" if measured else notes


def _counts(scope: Mapping[str, Any]) -> str:
    counts = {name: scope["counts"][name] for name in VERDICTS if scope["counts"][name]}
    said = ", ".join(f"{number} {name}" for name, number in counts.items())
    return f"{sum(counts.values())} claims: {said}"


def as_details(ledger: Mapping[str, Any]) -> tuple[str, dict[str, int]]:
    """Return every claim with its tests, sources and allowances, and the line of each claim."""
    lines = ["The claims of the thesis, and every test that judges them", ""]
    for scope in ledger["scopes"]:
        lines += _wrapped(f"{scope['title']}: {scope['holds_for']}. {_counts(scope)}.", "")
    for text in (ledger["method"], ledger["deciding"]):
        lines += ["", *_wrapped(text, "")]
    places = {}
    for row in ledger["claims"]:
        places[row["id"]] = len(lines) + 2
        lines += ["", f"{row['id']}  {row['title']}"]
        lines += _wrapped(f"{row['claim']} Source: {row['source']}.", "    ")
        for scope in ledger["scopes"]:
            own = row["scopes"][scope["scope"]]
            joint = " " if own["holds_for"] else ": "
            lines += _wrapped(f"{scope['title']}{joint}{own['statement']}", "    ")
            if own["deciding"]["measured"]:
                lines += _wrapped(f"Decided by {decided_by(own['deciding'])}", "      ")
            for test in _merged(own["tests"]):
                lines += _wrapped(_sentence(test, own["holds_for"]), "      - ")
            files = list(dict.fromkeys(file for test in own["tests"] for file in test["evidence"]))
            lines += _wrapped(f"Computed from: {sources(files)}", "      ") if files else []
            lines += _wrapped(f"Studies: {', '.join(own['studies']) or 'none'}", "      ")
        lines += _wrapped(f"Allowed: {row['allowed']}", "    ")
        figures = ", ".join(file for figure in row["figures"] for file in figure["files"])
        scales = " and ".join(row["scales"]) or "no"
        lines += _wrapped(
            f"Figures: {figures or 'none in this run'}; testable at {scales} scale", "    "
        )
    return "\n".join([*lines, ""]), places


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


def _sentence(test: Mapping[str, Any], holds_for: str) -> str:
    where = f" on {test['holds_for']}" if test["holds_for"] not in ("", holds_for) else ""
    flags = f" [flags: {'; '.join(test['flags'])}]" if test["flags"] else ""
    return (
        f"{test['says']}{where}: {_outcome(test)} (expected: {test['expected']}) "
        f"{_verdict(test)}{flags}"
    )


def _outcome(test: Mapping[str, Any]) -> str:
    """Return what a test measured and on how many questions, or why it could not be made."""
    if not test["measured"]:
        return test["reason"]
    return ", ".join(
        [test["measured"], *([f"{test['questions']} questions"] if test["questions"] else [])]
    )


def _verdict(test: Mapping[str, Any]) -> str:
    """Return a test's verdict, with a reason that does not stand in place of its measurement."""
    has_reason = test["measured"] and test["reason"]
    return f"{test['verdict']} ({test['reason']})" if has_reason else test["verdict"]


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


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_long_words=False,
        break_on_hyphens=False,
    )


TESTS_HEADER = (
    "",
    "Claim",
    "Scope",
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


def rows_of_tests(ledger: Mapping[str, Any]) -> list[list[str]]:
    """Return rows below `TESTS_HEADER`, one a test; a claim stands in the first row of a scope."""
    rows = []
    for row in ledger["claims"]:
        for scope in ledger["scopes"]:
            own = row["scopes"][scope["scope"]]
            head = [row["id"], row["claim"], scope["title"], own["statement"]]
            for test in _merged(own["tests"]):
                figures = [figure_label(figure) for figure in row["figures"]]
                shown = [*figures, *(f"study {study}" for study in test["studies"])]
                rows.append(
                    [
                        *head,
                        test["says"],
                        test["expected"],
                        _outcome(test),
                        _verdict(test),
                        test["holds_for"],
                        "; ".join(test["flags"]),
                        ", ".join(shown),
                        sources(test["evidence"]),
                    ]
                )
                head = [""] * len(head)
    return rows


def rows_of_verdicts(ledger: Mapping[str, Any]) -> list[list[str]]:
    """Return a header and one row a claim: its verdict and what decides it, for every scope."""
    header = ["", "Claim"]
    for scope in ledger["scopes"]:
        header += [f"{scope['title']}: {scope['holds_for']}", "Decided by"]
    rows = [header]
    for row in ledger["claims"]:
        judgements = [row["scopes"][scope["scope"]] for scope in ledger["scopes"]]
        cells = [[own["verdict"], decided_by(own["deciding"])] for own in judgements]
        rows.append([row["id"], row["title"], *(cell for pair in cells for cell in pair)])
    return rows


def figure_label(figure: Mapping[str, Any]) -> str:
    """Return a figure's or table's name as a text has it: `figure_3_2` as figure 3.2."""
    return figure["name"].replace("_", " ", 1).replace("_", ".")
