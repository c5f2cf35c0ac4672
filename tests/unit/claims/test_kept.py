"""A kept run as a scope: its own verdicts, where its claims are those of today."""

import shutil

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


def edited(folder, name, old, new):
    """The claims of a copy of the configuration in which a file says something else."""
    shutil.copytree(ROOT / "config", folder / "config")
    path = folder / "config" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return Registry(folder / "config").claims()


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("claims.yaml", "says: memory slope", "says: slope of memory", ["C8"]),
        ("claims.yaml", "range: [0.3, 0.5]", "range: [0.3, 0.6]", ["C8"]),
        ("claims.yaml", "{metric: power}", "{metric: power, workloads: all}", ["C9"]),
        ("claims.yaml", "model: bert-large-uncased", "model: bert-base-uncased", ["C1"]),
        ("claims.yaml", "{models: [llama-7b], devices: []}", "{models: [], devices: []}", ["C14"]),
        ("studies/figure_3_7.yaml", "depth: 32", "depth: 30", ["C6"]),
    ],
)
def test_a_claim_whose_definition_differs_is_not_mixed_in(path, tmp_path, file, old, new, changed):
    claims = edited(tmp_path, file, old, new)
    scope, own = judged(tmp_path, claims, ledger=str(path))
    assert [name for name, made in own.items() if made["reason"] == OTHER_VERSION] == changed
    for name in changed:
        assert own[name]["verdict"] == "not testable here" and own[name]["tests"] == []
    assert sum(scope["counts"].values()) == len(claims)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("claims.yaml", "title: Distant layers beat neighbours", "title: Far layers are better"),
        ("claims.yaml", "short: slope beyond 48% less before", "short: slope beyond less before"),
        ("studies/table_4_2.yaml", "title: Rank-1", "title: Rank 1,"),
    ],
)
def test_words_about_a_claim_change_no_kept_verdict(path, tmp_path, file, old, new):
    _, own = judged(tmp_path, edited(tmp_path, file, old, new), ledger=str(path))
    assert OTHER_VERSION not in {made["reason"] for made in own.values()}


def test_a_ledger_without_digests_is_of_another_version(path, tmp_path):
    content = read_json(path)
    for row in content["claims"]:
        del row["digest"]
    write_json(path, content)
    _, own = judged(tmp_path, CLAIMS, ledger=str(path))
    assert {made["reason"] for made in own.values()} == {OTHER_VERSION}


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
