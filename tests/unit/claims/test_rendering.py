"""The ledger as text and as rows: what every rendering shows of it."""

import copy
import re

import pytest
from lowrank.claims.rendering import (
    GLANCE_WIDTH,
    LEGEND,
    SHORT,
    TESTS_HEADER,
    as_details,
    at_a_glance,
    decided_by,
    rows_of_tests,
    rows_of_verdicts,
    sources,
)
from lowrank.claims.verdict_names import VERDICTS
from lowrank.claims.wording import expected, judged, judged_test, measured, needed, otherwise
from made_ledger import NO_RUN, made_ledger

DETAILS = "results/claims_details.txt"


@pytest.fixture
def ledger(tmp_path):
    return made_ledger(tmp_path / "claims.json")


def glance(ledger):
    text, lines = as_details(ledger)
    return at_a_glance(ledger, DETAILS, lines).splitlines(), text.splitlines(), lines


def row_of(ledger, name):
    return next(row for row in ledger["claims"] if row["id"] == name)


# --- numbers and ranges --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "low", "high", "unit", "text"),
    [
        (-4.2163, -7.0509, -1.5994, "points", "−4.22 points [−7.05, −1.6]"),
        (4.146, 1.86, 7.25, "%", "4.15% [1.86, 7.25]"),
        (0.967, 0.928, 1.01, "% per %", "0.967% per % [0.928, 1.01]"),
        (2.0, 2.0, 2.0, "", "2"),
        (0.5751, 0.5748, 0.5752, "points", "0.575 points"),
        (-1.4e-17, -1.4e-17, 17.64, "points", "0 points [0, 17.6]"),  # what rounding left
        (0.1 + 0.2, -1e-7, 1.0, "", "0.3 [−1e−07, 1]"),
    ],
)
def test_a_number_has_its_unit_and_its_interval(value, low, high, unit, text):
    assert measured({"value": value, "interval_95": [low, high], "unit": unit}) == text


@pytest.mark.parametrize(
    ("needs", "endless", "text"),
    [
        (None, False, ""),
        (None, True, "no number of questions decides it, if its number stays"),
        (320, False, "needs about 320 questions, 2,376 exist"),
        (4321, False, "needs about 4,300 questions, the last look has 640, 2,376 exist"),
    ],
)
def test_a_test_says_how_many_questions_it_needs(needs, endless, text):
    assert needed(needs, 640, 2376, endless) == text


def test_what_was_not_measured_has_no_number():
    assert measured({"unit": "points"}) == ""


@pytest.mark.parametrize(
    ("bounds", "unit", "text"),
    [
        ([-2, 2], "points", "−2 to 2 points"),
        ([None, 5.2], "%", "below 5.2%"),
        ([0, None], "points per %", "above 0 points per %"),
        ([0, 0], "", "0"),
    ],
)
def test_a_range_has_its_unit(bounds, unit, text):
    assert expected({"range": bounds, "unit": unit}) == text


@pytest.mark.parametrize(
    ("own", "text"),
    [
        (("supported", "on this test set", "supported"), "supported on this test set"),
        (("supported", "on this test set", None), "supported on this test set"),
        (
            ("supported", "on this test set", "undecided"),
            "supported on this test set; undecided on questions like these",
        ),
        (
            ("not seen here", "on these workloads", "undecided"),
            "not seen here on these workloads; undecided on workloads like these",
        ),
        (
            ("supported", "as counted", "undecided"),
            "supported as counted; undecided on others like these",
        ),
        (("not testable here", "", None), "not testable here"),
    ],
)
def test_a_verdict_names_what_it_was_read_on_and_another_one_beside_it(own, text):
    verdict, reading, _ = own
    assert judged({"verdict": verdict, "reading": reading, "otherwise": otherwise(*own)}) == text


