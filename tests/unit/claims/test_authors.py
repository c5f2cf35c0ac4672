"""The verdicts on the authors' own data: each number again from the files that they published."""

import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from lowrank.analyse.authors import authors_tables
from lowrank.base.files import read_json, read_yaml
from lowrank.claims.estimate import THESE_WORKLOADS, THIS_TEST_SET
from lowrank.claims.ledger import judge_claims
from lowrank.claims.scopes import load_scope
from lowrank.claims.verdict_names import (
    CONTRADICTED,
    NOT_TESTABLE,
    SUPPORTED,
    TRIVIAL,
    UNDECIDED,
)
from lowrank.project.views.authors import authors_benchmarks, authors_labels
from lowrank.project.views.claims import claim_scopes
from made_worlds import CLAIMS, FIVE, PROJECT, RIGHT, ROOT, made_design_space

FOLDER = ROOT / "paper/authors"
SIX = [*FIVE, "truthfulqa"]
ACCURACY, COSTS = (pd.read_csv(FOLDER / f"{name}.csv") for name in ("accuracy", "efficiency"))
REDUCTION = pd.read_csv(FOLDER / "configurations.csv").set_index("configuration")["value"]
LABELS = authors_labels(PROJECT, FOLDER)
SIX_DIGITS = 2e-4
"""How far a difference of scores may be off, in points: their table has six digits of each."""
NAMES = {label: name for name, label in LABELS.items()}


def judged(folder, output):
    """The judgements on the figures of a folder, by claim."""
    output.mkdir()
    tables = ("authors_tables.scores", "authors_tables.table", "fits")
    files = dict(zip(tables, (output / n for n in ("s.csv", "table_4_2.x", "f")), strict=True))
    architecture = read_yaml(ROOT / "config/models/llama-2-7b-chat.yaml")["architecture"]
    labels = authors_labels(PROJECT, folder), authors_benchmarks(PROJECT)
    authors_tables(folder, architecture, *labels, {}, *files.values())
    made_design_space(RIGHT, output)
    paths = files | {"table_3_1.csv": output / "table_3_1.csv"}
    entry, *_ = claim_scopes(PROJECT, lambda name: str(paths.get(name)), str(folder), {}, {})
    judge_claims(CLAIMS, [load_scope(**entry)], {}, output / "claims.json")
    rows = read_json(output / "claims.json")["claims"]
    return {row["id"]: row["scopes"]["authors"] for row in rows}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return judged(FOLDER, tmp_path_factory.mktemp("authors") / "made")


def values(own, name):
    return [test["value"] for test in own[name]["tests"]]


def score(label, benchmark, records="first"):
    """A share of right choices in percent, by the first record or by the last one."""
    if label != "dense":
        rows = ACCURACY[ACCURACY["configuration"] == NAMES[label]].set_index("benchmark")
        return 100 * rows.loc[benchmark, "value"]
    table = pd.read_csv(FOLDER / "dense.csv")
    table = table[(table["benchmark"] == benchmark) & (table["comparable"] == "yes")]
    if benchmark == "truthfulqa":
        mc1, mc2 = (table[table["quantity"] == name]["value"].iloc[0] for name in ("mc1", "mc2"))
        return 100 * (2 * mc1 + mc2) / 3
    return 100 * table["value"].iloc[0 if records == "first" else 1]


def lost(label, benchmark):
    return score("dense", benchmark) - score(label, benchmark)


def falls(metric, name=None):
    """The fall of a cost in percent: of each benchmark, by the percent of parameters removed."""
    table = COSTS[COSTS["quantity"] == metric].pivot(
        index="benchmark", columns="configuration", values="value"
    )
    made = 100 * (1 - table.div(table["dense"], axis=0))
    return made if name is None else made[name]


def lines(metric):
    """The slope and R² of each benchmark's line, by NumPy."""
    made = falls(metric)
    x = REDUCTION[made.columns].to_numpy()
    y_WX = made.to_numpy()
    slopes = np.array([np.polyfit(x, y, 1)[0] for y in y_WX])
    return slopes, np.array([np.corrcoef(x, y)[0, 1] ** 2 for y in y_WX])


