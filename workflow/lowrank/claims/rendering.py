"""The ledger as text: a line a claim, every test with its sources, and rows of tables.

What is rendered is the JSON of `lowrank.claims.ledger.judge_claims`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from lowrank.claims.verdict_names import (
    CONTRADICTED,
    NOT_RUN,
    NOT_SEEN,
    NOT_TESTABLE,
    RUN_SCOPE,
    SEEN,
    SUPPORTED,
    TRIVIAL,
    TRIVIALLY_SEEN,
    UNDECIDED,
    VERDICTS,
)
from lowrank.claims.wording import judged, judged_test

WIDTH = 100

GLANCE_WIDTH = 110
"""Characters of a line that shows a claim at a glance."""


SHORT = {
    SUPPORTED: "supported",
    TRIVIAL: "trivial",
    CONTRADICTED: "contradicted",
    SEEN: "seen",
    TRIVIALLY_SEEN: "trivially seen",
    NOT_SEEN: "not seen",
    UNDECIDED: "undecided",
    NOT_TESTABLE: "–",
}
"""The verdicts where there is little room."""

LEGEND = (
    "Trivial: all scores at chance. Seen, not seen: the claim speaks of other models or devices.",
    "–: not testable. *: another verdict on questions or workloads like these.",
)


def at_a_glance(
    ledger: Mapping[str, Any], details: str | PurePath, lines: Mapping[str, int]
) -> str:
    """Return one line a claim: the verdict of each scope, a number, and where the details are.

    The number is the one that decides in this run, or in another scope where this run has none.

    Parameters
    ----------
    details, lines
        The file of `as_details`, and the line of each claim in it.
    """
    scopes = ledger["scopes"]
    made = [
        "The claims of the thesis. Each column judges them by the results that its heading names:",
        *(_shortened(f"{scope['short']}: {about(scope)}", GLANCE_WIDTH) for scope in scopes),
        "A line ends with the number that decides it [with its 95% interval], and with the line of",
        f"{details} where its details are.",
        *LEGEND,
        "",
    ]
    columns = [
        [
            scope["short"],
            *(_short(row["scopes"][scope["scope"]], scope) for row in ledger["claims"]),
        ]
        for scope in scopes
    ]
    widths = [max(map(len, column)) for column in columns]
    for index, cells in enumerate(zip(*columns, strict=True)):
        row = ledger["claims"][index - 1] if index else None
        words = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
        head = "  ".join([f"{row['id'] if row else '':<3}", *words, ""])
        tail = f"  {lines[row['id']] if row else 'line':>4}"
        room = max(GLANCE_WIDTH - len(head) - len(tail), 0)
        number = _number_of(row, scopes, room) if row else _shortened("decided by", room)
        number = number if len(number) <= room else ""
        made.append(f"{head}{number:<{room}}{tail}")
    return "\n".join(
        [*made, "", *(_shortened(text, GLANCE_WIDTH) for text in _tallies(scopes)), ""]
    )


def about(scope: Mapping[str, Any]) -> str:
    """Return what a scope is: whose results, of what, or why there are none."""
    if scope["reason"]:
        return f"{scope['title']}: {NOT_RUN} ({scope['reason']})"
    return f"{scope['title']}, {scope['holds_for']}"


def _short(own: Mapping[str, Any], scope: Mapping[str, Any]) -> str:
    if scope["reason"]:
        return NOT_RUN
    return SHORT[own["verdict"]] + ("*" if own["otherwise"] else "")


def _number_of(row: Mapping[str, Any], scopes: Sequence[Mapping[str, Any]], room: int) -> str:
    """Return the number that decides a claim, and whose it is where it is not this run's."""
    runs = sorted(scopes, key=lambda scope: scope["scope"] != RUN_SCOPE)
    judged = [(scope, row["scopes"][scope["scope"]]) for scope in runs]
    counted = [pair for pair in judged if pair[1]["deciding"]["measured"]]
    decided = [pair for pair in counted if pair[1]["verdict"] != NOT_TESTABLE]
    scope, own = (decided or counted or judged)[0]
    whose = f"{scope['short']}: " if scope["scope"] != RUN_SCOPE else ""
    return whose + _fitted(own["deciding"], room - len(whose))