def test_a_number_that_is_not_judged_says_why():
    test = {"verdict": "not testable here", "measured": "1% per %", "reason": "this is a CPU"}
    assert judged_test(test) == "not judged: this is a CPU"
    assert judged_test(test | {"measured": ""}) == "not testable here"
    readings = [
        {"reading": "on this test set", "verdict": "supported", "interval_95": [5.0, 5.0]},
        {"reading": "on questions like these", "verdict": "undecided", "interval_95": [1.0, 9.0]},
    ]
    made = {"verdict": "supported", "measured": "5 points", "reason": "", "readings": readings}
    assert judged_test(made) == (
        "supported on this test set; undecided on questions like these [1, 9]"
    )
    readings[1]["verdict"] = "supported"
    assert judged_test(made) == "supported on this test set"
    assert judged_test(made | {"reason": "all equal"}) == "supported on this test set (all equal)"


# --- at a glance ---------------------------------------------------------------------------------


def columns(line, heading):
    """The cells of a line below the titles of the scopes, and what is right of them."""
    starts = [heading.index(name) for name in ("authors", "this run", "paper scale", "decided by")]
    ends = [*starts[1:], None]
    return [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]


def table_of(shown):
    """From a claim to its cells."""
    start = next(index for index, line in enumerate(shown) if line.lstrip().startswith("authors  "))
    lines = shown[start + 1 : start + 15]
    return {line.split()[0]: columns(line, shown[start]) for line in lines}


def test_every_verdict_is_in_the_ledger_that_the_renderings_are_tested_with(ledger):
    found = {own["verdict"] for row in ledger["claims"] for own in row["scopes"].values()}
    assert found == set(VERDICTS)
    otherwise = [own["otherwise"] for row in ledger["claims"] for own in row["scopes"].values()]
    assert any(otherwise)


def test_a_line_has_the_verdict_of_every_scope_side_by_side(ledger):
    shown, _, _ = glance(ledger)
    assert max(map(len, shown)) <= GLANCE_WIDTH
    table = table_of(shown)
    assert list(table) == [f"C{number}" for number in range(1, 15)]
    for row in ledger["claims"]:
        theirs, own, paper, _ = table[row["id"]]
        for cell, scope in ((theirs, "authors"), (own, "run")):
            judgement = row["scopes"][scope]
            assert cell.rstrip("*") == SHORT[judgement["verdict"]]
            assert cell.endswith("*") == bool(judgement["otherwise"])
        assert paper == "not run yet"
    assert len(set(SHORT.values())) == len(VERDICTS)


def test_the_heading_says_whose_results_judge_and_how_to_read_a_line(ledger):
    shown, _, _ = glance(ledger)
    heading = "\n".join(shown[:9])
    assert "authors: The authors' data, Llama-2-7B-chat on 4 × NVIDIA A100 80GB" in heading
    assert "this run: This run, Small-1M on A CPU" in heading
    assert f"paper scale: The paper's scale: not run yet ({NO_RUN})" in heading
    assert DETAILS in heading
    assert all(line in heading for line in LEGEND)
    assert shown[-1] == (
        "this run: 1 supported, 1 seen, 1 trivially seen, 2 not seen, 3 undecided, 6 not testable"
    )
    for line, scope in zip(shown[-2:], ledger["scopes"], strict=False):
        numbers = [int(number) for number in re.findall(r"(\d+) ", line)]
        assert sum(numbers) == 14 and line.startswith(f"{scope['short']}: ")


def test_a_line_ends_with_the_deciding_number_and_where_the_details_are(ledger):
    shown, details, lines = glance(ledger)
    number = table_of(shown)["C8"][3]
    assert number.startswith("authors: memory slope: 0.649% per % [0.629, 0.669]")
    for name, cells in table_of(shown).items():
        assert cells[3].split()[-1] == str(lines[name])
    for row in ledger["claims"]:
        assert details[lines[row["id"]] - 1] == f"{row['id']}  {row['title']}"
    assert table_of(shown)["C12"][3].startswith("the study fine_tuning is not part of")


