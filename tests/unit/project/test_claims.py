"""Tests of claims that are written once and spelled out."""

import shutil
from pathlib import Path

import pytest
from lowrank.base.errors import LowrankError
from lowrank.project.claims import expand_tests
from lowrank.project.registry import Registry

ROOT = Path(__file__).parents[3]
CLAIMS = Registry(ROOT / "config").claims()


def expanded(*tests):
    return expand_tests(tests, {"arc_easy": "ARC-Easy"}.__getitem__, "claims.yaml: C1.tests")


def test_a_test_without_for_is_itself():
    test = {"says": "a loss", "range": [0, None], "arguments": {"others": [{"labels": ["a"]}]}}
    assert expanded(test) == [test]


def test_the_first_name_changes_slowest_and_others_stay_in_their_group():
    made = expanded(
        {
            "for": {"layers": ["one", "all"], "tensor": [["Q", "K", "V"], ["U", "D"]]},
            "says": "{tensor} less {tensor.others} in {layers}",
            "arguments": {"second": {"series": "{layers}", "labels": ["{tensor.others}", "x"]}},
        }
    )
    assert [test["says"] for test in made] == [
        "Q less K and V in one",
        "K less Q and V in one",
        "V less Q and K in one",
        "U less D in one",
        "D less U in one",
        "Q less K and V in all",
        "K less Q and V in all",
        "V less Q and K in all",
        "U less D in all",
        "D less U in all",
    ]
    assert made[6]["arguments"] == {"second": {"series": "all", "labels": ["Q", "V", "x"]}}
    assert all("for" not in test for test in made)


def test_benchmarks_have_the_label_of_the_registry_and_numbers_are_text():
    (made,) = expanded(
        {
            "for": {"rank": [250], "benchmark": ["arc_easy"]},
            "says": "rank {rank} on {benchmark.label}",
            "arguments": {"benchmarks": ["{benchmark}"], "labels": ["{rank}"]},
        }
    )
    assert made["says"] == "rank 250 on ARC-Easy"
    assert made["arguments"] == {"benchmarks": ["arc_easy"], "labels": ["250"]}


def test_benchmarks_of_one_label_are_told_apart_by_name():
    test = {"for": {"benchmark": ["one", "two"]}, "says": "loss on {benchmark.label}"}
    made = expand_tests([test], lambda name: "Same", "claims.yaml: C1.tests")
    assert [own["says"] for own in made] == ["loss on Same (one)", "loss on Same (two)"]


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (
            {"for": {"tensor": ["Q", "K"]}, "says": "{tensor}", "arguments": {"a": ["{tenser}"]}},
            r"C1\.tests\.1\.arguments\.a\.0: {tenser} has no value in `for`; did you mean 'tensor'",
        ),
        ({"says": "a {tensor}"}, r"C1\.tests\.1\.says: {tensor} has no value in `for`$"),
        (
            {"for": {"tensor": ["Q", "K"]}, "says": "one", "arguments": {"a": ["{tensor}"]}},
            r"C1\.tests\.1: two tests say 'one'; name in `says` what differs",
        ),
        ({"says": "first"}, r"C1\.tests\.1: two tests say 'first'"),
    ],
)
def test_what_cannot_be_spelled_out_is_one_line(test, message):
    with pytest.raises(LowrankError, match=message) as error:
        expanded({"says": "first"}, test)
    assert "\n" not in str(error.value)


def test_the_claims_of_the_thesis_have_all_their_tests():
    counts = {name: len(claim["tests"]) for name, claim in CLAIMS.items()}
    assert list(counts.values()) == [4, 3, 16, 6, 5, 12, 2, 5, 5, 3, 2, 4, 7, 2]
    third = CLAIMS["C3"]["tests"]
    assert third[10] == {
        "says": "SO less Q and K and V in all layers",
        "short": "SO less its group in all layers",
        "kind": "llama",
        "models": [],
        "devices": [],
        "at_chance": "trivial",
        "operator": "contrast",
        "arguments": {
            "study": "figure_3_4",
            "first": {"series": "all layers", "labels": ["SO"]},
            "second": {"series": "all layers", "labels": ["Q", "K", "V"]},
            "benchmarks": ["arc_easy", "arc_challenge", "hellaswag", "winogrande", "mmlu"],
        },
        "unit": "points",
        "range": [-2, 2],
    }
    assert third[15]["says"] == "BERT's Int less the lowest of the other tensors in all layers"
    assert [test["says"] for test in CLAIMS["C2"]["tests"][:2]] == [
        "variation between ranks 250 and 1",
        "variation between ranks 500 and 1",
    ]


def test_a_setting_that_is_new_changes_no_digest_until_it_is_set(tmp_path):
    folder = tmp_path / "config"
    shutil.copytree(ROOT / "config", folder)
    schema = folder / "schemas/study.schema.yaml"
    new = "properties:\n  tilt: {type: integer, default: 3}\n"
    schema.write_text(schema.read_text().replace("properties:\n", new, 1))
    digests = {name: claim["digest"] for name, claim in Registry(folder).claims().items()}
    assert digests == {name: claim["digest"] for name, claim in CLAIMS.items()}
    study = folder / "studies/figure_3_7.yaml"
    study.write_text(study.read_text() + "tilt: 4\n")
    claims = Registry(folder).claims()
    assert [name for name in claims if claims[name]["digest"] != digests[name]] == ["C6"]
