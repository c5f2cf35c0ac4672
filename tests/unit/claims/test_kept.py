"""A kept run as a scope: its own verdicts, where its claims are those of today."""

import copy

import pytest
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, write_json
from lowrank.claims.kept import OTHER_VERSION, load_kept
from lowrank.claims.ledger import judge_claims
from lowrank.claims.verdict_names import NOT_RUN
from lowrank.project.registry import Registry
from made_ledger import ROOT, made_ledger

CLAIMS = Registry(ROOT / "config").claims()


@pytest.fixture
def path(tmp_path):
    """The ledger of a run that was kept."""
    made_ledger(tmp_path / "kept.json")
    return tmp_path / "kept.json"


def judged(folder, claims, **source):
    """The ledger of a kept run alone: its scope, and from a claim to its judgement."""
    judge_claims(claims, [load_kept("kept", "Kept", "kept", **source)], {}, folder / "own.json")
    made = read_json(folder / "own.json")
    return made["scopes"][0], {row["id"]: row["scopes"]["kept"] for row in made["claims"]}


def test_a_kept_run_has_the_verdicts_of_its_own_scope(path, tmp_path):
    scope, own = judged(tmp_path, CLAIMS, ledger=str(path))
    kept = read_json(path)
    (run,) = (entry for entry in kept["scopes"] if entry["scope"] == "run")
    assert scope["holds_for"] == run["holds_for"] and scope["counts"] == run["counts"]
    for row in kept["claims"]:
        was, now = row["scopes"]["run"], own[row["id"]]
        assert {**now, "tests": None} == {**was, "tests": None}
        assert [t["verdict"] for t in now["tests"]] == [t["verdict"] for t in was["tests"]]


def test_what_it_was_computed_from_is_the_kept_ledger(path, tmp_path):
    _, own = judged(tmp_path, CLAIMS, ledger=str(path))
    files = {
        file for judgement in own.values() for t in judgement["tests"] for file in t["evidence"]
    }
    assert files == {str(path)}


@pytest.mark.parametrize("change", [{"says": "another test"}, {"range": [1.0, 2.0]}])
def test_a_claim_whose_tests_differ_is_not_mixed_in(path, tmp_path, change):
    claims = copy.deepcopy(CLAIMS)
    claims["C8"]["tests"][0] |= change
    scope, own = judged(tmp_path, claims, ledger=str(path))
    assert own["C8"]["verdict"] == "not testable here"
    assert own["C8"]["reason"] == OTHER_VERSION and own["C8"]["tests"] == []
    assert own["C1"]["verdict"] == "supported"
    assert sum(scope["counts"].values()) == len(claims)


def test_a_claim_that_the_kept_run_did_not_know_is_not_testable(path, tmp_path):
    content = read_json(path)
    content["claims"] = [row for row in content["claims"] if row["id"] != "C5"]
    write_json(path, content)
    _, own = judged(tmp_path, CLAIMS, ledger=str(path))
    assert own["C5"]["reason"] == OTHER_VERSION and own["C4"]["reason"] != OTHER_VERSION


def test_verdicts_without_readings_are_of_another_version(path, tmp_path):
    content = read_json(path)
    for test in content["claims"][7]["scopes"]["run"]["tests"]:
        test.pop("readings", None)
    content["claims"][6]["scopes"]["run"].pop("otherwise")
    write_json(path, content)
    _, own = judged(tmp_path, CLAIMS, ledger=str(path))
    assert [name for name, made in own.items() if made["reason"] == OTHER_VERSION] == ["C7", "C8"]


def test_a_run_that_nobody_made_says_so_on_every_claim(tmp_path):
    scope, own = judged(tmp_path, CLAIMS, reason="a command makes it")
    assert scope["reason"] == "a command makes it" and scope["holds_for"] == ""
    assert scope["counts"]["not testable here"] == len(CLAIMS)
    assert {made["statement"] for made in own.values()} == {NOT_RUN}


@pytest.mark.parametrize("content", [{}, {"scopes": [], "claims": []}, {"claims": [{"id": "C1"}]}])
def test_what_is_no_ledger_of_a_run_is_one_line(tmp_path, content):
    write_json(tmp_path / "kept.json", content)
    with pytest.raises(LowrankError, match="has no verdicts of a run"):
        load_kept("kept", "Kept", "kept", ledger=str(tmp_path / "kept.json"))