def test_what_the_authors_data_say_of_each_claim(own):
    verdicts = {name: row["verdict"] for name, row in own.items()}
    assert verdicts == {
        **dict.fromkeys(CLAIMS, NOT_TESTABLE),
        "C1": SUPPORTED,  # counted: the same wherever it is read, here of a made table
        "C7": SUPPORTED,
        "C8": CONTRADICTED,
        "C9": CONTRADICTED,
        "C10": TRIVIAL,
        "C11": SUPPORTED,
    }
    assert {own[name]["reading"] for name in ("C7", "C10", "C11")} == {THIS_TEST_SET}
    assert {own[name]["reading"] for name in ("C8", "C9")} == {THESE_WORKLOADS}
    # Without the answers nobody can say more of other questions.
    beyond = {name: own[name]["verdict_like_these"] for name in ("C7", "C10", "C11")}
    assert set(beyond.values()) == {UNDECIDED}
    assert own["C8"]["verdict_like_these"] == CONTRADICTED


def test_nine_percent_cost_what_the_abstract_says(own):
    losses = {benchmark: lost("9%", benchmark) for benchmark in SIX}
    rounded = {name: round(float(loss), 1) for name, loss in losses.items()}
    assert rounded == {
        "arc_easy": 7.6,
        "arc_challenge": 7.8,
        "hellaswag": 7.9,
        "mmlu": 10.6,
        "truthfulqa": 4.6,
        "winogrande": 4.5,
    }
    assert values(own, "C7") == pytest.approx(
        [min(losses.values()), max(losses.values())], abs=SIX_DIGITS
    )
    smallest, largest = own["C7"]["tests"]
    # Another record of the dense model: WinoGrande .6654, MMLU .4635.
    other = score("dense", "mmlu", "last") - score("9%", "mmlu")
    assert largest["interval_95"] == pytest.approx([other, max(losses.values())], abs=SIX_DIGITS)
    assert [test["verdict"] for test in (smallest, largest)] == [SUPPORTED] * 2
    assert any("scored by others: intel/auto-round" in flag for flag in largest["flags"])


def test_costs_fall_by_the_slopes_of_their_lines(own):
    slopes = [lines(metric)[0].mean() for metric in ("latency", "energy", "memory")]
    nine = [falls(metric, NAMES["9%"]).mean() for metric in ("latency", "energy")]
    assert values(own, "C8") == pytest.approx([*slopes, *nine])
    assert slopes == pytest.approx([0.600, 0.649, 0.461], abs=5e-4)
    assert nine == pytest.approx([4.2, 4.9], abs=0.05)
    verdicts = [test["verdict"] for test in own["C8"]["tests"]]
    assert verdicts == [UNDECIDED, CONTRADICTED, SUPPORTED, SUPPORTED, SUPPORTED]


def test_one_run_each_is_as_sure_as_its_line_leaves_it(own):
    """The error of a point by NumPy: what the line leaves, over its points less two."""
    expected = {"latency": (4.17, 0.25), "energy": (4.91, 0.37)}
    for (metric, rounded), test in zip(expected.items(), own["C8"]["tests"][3:], strict=True):
        made = falls(metric)
        x = REDUCTION[made.columns].to_numpy()
        variance_W = [np.polyfit(x, y, 1, full=True)[1][0] / (len(x) - 2) for y in made.to_numpy()]
        error = np.sqrt(np.sum(variance_W)) / 6
        freedom = np.sum(variance_W) ** 2 / np.sum(np.square(variance_W) / 9)
        fall = made[NAMES["9%"]].mean()
        assert (fall, error) == pytest.approx(rounded, abs=0.005)
        reach = scipy.stats.t.ppf(0.975, freedom) * error
        assert test["interval_95"] == pytest.approx([fall - reach, fall + reach])


def test_power_is_not_constant_and_lines_are_straight(own):
    power = lines("power")[0].mean()
    spreads = {
        metric: 100 * lines(metric)[0].std(ddof=1) / lines(metric)[0].mean()
        for metric in ("latency", "energy")
    }
    least = {metric: lines(metric)[1].min() for metric in spreads}
    expected = [
        *(power, spreads["latency"], least["latency"]),
        *(spreads["energy"], least["energy"]),
    ]
    assert values(own, "C9") == pytest.approx(expected)
    assert expected == pytest.approx([0.098, 6.3, 0.997, 3.1, 0.997], abs=0.05)
    verdicts = [test["verdict"] for test in own["C9"]["tests"]]
    assert verdicts == [CONTRADICTED, UNDECIDED, SUPPORTED, SUPPORTED, SUPPORTED]


