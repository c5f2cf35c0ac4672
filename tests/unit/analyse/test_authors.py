"""The authors' tables: every number computed again from the files of what they published."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lowrank.analyse.authors import authors_tables
from lowrank.base.files import read_json, read_yaml
from lowrank.base.metric import Metric
from lowrank.figures.accuracy import Study

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "paper/authors"
STUDY = read_yaml(ROOT / "config/studies/table_4_2.yaml")
LABELS = {"tucker-r1-l3.30-all": "6%", "tucker-r1-l3.18.32-all": "nine"}
BENCHMARKS = {
    "arc_easy": "ARC-Easy",
    "arc_challenge": "ARC-Challenge",
    "hellaswag": "HellaSwag",
    "mmlu": "MMLU",
    "truthfulqa": "TruthfulQA",
    "winogrande": "WinoGrande",
    "gsm8k": "GSM8K",
}
AVERAGED = ("arc_easy", "arc_challenge", "hellaswag", "mmlu", "winogrande")
COSTS = ("latency", "energy", "memory", "power")


def make(output, folder=FOLDER, labels=None):
    architecture = read_yaml(ROOT / "config/models/llama-2-7b-chat.yaml")["architecture"]
    files = [output / name for name in ("scores.csv", "costs.csv", "fits.json")]
    slopes = {"latency": 0.5, "energy": 0.5, "memory": 0.4}
    authors_tables(folder, architecture, labels or {}, BENCHMARKS, slopes, *files)
    return files


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("authors"))


@pytest.fixture(scope="module")
def scores(made):
    """Rows by label and benchmark."""
    return pd.read_csv(made[0]).set_index(["label", "benchmark"])


@pytest.fixture(scope="module")
def costs(made):
    return pd.read_csv(made[1], keep_default_na=False, na_values=[""])


def published(name):
    with (FOLDER / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_configuration_has_a_row_of_every_benchmark_and_is_named_as_in_the_study(scores):
    labels = list(dict.fromkeys(scores.index.get_level_values("label")))
    assert labels == ["dense", *STUDY["configurations"]]
    assert len(scores) == 11 * (len(BENCHMARKS) + 1)
    reductions = scores.xs("aggregate", level="benchmark")["parameter_reduction_percent"]
    for label, fields in STUDY["configurations"].items():
        assert round(reductions[label]) == fields["thesis_reduction"]
    assert set(scores["method"]) == {"dense", "tucker"}
    assert set(scores["rank"]) == {0, 1}


def test_a_study_s_own_label_counts(tmp_path):
    table = pd.read_csv(make(tmp_path, labels=LABELS)[0])
    assert list(dict.fromkeys(table["label"]))[:4] == ["dense", "6%", "nine", "15%"]


def test_scores_are_the_published_ones_and_the_rest_is_blank(scores):
    by_name = scores.reset_index().set_index(["decomposition", "benchmark"])["score"]
    rows = {(row["configuration"], row["benchmark"]): row for row in published("accuracy")}
    for key, row in rows.items():
        assert by_name[key] == pytest.approx(float(row["value"]), abs=1e-6)
    missing = set(by_name[by_name.isna()].index)
    theirs = {key for key in by_name.index if "aggregate" not in key and "dense" not in key}
    assert missing == (theirs - set(rows)) | {("dense", "gsm8k")}
    assert scores.loc[("60%", "truthfulqa"), "questions"] == 817


def test_the_dense_row_is_others_and_says_how_far_others_differ(scores):
    dense = scores.loc["dense"]
    assert dense.loc["truthfulqa", "score"] == pytest.approx((2 * 0.3023 + 0.4531) / 3, abs=1e-6)
    said = {
        "arc_easy": (0.7382, 0.7382, 0.7386),
        "arc_challenge": (0.4420, 0.4377, 0.4420),
        "hellaswag": (0.5780, 0.5780, 0.5784),
        "mmlu": (0.4640, 0.4635, 0.4640),
        "winogrande": (0.6638, 0.6638, 0.6654),  # of three records
    }
    columns = ["score", "score_least", "score_greatest"]
    for benchmark, expected in said.items():
        assert tuple(dense.loc[benchmark, columns]) == expected
    for column in columns[1:]:
        assert scores[column].notna().sum() == len(said) + 1  # TruthfulQA's


def test_losses_at_nine_percent_are_four_to_ten_points(scores):
    loss = -100 * scores.loc["9%"]["score_difference"]
    expected = {
        "arc_easy": 7.6,
        "arc_challenge": 7.8,
        "hellaswag": 7.9,
        "mmlu": 10.6,
        "truthfulqa": 4.6,
        "winogrande": 4.5,
    }
    for benchmark, points in expected.items():
        assert loss[benchmark] == pytest.approx(points, abs=0.05)
    assert np.isnan(loss["gsm8k"])


def test_the_mean_is_over_what_every_configuration_has(scores):
    rows = scores.xs("aggregate", level="benchmark")
    for label in rows.index:
        of_each = [scores.loc[(label, benchmark), "score"] for benchmark in AVERAGED]
        assert rows.loc[label, "score"] == pytest.approx(np.mean(of_each), abs=2e-6)
    label = "mean of 5 benchmarks, without TruthfulQA and GSM8K"
    assert set(rows["benchmark_label"]) == {label}
    assert set(rows["questions"]) == {2376 + 1172 + 10042 + 14042 + 1267}
    is_averaged = scores.loc["dense"]["in_mean"].drop("aggregate")
    assert tuple(is_averaged[is_averaged].index) == AVERAGED


def test_intervals_of_scores(scores):
    z = 1.959963984540054
    # Wilson's, by its formula: 1573 of 2376 are right.
    right, n = 1573, 2376
    p = right / n
    assert scores.loc[("9%", "arc_easy"), "score"] == pytest.approx(p, abs=1e-6)
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    ends = scores.loc[("9%", "arc_easy"), ["score_low", "score_high"]].astype(float)
    assert list(ends) == pytest.approx([middle - reach, middle + reach], abs=1e-6)
    assert scores.loc[("21%", "gsm8k"), "score_high"] == pytest.approx(
        z**2 / (1319 + z**2), abs=1e-6
    )
    p = scores.loc[("6%", "truthfulqa"), "score"]
    reach = z * np.sqrt(p * (1 - p) / 817)
    assert scores.loc[("6%", "truthfulqa"), "score_low"] == pytest.approx(p - reach, abs=2e-6)


def error(row):
    return np.sqrt(row["score"] * (1 - row["score"]) / row["questions"])


def test_a_difference_has_the_widest_interval(scores):
    z, variance = 1.959963984540054, 0.0
    for benchmark in AVERAGED:
        dense, row = scores.loc[("dense", benchmark)], scores.loc[("6%", benchmark)]
        reach = z * (error(dense) + error(row))
        variance += (reach / z) ** 2
        difference = row["score"] - dense["score"]
        assert row["score_difference"] == pytest.approx(difference, abs=2e-6)
        assert row["score_difference_low"] == pytest.approx(difference - reach, abs=3e-6)
        assert row["score_difference_high"] == pytest.approx(difference + reach, abs=3e-6)
        assert dense["score_difference_low"] == dense["score_difference_high"] == 0
        # It is wider than that of independent answers.
        assert reach > z * np.hypot(error(dense), error(row))
    mean = scores.loc[("6%", "aggregate")]
    reach = z * np.sqrt(variance) / len(AVERAGED)
    assert mean["score_difference_high"] - mean["score_difference"] == pytest.approx(
        reach, abs=3e-6
    )
    assert mean["score_difference"] - mean["score_difference_low"] == pytest.approx(reach, abs=3e-6)


def test_metrics_are_the_authors_and_guesses_those_of_the_test_sets(made, scores):
    study = Study(made[0])
    assert study.is_published and study.averaged == list(AVERAGED)
    assert study.benchmarks == list(BENCHMARKS)
    names = {name: str(metric) for name, metric in study.metrics.items()}
    assert names.pop("gsm8k") == "exact_match" and names.pop("aggregate").startswith("plain mean")
    assert set(names.values()) == {"acc"}
    chances = {"winogrande": 0.5, "mmlu": 0.25, "truthfulqa": 0.3002, "gsm8k": None}
    for name, chance in chances.items():
        assert study.metrics[name].chance == chance
    assert study.metrics["arc_easy"].is_like(Metric.from_config("acc"))


def test_costs_are_the_published_ones_relative_to_the_dense_model(costs):
    rows = published("efficiency")
    values = {
        (row["configuration"], row["benchmark"], row["quantity"]): float(row["value"])
        for row in rows
    }
    kept = costs.set_index(["decomposition", "workload", "metric"])
    assert len(costs) == len(rows) == 11 * 6 * 4
    for (name, benchmark, quantity), value in values.items():
        row = kept.loc[(name, BENCHMARKS[benchmark], quantity)]
        factor = 1024**2 if quantity == "memory" else 1
        dense = values["dense", benchmark, quantity]
        assert row["value"] == pytest.approx(factor * value)
        assert row["dense"] == pytest.approx(factor * dense)
        assert row["ratio"] == row["ratio_low"] == row["ratio_high"]
        assert row["ratio"] == pytest.approx(value / dense)
    assert dict(zip(costs["metric"], costs["unit"], strict=True)) == {
        "latency": "s",
        "energy": "J",
        "power": "W",
        "memory": "B",
    }
    assert set(costs["device"]) == {"4 × NVIDIA A100 80GB"} and set(costs["gpus"]) == {4}
    assert set(costs["doubts"]) == {"one run each"}
    assert set(costs.loc[costs["workload"] == "MMLU", "batch"]) == {32}
    assert set(costs["batch_rule"]) == {"largest"}  # as the thesis says of its measurements


def test_slopes_of_the_means_are_those_of_the_published_costs(made, costs):
    fits = read_json(made[2])
    assert len(fits) == 4 * 6
    assert {fit["device_name"] for fit in fits} == {"4 × NVIDIA A100 80GB"}
    for metric, expected in {
        "latency": 0.600,
        "energy": 0.649,
        "memory": 0.461,
        "power": 0.098,
    }.items():
        means = (
            costs[costs["metric"] == metric].groupby("parameter_reduction_percent")["ratio"].mean()
        )
        slope = np.polyfit(means.index, 100 * (1 - means), 1)[0]
        assert slope == pytest.approx(expected, abs=5e-4)
        of_metric = [fit for fit in fits if fit["metric"] == metric]
        assert np.mean([fit["slope"] for fit in of_metric]) == pytest.approx(slope)
        assert {fit["points"] for fit in of_metric} == {11}
    (least,) = (f["slope"] for f in fits if (f["metric"], f["workload"]) == ("memory", "MMLU"))
    assert least == pytest.approx(0.177, abs=5e-4)


def test_an_edited_figure_changes_the_tables(tmp_path, made):
    folder = shutil.copytree(FOLDER, tmp_path / "edited")
    for name, old, new in (
        ("accuracy", "0.6957070707070707", "0.6"),
        ("efficiency", "135.7786045074463", "150.0"),
    ):
        text = (folder / f"{name}.csv").read_text()
        assert text.count(old) == 1
        (folder / f"{name}.csv").write_text(text.replace(old, new))
    scores, costs, fits = make(tmp_path, folder)
    row = pd.read_csv(scores).set_index(["label", "benchmark"]).loc[("6%", "arc_easy")]
    assert row["score"] == 0.6 and row["score_difference"] == pytest.approx(0.6 - 0.7382)
    table = pd.read_csv(costs).set_index(["metric", "workload", "decomposition"])
    ratio = table.loc[("latency", "ARC-Easy", "tucker-r1-l3.30-all"), "ratio"]
    assert ratio == pytest.approx(150 / 138.82497119903564)
    assert json.loads(fits.read_text()) != read_json(made[2])