def test_where_the_run_has_no_verdict_the_number_is_of_those_who_have_one(ledger):
    row = row_of(ledger, "C8")
    assert row["scopes"]["run"]["verdict"] == "not testable here"
    number = table_of(glance(ledger)[0])["C8"][3]
    assert number.startswith("authors: ") and "0.649% per %" in number
    row["scopes"]["authors"]["verdict"] = "not testable here"  # then a number that is not judged
    assert table_of(glance(ledger)[0])["C8"][3].startswith("latency slope: 0.967% per %")


def test_a_line_that_is_too_long_loses_its_doubts_then_words_then_what_was_expected(ledger):
    deciding = row_of(ledger, "C11")["scopes"]["run"]["deciding"]

    def shown(**changes):
        deciding.update(changes)
        line = next(line for line in glance(ledger)[0] if line.startswith("C11 "))
        assert len(line) == GLANCE_WIDTH
        return line

    deciding.update(says="slope", measured="1%", note="expected 0.4")
    assert "slope: 1% (expected 0.4; busy)" in shown(flags=["busy"])
    long = shown(flags=["a doubt that takes more room than a line has left"])
    assert long == shown(flags=[])
    assert "word …: 1% (expected 0.4)" in shown(says="word " * 30)
    assert "word …: 1%  " in shown(note="a reason that leaves no room for words")
    row_of(ledger, "C12")["scopes"]["run"]["deciding"]["note"] = "a reason " * 20
    line = next(line for line in glance(ledger)[0] if line.startswith("C12"))
    assert "  a reason a reason" in line and "…" in line and len(line) == GLANCE_WIDTH


@pytest.mark.parametrize("number", [1, 2, 3])
def test_more_scopes_leave_less_room_for_the_number_and_no_line_grows(ledger, number):
    for index in range(number):
        name = f"other-{index}"
        ledger["scopes"].insert(0, ledger["scopes"][1] | {"scope": name, "short": "elsewhere"})
        for row in ledger["claims"]:
            row["scopes"][name] = copy.deepcopy(row["scopes"]["run"])
    shown, _, lines = glance(ledger)
    table = [line for line in shown if re.match(r"C\d+ ", line)]
    assert len(table) == 14 and max(map(len, shown)) <= GLANCE_WIDTH
    assert all(line.endswith(f" {lines[line.split()[0]]}") for line in table)
    fifth = next(line for line in table if line.startswith("C5 "))
    measured = row_of(ledger, "C5")["scopes"]["run"]["deciding"]["measured"]
    assert (measured in fifth) == ("[" in fifth)  # all of an interval, or none
    assert (measured.split(" [")[0] in fifth) == (number < 3)


# --- the details and the tables ------------------------------------------------------------------


def test_the_details_have_every_test_its_sources_and_what_is_allowed(ledger):
    text, _ = as_details(ledger)
    text = " ".join(text.split())
    assert ledger["method"] in text and ledger["deciding"] in text
    assert (
        "This run on Small-1M, A CPU, on questions like these: not seen here (2 of 6 tests could "
        "be judged; not judged: the test speaks of llama-2-7b" in text
    )
    assert (
        "loss at 6% on TruthfulQA: 25 points [3.44, 46.6], 40 questions (expected: above 0 points) "
        "seen here on questions like these [flags: at chance]" in text
    )
    for row in ledger["claims"]:
        assert f"Allowed: {' '.join(row['allowed'].split())}" in text
    assert "studies/table_4_2.csv" in text and "figures/small/figure_4_1.pdf" in text


def test_the_details_show_the_second_reading_and_what_is_not_judged(ledger):
    text = " ".join(as_details(ledger)[0].split())
    assert (
        "The authors' data on Llama-2-7B-chat, 4 × NVIDIA A100 80GB, on this test set: supported; "
        "undecided on questions like these" in text
    )
    assert (
        "memory slope on Small-1M, A CPU: 0.967% per % [0.928, 1.01] (expected: 0.3 to 0.5% per %) "
        "not judged: the "
        "test speaks of cuda devices, which this is not" in text
    )
    assert text.count("The paper's scale: not run yet") == 1 + 14