def test_the_loss_tapers_off_at_the_floor(own):
    def slope(labels):
        x = [REDUCTION[NAMES.get(label, "dense")] for label in labels]
        return np.polyfit(x, [np.mean([score(n, b) for b in FIVE]) for n in labels], 1)[0]

    after = ["48%", "60%", "75%", "84%", "96%"]
    change = slope(after) - slope(["dense", "6%", "9%", "15%", "21%", "33%", "48%"])
    recovers = score("96%", "truthfulqa") - score("6%", "truthfulqa")
    expected = [change, lost("6%", "truthfulqa"), recovers]
    assert values(own, "C10") == pytest.approx(expected, abs=SIX_DIGITS)
    assert [score(n, "truthfulqa") for n in ("dense", "6%", "96%")] == pytest.approx(
        [35.3, 29.5, 31.9], abs=0.06
    )
    verdicts = [test["verdict"] for test in own["C10"]["tests"]]
    assert verdicts == [TRIVIAL, SUPPORTED, TRIVIAL]
    # What the first one says: the mean of five is within 2 points of a guess's 30%.
    assert all(abs(np.mean([score(n, b) for b in FIVE]) - 30) < 2 for n in after)


def test_winogrande_loses_least(own):
    def loss(benchmark, labels):
        return np.mean([lost(label, benchmark) for label in labels])

    others = [benchmark for benchmark in FIVE if benchmark != "winogrande"]
    expected = [
        loss("winogrande", labels) - min(loss(other, labels) for other in others)
        for labels in (list(NAMES), ["9%"])
    ]
    assert len(NAMES) == 10
    assert values(own, "C11") == pytest.approx(expected, abs=SIX_DIGITS)


@pytest.mark.parametrize(
    ("file", "label", "benchmark", "quantity", "value", "claim", "verdict"),
    [
        ("accuracy", "9%", "mmlu", "acc", 0.30, "C7", CONTRADICTED),
        ("accuracy", "9%", "winogrande", "acc", 0.64, "C7", CONTRADICTED),
        ("accuracy", "6%", "truthfulqa", "acc", 0.37, "C10", CONTRADICTED),
        ("accuracy", "9%", "winogrande", "acc", 0.54, "C11", CONTRADICTED),
        ("efficiency", "9%", "arc_easy", "latency", 200.0, "C8", CONTRADICTED),
    ],
)
def test_one_edited_figure_changes_what_is_said(
    file, label, benchmark, quantity, value, claim, verdict, own, tmp_path
):
    shutil.copytree(FOLDER, tmp_path / "authors")
    path = tmp_path / "authors" / f"{file}.csv"
    table = pd.read_csv(path)
    keys = {"configuration": NAMES[label], "benchmark": benchmark, "quantity": quantity}
    edited = np.logical_and.reduce([table[key] == word for key, word in keys.items()])
    assert edited.sum() == 1
    table.loc[edited, "value"] = value
    table.to_csv(path, index=False)
    made = judged(tmp_path / "authors", tmp_path / "made")[claim]
    assert made["verdict"] == verdict
    shown = [[test["measured"] for test in row["tests"]] for row in (made, own[claim])]
    assert shown[0] != shown[1]


def test_a_loss_follows_its_figure_point_by_point(own, tmp_path):
    shutil.copytree(FOLDER, tmp_path / "authors")
    path = tmp_path / "authors/accuracy.csv"
    table = pd.read_csv(path)
    edited = (table["configuration"] == NAMES["9%"]) & (table["benchmark"] == "mmlu")
    table.loc[edited, "value"] += 0.01
    table.to_csv(path, index=False)
    made = judged(tmp_path / "authors", tmp_path / "made")
    assert values(made, "C7")[1] == pytest.approx(values(own, "C7")[1] - 1, abs=SIX_DIGITS)
    assert values(made, "C7")[0] == pytest.approx(values(own, "C7")[0])


def test_on_other_questions_the_errors_of_two_scores_are_added(own):
    """Nobody can say which questions they answered alike: the widest interval, by hand."""
    fall = own["C10"]["tests"][1]
    shares = np.array([score(label, "truthfulqa") / 100 for label in ("dense", "6%")])
    reach = 1.96 * 100 * np.sqrt(shares * (1 - shares) / 817).sum()
    on_this, on_others = (reading["interval_95"] for reading in fall["readings"])
    assert on_this[0] == on_this[1] == fall["value"]
    ends = (fall["value"] - reach, fall["value"] + reach)
    assert on_others == pytest.approx(ends, abs=0.03 * reach)
