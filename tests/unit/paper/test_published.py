"""The thesis against what its authors published: each number again from the tables as they are."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from lowrank.base.files import read_yaml
from lowrank.paper.published import disagreements

THESIS, FOLDER = "paper/thesis.yaml", "paper/authors"
WEIGHTS = read_yaml("config/benchmarks/truthfulqa.yaml")["weights"]


@pytest.fixture(scope="module")
def found():
    return disagreements(THESIS, FOLDER)


def rows(name):
    with open(Path(FOLDER) / f"{name}.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


REDUCTION = {row["configuration"]: float(row["value"]) for row in rows("configurations")}


def costs(quantity):
    """From benchmark to (reduction, value) of each configuration, the dense model first."""
    made = {}
    for row in rows("efficiency"):
        if row["quantity"] == quantity:
            point = (REDUCTION[row["configuration"]], float(row["value"]))
            made.setdefault(row["benchmark"], []).append(point)
    return {name: np.array(sorted(points)).T for name, points in made.items()}


def slope(x, y):
    return ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()


@pytest.mark.parametrize(
    ("quantity", "known"),
    [("latency", 0.600), ("energy", 0.649), ("memory", 0.461), ("power", 0.098)],
)
def test_slopes_of_the_authors_figures(found, quantity, known):
    slopes, falls, ratios = [], [], []
    for x, y in costs(quantity).values():
        assert x[0] == 0 and len(x) == 11
        fall = 100 * (1 - y / y[0])
        slopes.append(slope(x, fall))
        (nine,) = np.flatnonzero(np.round(x) == 9)
        falls.append(fall[nine])
        ratios.append(fall[nine] / x[nine])
    (own,) = (row for row in found["slopes"] if row["metric"] == quantity)
    assert own["slope"] == pytest.approx(np.mean(slopes)) == pytest.approx(known, abs=5e-4)
    assert (own["lowest"], own["highest"]) == (
        pytest.approx(min(slopes)),
        pytest.approx(max(slopes)),
    )
    assert own["fall"] == pytest.approx(np.mean(falls))
    assert own["fall_for_each_percent"] == pytest.approx(np.mean(ratios))
    assert own["benchmarks"] == 6


def test_power_is_not_always_the_maximum(found):
    power = costs("power")
    falls = {name: 100 * (1 - y[-1] / y[0]) for name, (_, y) in power.items()}
    assert found["power"]["fall"] == pytest.approx(np.mean(list(falls.values())))
    assert found["power"]["most_of"] == max(falls, key=falls.get) == "winogrande"
    assert found["power"]["most"] == pytest.approx(falls["winogrande"])
    assert found["power"]["fall"] == pytest.approx(10.6, abs=0.05)
    assert found["power"]["most"] == pytest.approx(20.5, abs=0.05)
    dense = np.mean([y[0] / 4 for _, y in power.values()])
    assert found["power"]["dense_watts"] == pytest.approx(dense) and dense < 300


def test_most_runs_are_shorter_than_two_minutes(found):
    seconds = np.concatenate([y for _, y in costs("latency").values()])
    lengths = found["run_lengths"]
    assert (lengths["runs"], lengths["shorter"]) == (66, (seconds <= 120).sum()) == (66, 52)
    assert (lengths["least"], lengths["most"]) == (seconds.min(), seconds.max())


def test_three_layers_are_the_reduction_of_the_other_places(found):
    """A layer of Llama-2-7B is 202 M of 6,738 M parameters, of which rank 1 keeps almost none."""
    few = found["few_layers"]
    assert few["removed"] == pytest.approx(few["layers"] * 100 * 202.4e6 / 6738.4e6, abs=0.02)
    assert round(few["removed"]) == few["other_reduction"]
    assert few["points"] < few["other_least"]


def test_the_printed_score_of_truthfulqa_is_that_of_the_group(found):
    metric = found["metric"]
    mc1, mc2 = (
        next(100 * float(row["value"]) for row in rows("dense") if row["quantity"] == name)
        for name in ("mc1", "mc2")
    )
    weights = [WEIGHTS[f"truthfulqa_{name}"] for name in ("mc1", "mc2")]
    readings = {row["name"]: row["percent"] for row in metric["readings"]}
    assert (readings["mc1 alone"], readings["mc2 alone"]) == (mc1, mc2)
    assert readings["the group"] == pytest.approx(np.average([mc1, mc2], weights=weights))
    distance = {name: abs(percent - metric["dense"]) for name, percent in readings.items()}
    assert min(distance, key=distance.get) == "the group" and distance["the group"] < 0.5
    (first,) = (
        100 * float(row["value"])
        for row in rows("accuracy")
        if row["benchmark"] == "truthfulqa"
        and round(REDUCTION[row["configuration"]]) == metric["first_reduction"]
    )
    assert first == pytest.approx(metric["at_first"], abs=0.6)


def test_edited_figures_change_what_is_found(found, tmp_path):
    folder = Path(shutil.copytree(FOLDER, tmp_path / "authors"))
    path = folder / "efficiency.csv"
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    assert cells[:3] == ["dense", "arc_easy", "latency"]
    cells[3] = "60"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    lengths = disagreements(THESIS, folder)["run_lengths"]
    assert lengths["shorter"] == found["run_lengths"]["shorter"] + 1
