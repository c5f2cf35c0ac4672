"""What counts as the same run, and what does not."""

import shutil

import pandas as pd
import pytest
from lowrank.errors import LowrankError
from lowrank.files import read_json, write_json
from lowrank.reference import compare, record_reference, record_run


@pytest.fixture
def run(tmp_path):
    """Results of a small run and a reference made of them."""
    results = tmp_path / "results"
    studies = results / "models" / "m" / "studies"
    studies.mkdir(parents=True)
    rows = [
        {
            "model": "m",
            "series": None,
            "label": label,
            "benchmark": "arc_easy",
            "questions": 40,
            "score": score,
        }
        for label, score in (("dense", 0.475), ("6%", 0.4), ("9%", 0.3))
    ]
    pd.DataFrame(rows).to_csv(studies / "table_4_2.csv", index=False)
    pd.DataFrame([{"metric": "latency"}]).to_csv(studies / "table_4_2.profiles.csv", index=False)
    fits = [
        {"metric": "latency", "workload": "w", "status": "measured", "slope": 0.9},
        {"metric": "memory", "workload": "w", "status": "measured", "slope": 0.99},
        {"metric": "energy", "workload": "w", "status": "not measured on this machine"},
    ]
    write_json(studies / "table_4_2.profile_fits.json", fits)
    write_json(results / "claims.json", {"claims": [{"id": "C1", "verdict": "supported"}]})
    record_reference(results, tmp_path / "reference")
    return results, tmp_path / "reference"


def change_scores(results, change):
    path = results / "models/m/studies/table_4_2.csv"
    table = pd.read_csv(path)
    change(table)
    table.to_csv(path, index=False)


def change_fit(results, metric, **fields):
    path = results / "models/m/studies/table_4_2.profile_fits.json"
    write_json(path, [fit | (fields if fit["metric"] == metric else {}) for fit in read_json(path)])


def test_a_run_agrees_with_itself(run):
    made = compare(*run)
    assert made.outside == []
    assert made.compared == 3 + 2 + 1


def test_two_questions_may_flip_and_three_may_not(run):
    results, reference = run

    def lose(count):
        def change(table):
            table.loc[table["label"] == "9%", "score"] = 0.3 - count / 40

        return change

    change_scores(results, lose(2))
    assert compare(results, reference).outside == []
    change_scores(results, lose(3))
    (line,) = compare(results, reference).outside
    assert "m table_4_2 9% arc_easy: score 0.225, 0.300 in the reference" in line


def test_another_number_of_questions_is_named(run):
    change_scores(run[0], lambda table: table.__setitem__("questions", 80))
    assert "80 questions, 40 in the reference" in compare(*run).outside[0]


def test_slopes_have_their_own_tolerance(run):
    change_fit(run[0], "latency", slope=1.04)
    assert compare(*run).outside == []
    change_fit(run[0], "memory", slope=0.95)
    (line,) = compare(*run).outside
    assert line.startswith("memory of w: slope 0.95, 0.99 in the reference")


def test_energy_that_only_one_machine_measures_is_no_disagreement(run):
    change_fit(run[0], "energy", status="measured", slope=0.5)
    assert compare(*run).outside == []


def test_a_verdict_that_differs_is_outside(run):
    write_json(run[0] / "claims.json", {"claims": [{"id": "C1", "verdict": "undecided"}]})
    assert compare(*run).outside == ["C1: undecided, supported in the reference"]


def test_folders_that_hold_no_run_are_one_line(run, tmp_path):
    with pytest.raises(LowrankError, match="holds no studies"):
        compare(tmp_path / "nothing", run[1])
    with pytest.raises(LowrankError, match="is no reference"):
        compare(run[0], tmp_path / "nothing")
    shutil.copytree(run[1], tmp_path / "other")
    table = pd.read_csv(tmp_path / "other" / "scores.csv").assign(model="another")
    table.to_csv(tmp_path / "other" / "scores.csv", index=False)
    with pytest.raises(LowrankError, match="no configuration in common"):
        compare(run[0], tmp_path / "other")


def test_times_come_from_the_newest_complete_run(tmp_path):
    logs = tmp_path / "log"
    logs.mkdir()
    (logs / "1.log").write_text("12 of 12 steps (100%) done\nElapsed time: 0:34:05.123\n")
    (logs / "2.log").write_text("3 of 12 steps (25%) done\n")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "x").write_bytes(b"0123456789")
    record_run(logs, tmp_path / "log", tmp_path / "results", tmp_path / "run.json", cores=2)
    made = read_json(tmp_path / "run.json")
    assert (made["seconds"], made["jobs"], made["results_bytes"]) == (2045, 12, 10)
    with pytest.raises(LowrankError, match="make reproduce"):
        record_run(tmp_path / "results", logs, logs, tmp_path / "run.json")