def _tallies(scopes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line a scope: how many claims have which verdict."""
    made = []
    for scope in scopes:
        counts = {NOT_TESTABLE: "not testable"}
        found = [
            f"{scope['counts'][name]} {counts.get(name, SHORT[name])}"
            for name in VERDICTS
            if scope["counts"][name]
        ]
        made += [] if scope["reason"] else [f"{scope['short']}: {', '.join(found)}"]
    return made


LEAST_WORDS = 20
"""Characters that say what a number is, where a line is too short for all of them."""


def _fitted(deciding: Mapping[str, Any], room: int) -> str:
    """Return what decides in at most so many characters.

    Flags go first, then words that say what the number is, then what was expected, then all words,
    then the interval.
    """
    measured = deciding["measured"]
    if not measured:
        return _shortened(deciding["note"], room)
    full = decided_by({**deciding, "flags": []})
    texts = [decided_by(deciding), full]
    for rest in (full.removeprefix(deciding["says"]), f": {measured}"):
        if room - len(rest) >= min(LEAST_WORDS, len(deciding["says"])):
            texts.append(_shortened(deciding["says"], room - len(rest)) + rest)
    texts += [measured, measured.partition(" [")[0]]
    return next((text for text in texts if len(text) <= room), "")


def _shortened(text: str, room: int) -> str:
    return textwrap.shorten(text, max(room, 2), placeholder=" …", break_on_hyphens=False)


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
        counts = "" if scope["reason"] else f" {_counts(scope)}."
        lines += _wrapped(f"{about(scope)}.{counts}", "")
    for text in (ledger["method"], ledger["deciding"], ledger["plan_method"], _plan(ledger)):
        lines += ["", *_wrapped(text, "")] if text else []
    places = {}
    for row in ledger["claims"]:
        places[row["id"]] = len(lines) + 2
        lines += ["", f"{row['id']}  {row['title']}"]
        lines += _wrapped(f"{row['claim']} Source: {row['source']}.", "    ")
        for scope in ledger["scopes"]:
            own = row["scopes"][scope["scope"]]
            if not own["tests"]:
                lines += _wrapped(f"{scope['title']}: {own['statement']}", "    ")
                continue
            joint = " " if own["holds_for"] else ", " if own["reading"] else ": "
            lines += _wrapped(f"{scope['title']}{joint}{own['statement']}", "    ")
            if own["deciding"]["measured"]:
                shown = "Shown:" if own["verdict"] == NOT_TESTABLE else "Decided by"
                lines += _wrapped(f"{shown} {decided_by(own['deciding'])}", "      ")
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


def _plan(ledger: Mapping[str, Any]) -> str:
    """Return the questions of each benchmark at each planned look of this run."""
    if not ledger["plan"]:
        return ""
    numbers = ledger["plan"]["numbers"]
    of_each = "; ".join(f"{name} {', '.join(map(str, own))}" for name, own in numbers.items())
    return f"Questions at each look: {of_each}."


def _merged(tests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return tests, those that measured nothing for one reason as one."""
    made: list[dict[str, Any]] = []
    by_reason: dict[str, dict[str, Any]] = {}
    for test in tests:
        reason = test["reason"]
        if not test["measured"] and reason in by_reason:
            first = by_reason[reason]
            first["says"] += f"; {test['says']}"
            if test["expected"] not in first["expected"].split("; "):
                first["expected"] += f"; {test['expected']}"
            continue
        made.append(dict(test))
        if not test["measured"]:
            by_reason[reason] = made[-1]
    return made


def _sentence(test: Mapping[str, Any], holds_for: str) -> str:
    where = f" on {test['holds_for']}" if test["holds_for"] not in ("", holds_for) else ""
    flags = f" [flags: {'; '.join(test['flags'])}]" if test["flags"] else ""
    return (
        f"{test['says']}{where}: {_outcome(test)} (expected: {test['expected']}) "
        f"{_verdict(test)}{flags}"
    )


def _verdict(test: Mapping[str, Any]) -> str:
    """Return the verdict on a test, and at which planned look it stands."""
    return "; ".join(filter(None, (judged_test(test), test.get("looked", ""))))


def _outcome(test: Mapping[str, Any]) -> str:
    """Return what a test measured and on how many questions, or why it could not be made."""
    if not test["measured"]:
        return test["reason"]
    return ", ".join(
        [test["measured"], *([f"{test['questions']} questions"] if test["questions"] else [])]
    )


def sources(files: Sequence[str], shown: int = 3) -> str:
    """Return files as text: a few by name, answers of many configurations by their pattern."""
    if len(files) <= shown:
        return ", ".join(files)
    by_pattern: dict[str, list[PurePath]] = {}
    for path in map(PurePath, files):
        is_answers = path.parent.name == "evaluations"
        pattern = str(path.parent / f"*{path.suffix}") if is_answers else str(path)
        by_pattern.setdefault(pattern, []).append(path)
    return ", ".join(
        str(paths[0]) if len(paths) == 1 else f"{len(paths)} of {pattern}"
        for pattern, paths in by_pattern.items()
    )


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
            if not own["tests"]:
                rows.append([*head, *[""] * (len(TESTS_HEADER) - len(head))])
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
        header += [about(scope), *([] if scope["reason"] else ["Decided by"])]
    rows = [header]
    for row in ledger["claims"]:
        cells = []
        for scope in ledger["scopes"]:
            own = row["scopes"][scope["scope"]]
            cells += [NOT_RUN] if scope["reason"] else [judged(own), decided_by(own["deciding"])]
        rows.append([row["id"], row["title"], *cells])
    return rows


def figure_label(figure: Mapping[str, Any]) -> str:
    """Return a figure's or table's name as a text has it: `figure_3_2` as figure 3.2."""
    return figure["name"].replace("_", " ", 1).replace("_", ".")
