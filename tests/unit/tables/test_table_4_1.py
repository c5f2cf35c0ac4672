"""Counts of questions beside what the thesis prints, and beside the files."""

import json
import os
from pathlib import Path

import pyarrow.parquet
import pytest
from lowrank.base.errors import LowrankError
from lowrank.project.views.tables import table_4_1_row
from lowrank.tables.table_4_1 import table

THESIS = "paper/thesis.yaml"
MIRROR = Path(os.environ.get("LOWRANK_MIRROR", "../shared/data"))


def manifest(folder, name, questions):
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"benchmark": name, "questions": questions}))
    return path


def test_table_4_1_counts(project, tmp_path):
    project.settings["benchmarks"]["mmlu"]["limit"] = 114
    del project.benchmarks["truthfulqa"]
    names = ("arc_easy", "mmlu", "truthfulqa", "hellaswag")
    sizes = {"arc_easy": 2376, "mmlu": 14042, "hellaswag": 10042}
    made = table(
        [table_4_1_row(project, name) for name in names],
        [manifest(tmp_path, name, size) for name, size in sizes.items()],
        THESIS,
    )
    assert [row[4:] for row in made.rows] == [
        ("5.2K", "5,197", "test", "2,376", "2,376"),
        ("15.9K", "15,858", "test", "14,042", "114"),
        ("1634†", "1,634", "validation", "–", "not used here"),
        ("10K*", "59,950", "validation", "10,042", "10,042"),
    ]
    assert made.rows[1][2] == "mmlu_* (57 subjects)"
    assert made.rows[2][2] == "(2 truthfulqa_mc1 + truthfulqa_mc2) / 3"
    notes = " ".join(made.notes)
    assert "too: ARC-Easy acc_norm; TruthfulQA mc1, mc2; HellaSwag acc_norm." in notes
    assert "ARC-Easy 2,251 (train) + 570 (validation) + 2,376 (test);" in notes
    assert "its table lists 7; this run uses 3" in notes and "‡" not in notes


def test_a_benchmark_that_the_thesis_does_not_have(project, tmp_path):
    row = table_4_1_row(project, "arc_easy") | {"name": "own", "splits": [], "limits": [50]}
    made = table([row], [manifest(tmp_path, "own", 20)], THESIS)
    assert made.rows[0][4:] == ("–", "–", "test", "20", "20")


def test_a_benchmark_that_no_configuration_is_asked_is_not_used(project, tmp_path):
    """As those of encoders are not, where a run has none."""
    rows = [table_4_1_row(project, "arc_easy"), table_4_1_row(project, "mmlu") | {"limits": []}]
    manifests = [manifest(tmp_path, name, 2376) for name in ("arc_easy", "mmlu")]
    made = table(rows, manifests, THESIS)
    assert [row[-1] for row in made.rows] == ["2,376", "not used here"]
    assert "this run uses 1" in " ".join(made.notes)


def test_numbers_that_differ_among_configurations_are_a_range(project, tmp_path):
    row = table_4_1_row(project, "mmlu") | {"limits": [114, 2000, None]}
    made = table([row], [manifest(tmp_path, "mmlu", 14042)], THESIS)
    assert made.rows[0][-1] == "114 to 14,042"
    assert made.data[1][-3:] == ("14042", "114", "14042")


def test_the_numbers_are_those_of_the_run_s_configurations(project):
    project.settings["benchmarks"]["mmlu"]["limit"] = 114
    project.settings["limits"] = {"table_4_2": {"mmlu": 570}}
    (model,) = (
        model for model in project.models.values() if model.architecture.family.name == "llama"
    )
    project.settings["asked"] = {model.name: {"dense": {"mmlu": 5000}}}
    assert table_4_1_row(project, "mmlu")["limits"] == [114, 570, 5000]
    del project.benchmarks["mmlu"]
    assert table_4_1_row(project, "mmlu")["limits"] == []


def test_a_missing_manifest_is_named(project):
    row = table_4_1_row(project, "arc_easy")
    with pytest.raises(LowrankError, match="there is no manifest of benchmark arc_easy"):
        table([row], [], THESIS)


def test_the_thesis_counts_every_split(project):
    printed = {"arc_easy": 5200, "arc_challenge": 2590, "mmlu": 15900, "truthfulqa": 1634}
    for name, samples in printed.items():
        total = sum(project.benchmark(name)["splits"].values())
        digits = len(str(samples).rstrip("0"))
        assert float(f"{total:.{digits - 1}e}") == samples
    for name in project.benchmarks:
        entry = project.benchmark(name)
        assert name not in printed or entry["questions"] in entry["splits"].values()


@pytest.mark.skipif(not MIRROR.is_dir(), reason=f"no local mirror at {MIRROR}")
@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("arc_easy", "arc/ARC-Easy/{split}.parquet"),
        ("arc_challenge", "arc/ARC-Challenge/{split}.parquet"),
        ("hellaswag", "hellaswag/{split}.parquet"),
        ("winogrande", "winogrande/{split}.parquet"),
        ("mmlu", "mmlu/*/{split}.parquet"),
        ("gsm8k", "gsm8k/{split}.parquet"),
    ],
)
def test_splits_are_those_of_the_files(project, name, pattern):
    compared = 0
    for split, size in project.benchmark(name)["splits"].items():
        found = sorted(MIRROR.glob(pattern.format(split=split)))
        if found:  # unlabelled test splits are in no mirror
            assert sum(pyarrow.parquet.read_metadata(path).num_rows for path in found) == size
            compared += 1
    assert compared
