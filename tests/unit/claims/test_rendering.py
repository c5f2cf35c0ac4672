"""The ledger as text and as rows: what every rendering shows of it."""

import copy

import pytest
from lowrank.claims.rendering import (
    GLANCE_WIDTH,
    TESTS_HEADER,
    as_details,
    at_a_glance,
    decided_by,
    rows_of_tests,
    rows_of_verdicts,
    sources,
)
from lowrank.claims.wording import expected, measured
from made_ledger import made_ledger

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
        (-1.4e-17, -1.4e-17, 17.64, "points", "0 points [0, 17.6]"),  # what rounding left
        (0.1 + 0.2, -1e-7, 1.0, "", "0.3 [−1e−07, 1]"),
    ],
)
def test_a_number_has_its_unit_and_its_interval(value, low, high, unit, text):
    assert measured({"value": value, "interval_95": [low, high], "unit": unit}) == text


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


# --- at a glance ---------------------------------------------------------------------------------


def test_the_run_ends_with_a_line_a_claim_and_their_counts(ledger):
    shown, _, _ = glance(ledger)
    heading, claims, counts = shown[:4], shown[4:-2], shown[-1]
    assert "Small-1M on A CPU" in heading[0]
    assert DETAILS in heading[2]
    assert [line.split()[0] for line in claims] == [f"C{number}" for number in range(1, 15)]
    assert counts == "14 claims: 1 supported, 4 contradicted, 6 undecided, 3 not testable here."
    assert max(map(len, shown)) <= GLANCE_WIDTH


def test_a_line_has_the_verdict_the_deciding_number_and_where_the_details_are(ledger):
    shown, details, lines = glance(ledger)
    eighth = next(line for line in shown if line.startswith("C8 "))
    words = (
        "C8   contradicted  latency slope: 0.967% per % [0.928, 1.01] (expected 0.4 to 0.6; busy)"
    )
    assert eighth.startswith(words)
    assert eighth.endswith(f"  line {lines['C8']}")
    for row in ledger["claims"]:
        assert details[lines[row["id"]] - 1] == f"{row['id']}  {row['title']}"
    assert next(line for line in shown if "C12" in line).split("  ")[2] == (
        "the workflow does not fine-tune"
    )


def test_a_line_that_is_too_long_loses_its_doubts_then_words_then_what_was_expected(ledger):
    deciding = row_of(ledger, "C8")["scopes"]["run"]["deciding"]

    def shown(**changes):
        deciding.update(changes)
        return next(line for line in glance(ledger)[0] if line.startswith("C8 "))

    assert "(expected 0.4 to 0.6; busy)" in shown(flags=["busy"])
    long = shown(flags=["a doubt that takes more room than a line has left"])
    assert long == shown(flags=[])
    line = shown(says="word " * 30)
    assert "word …: 0.967% per % [0.928, 1.01] (expected 0.4 to 0.6)" in line
    assert len(line) == GLANCE_WIDTH
    line = shown(note="a reason that leaves no room for words")
    assert "word …: 0.967% per % [0.928, 1.01]  " in line
    assert len(shown(measured="", note="a reason " * 20)) == GLANCE_WIDTH


# --- the details and the tables ------------------------------------------------------------------


def test_the_details_have_every_test_its_sources_and_what_is_allowed(ledger):
    text, _ = as_details(ledger)
    text = " ".join(text.split())
    assert ledger["method"] in text and ledger["deciding"] in text
    assert (
        "This run on Small-1M, A CPU: undecided (6 of 7 tests could be made; not made: the test "
        "speaks of llama-2-7b" in text
    )
    assert (
        "loss at 9% on ARC-Easy: 25 points [3.44, 46.6], 40 questions (expected: 4 to 10 points) "
        "undecided [flags: at chance]" in text
    )
    for row in ledger["claims"]:
        assert f"Allowed: {' '.join(row['allowed'].split())}" in text
    assert "studies/table_4_2.csv" in text and "figures/small/figure_4_1.pdf" in text


def test_tests_that_cannot_be_made_for_one_reason_are_one_row(ledger):
    rows = [dict(zip(TESTS_HEADER, row, strict=True)) for row in rows_of_tests(ledger)]
    firsts = [index for index, row in enumerate(rows) if row[""]]
    assert [rows[index][""] for index in firsts] == [row["id"] for row in ledger["claims"]]
    third = rows[firsts[2] : firsts[3]]
    assert len(third) == 15
    assert third[-1]["Test"] == (
        "BERT's Int less the lowest of the other tensors in one layer; "
        "BERT's Int less the lowest of the other tensors in all layers"
    )
    assert third[-1]["Measured"] == (
        "the test speaks of bert-base-squad, which this run does not have"
    )
    first = rows[firsts[6]]
    assert first["Expected (allowed)"] == "4 to 10 points"
    assert first["Measured"] == "25 points [3.44, 46.6], 40 questions"
    assert first["Holds for"] == "Small-1M, A CPU"
    assert first["Shown by"] == "figure 4.1, study table_4_2"
    assert first["Flags"] == "at chance"
    assert "table_4_2.csv" in first["Computed from"]


def test_one_more_scope_is_one_more_pair_of_columns(ledger):
    header, *rows = rows_of_verdicts(ledger)
    assert header == ["", "Claim", "This run: Small-1M on A CPU", "Decided by"]
    assert len(rows) == 14
    assert rows[7] == [
        "C8",
        "1% fewer parameters save 0.5% of latency and energy",
        "contradicted",
        "latency slope: 0.967% per % [0.928, 1.01] (expected 0.4 to 0.6; busy)",
    ]
    other = copy.deepcopy(ledger["scopes"][0]) | {"scope": "other", "title": "Another device"}
    ledger["scopes"].append(other)
    for row in ledger["claims"]:
        row["scopes"]["other"] = copy.deepcopy(row["scopes"]["run"])
    row_of(ledger, "C8")["scopes"]["other"]["verdict"] = "supported"
    header, *rows = rows_of_verdicts(ledger)
    assert header[4].startswith("Another device: ")
    assert (rows[7][2], rows[7][4]) == ("contradicted", "supported")
    text, _ = as_details(ledger)
    assert text.count("Another device") == 1 + 14
    assert len(rows_of_tests(ledger)) % 2 == 0


def test_doubts_stand_beside_what_was_expected():
    deciding = {"says": "a loss", "measured": "5 points [1, 9]", "note": "expected 4 to 10"}
    flagged = deciding | {"flags": ["busy", "throttled"]}
    assert decided_by(flagged) == "a loss: 5 points [1, 9] (expected 4 to 10; busy; throttled)"


def test_many_files_are_named_by_their_pattern():
    folder = "results/models/m"
    files = [f"{folder}/studies/s.csv"]
    files += [f"{folder}/evaluations/{c}/{b}.csv" for c in "xyz" for b in ("p", "q")]
    assert sources(files[:3]) == ", ".join(files[:3])
    pattern = "6 of results/models/m/evaluations/*/{p,q}.csv"
    assert sources(files) == f"{folder}/studies/s.csv, {pattern}"