def rows_by_header(ledger):
    return [dict(zip(TESTS_HEADER, row, strict=True)) for row in rows_of_tests(ledger)]


def test_tests_that_measured_nothing_for_one_reason_are_one_row(ledger):
    rows = rows_by_header(ledger)
    heads = [(row[""], row["Scope"]) for row in rows if row[""]]
    assert heads == [
        (row["id"], scope["title"]) for row in ledger["claims"] for scope in ledger["scopes"]
    ]
    joined = [row for row in rows if "; BERT's Int less" in row["Test"]]
    assert joined[0]["Test"] == (
        "BERT's Int less the lowest of the other tensors in one layer; "
        "BERT's Int less the lowest of the other tensors in all layers"
    )
    assert joined[0]["Measured"] == "the test speaks of bert-base-squad, which this is not"
    (loss,) = (r for r in rows if r["Test"] == "loss at 6% on TruthfulQA" and "25" in r["Measured"])
    assert loss["Expected (allowed)"] == "above 0 points"
    assert loss["Measured"] == "25 points [3.44, 46.6], 40 questions"
    assert loss["Test says"] == "seen here on questions like these"
    assert loss["Holds for"] == "Small-1M, A CPU"
    assert loss["Shown by"] == "figure 4.1, study table_4_2"
    assert loss["Flags"] == "at chance"
    assert "table_4_2.csv" in loss["Computed from"]


def test_each_scope_is_a_pair_of_columns_and_one_that_was_not_run_is_one(ledger):
    header, *rows = rows_of_verdicts(ledger)
    assert header == [
        "",
        "Claim",
        "The authors' data, Llama-2-7B-chat on 4 × NVIDIA A100 80GB",
        "Decided by",
        "This run, Small-1M on A CPU",
        "Decided by",
        f"The paper's scale: not run yet ({NO_RUN})",
    ]
    assert len(rows) == 14
    assert rows[7] == [
        "C8",
        row_of(ledger, "C8")["title"],
        "contradicted on these workloads",
        decided_by(row_of(ledger, "C8")["scopes"]["authors"]["deciding"]),
        "not testable here",
        "latency slope: 0.967% per % [0.928, 1.01] (not judged: the test speaks of cuda devices, "
        "which this is not)",
        "not run yet",
    ]
    other = copy.deepcopy(ledger["scopes"][1]) | {"scope": "other", "title": "Another device"}
    ledger["scopes"].append(other)
    for row in ledger["claims"]:
        row["scopes"]["other"] = copy.deepcopy(row["scopes"]["run"])
    row_of(ledger, "C8")["scopes"]["other"] |= {"verdict": "supported", "reading": "as counted"}
    header, *rows = rows_of_verdicts(ledger)
    assert header[7].startswith("Another device, ")
    assert rows[7][7] == "supported as counted"
    text, _ = as_details(ledger)
    assert text.count("Another device") == 1 + 14


def test_doubts_stand_beside_what_was_expected():
    deciding = {"says": "a loss", "measured": "5 points [1, 9]", "note": "expected 4 to 10"}
    flagged = deciding | {"flags": ["busy", "throttled"]}
    assert decided_by(flagged) == "a loss: 5 points [1, 9] (expected 4 to 10; busy; throttled)"


def test_many_files_are_named_by_their_pattern():
    folder = "results/models/m"
    files = [f"{folder}/studies/s.csv"]
    files += [f"{folder}/evaluations/{c}.csv" for c in "xyz"]
    assert sources(files[:3]) == ", ".join(files[:3])
    pattern = "3 of results/models/m/evaluations/*.csv"
    assert sources(files) == f"{folder}/studies/s.csv, {pattern}"
