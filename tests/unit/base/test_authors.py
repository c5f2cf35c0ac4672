"""The published figures: the tables as they are kept, and what is refused."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from lowrank.base.authors import read_published
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "paper/authors"
RAW = ROOT.parent / "shared/data/authors"
BENCHMARKS = {
    "arc_easy": "ARC Easy",
    "arc_challenge": "ARC Challenge",
    "hellaswag": "HellaSwag",
    "mmlu": "MMLU",
    "truthfulqa": "TruthfulQA",
    "winogrande": "WinoGrande",
    "gsm8k": "GSM8K",
}
QUANTITIES = {
    "latency": "Total Inference Time(s)",
    "power": "Total Average Power",
    "energy": "Total Average Energy",
    "memory": "Average Memory Usage",
}


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(FOLDER, tmp_path / "authors"))


def test_there_are_ten_configurations_and_eleven_with_the_dense_model():
    published = read_published(FOLDER)
    theirs = published.accuracy[published.accuracy["configuration"] != "dense"]
    assert len(published.reduction) == 11
    assert len(theirs) == 63
    assert len(published.efficiency) == 11 * 6 * 4


def test_shares_are_whole_numbers_of_right_answers():
    accuracy = read_published(FOLDER).accuracy
    theirs = accuracy[(accuracy["configuration"] != "dense") & (accuracy["quantity"] == "acc")]
    right = (theirs["value"] * theirs["questions"])[theirs["benchmark"] != "truthfulqa"]
    assert (right - right.round()).abs().max() < 1e-6


def test_the_dense_rows_of_truthfulqa_are_its_group_and_gsm8k_is_not_like_for_like():
    accuracy = read_published(FOLDER).accuracy
    dense = accuracy[accuracy["configuration"] == "dense"].set_index("benchmark")
    assert "gsm8k" not in dense.index
    assert dense.loc["truthfulqa", "value"].iloc[0] == pytest.approx((2 * 0.3023 + 0.4531) / 3)
    assert list(dense.loc["arc_challenge", "value"]) == [0.4420, 0.4377]


def test_every_part_of_truthfulqa_meets_every_record_of_the_other(folder):
    path = folder / "dense.csv"
    more = "truthfulqa,mc1,0.3123,share,,817,0,yes,llama2_quant\n"
    path.write_text(path.read_text().replace("0.4531,share,,", "0.4431,share,,") + more)
    accuracy = read_published(folder).accuracy
    dense = accuracy[accuracy["configuration"] == "dense"].set_index("benchmark")
    parts = [(0.3023, 0.4531), (0.3023, 0.4431), (0.3123, 0.4531), (0.3123, 0.4431)]
    expected = [(2 * mc1 + mc2) / 3 for mc1, mc2 in parts]
    assert list(dense.loc["truthfulqa", "value"]) == pytest.approx(expected)


@pytest.mark.skipif(not RAW.is_dir(), reason="the authors' files are not beside the project")
def test_the_tables_hold_what_the_authors_files_hold():
    model = read_yaml(ROOT / "config/models/llama-2-7b-chat.yaml")
    architecture = Architecture.from_config(model["architecture"])

    def name(row):
        layers = [layer + 1 for layer in json.loads(row["Layers Decomposed"])]
        return Decomposition.make(architecture, layers).name(architecture) if layers else "dense"

    published = read_published(FOLDER)
    kept = published.accuracy.set_index(["configuration", "benchmark"])["value"]
    with (RAW / "accuracy_impact_data.csv").open() as file:
        for row in csv.DictReader(file):
            for benchmark, column in BENCHMARKS.items():
                value = kept.get((name(row), benchmark))
                assert value is None if row[column] == "" else value == float(row[column])
    kept = published.efficiency.set_index(["configuration", "benchmark", "quantity"])["value"]
    with (RAW / "power_memory.csv").open() as file:
        for row in csv.DictReader(file):
            assert published.reduction[name(row)] == float(row["Parameter Reduction(%)"])
            for quantity, column in QUANTITIES.items():
                assert kept[name(row), row["Benchmark"], quantity] == float(row[column])


@pytest.mark.parametrize(
    ("table", "old", "new", "says"),
    [
        ("accuracy", "0.6957070707070707", "nan", "row 2 has no finite value"),
        ("accuracy", "questions", "asked", "cannot be read"),
        ("accuracy", "tucker-r1-l3.30-all", "tucker-r1-l4-all", "configurations.csv has no"),
        ("accuracy", "arc_challenge,acc,0.3959", "arc_easy,acc,0.3959", "given twice"),
        ("dense", "cs245_llm4", "auto_round", "acc of mmlu, auto_round is given twice"),
        ("dense", "auto_round", "elsewhere", "sources.yaml has no source 'elsewhere'"),
        ("configurations", "dense", "tucker-r1-l9-all", "no 'dense'|to come first"),
    ],
)
def test_what_does_not_fit_is_refused(folder, table, old, new, says):
    path = folder / f"{table}.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(LowrankError, match=says):
        read_published(folder)
