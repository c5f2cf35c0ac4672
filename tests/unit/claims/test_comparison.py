"""What counts as the same run, and what does not."""

import math
import shutil

import pandas as pd
import pytest
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, write_json
from lowrank.base.metric import Metric
from lowrank.claims.comparison import compare, record_reference, record_run

ACCURACY = Metric.from_config("acc").as_record()


def ledger(*verdicts):
    tests = [
        {"says": f"test {index}", "verdict": verdict} for index, verdict in enumerate(verdicts)
    ]
    return {"claims": [{"id": "C1", "scopes": {"run": {"verdict": "undecided", "tests": tests}}}]}


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
            **ACCURACY,
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
    write_json(results / "claims.json", ledger("supported"))
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


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_no_number_agrees_with_nothing(run, broken):
    change_scores(run[0], lambda table: table.__setitem__("score", [0.475, 0.4, broken]))
    (line,) = compare(*run).outside
    assert f"m table_4_2 9% arc_easy: score {broken:.3f}, 0.300 in the reference" in line


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


def test_a_reference_of_another_version_is_one_line(run):
    results, reference = run
    write_json(reference / "claims.json", {"claims": [{"id": "C1", "tests": []}]})
    with pytest.raises(LowrankError, match=r"claims\.json has no 'scopes': another version"):
        compare(results, reference)


def test_an_opposite_verdict_is_outside_and_an_undecided_one_is_named(run):
    results, reference = run
    write_json(results / "claims.json", ledger("contradicted"))
    assert compare(results, reference).outside == [
        "C1, test 0: contradicted, supported in the reference"
    ]
    write_json(results / "claims.json", ledger("undecided"))
    made = compare(results, reference)
    assert made.outside == []
    assert made.noted == ["C1, test 0: undecided, supported in the reference"]


@pytest.mark.parametrize(
    ("kept", "now", "is_outside"),
    [
        ("trivially supported", "contradicted", True),
        ("seen here", "not seen here", True),
        ("not seen here", "trivially seen here", True),
        ("supported", "trivially supported", False),
        ("seen here", "undecided", False),
    ],
)
def test_words_for_what_is_trivial_or_of_another_model_can_be_opposed(run, kept, now, is_outside):
    results, reference = run
    write_json(reference / "claims.json", ledger(kept))
    write_json(results / "claims.json", ledger(now))
    made = compare(results, reference)
    assert bool(made.outside) == is_outside and bool(made.noted) != is_outside


def test_verdicts_of_others_than_the_run_are_not_compared(run):
    results, reference = run
    content = ledger("supported")
    tests = [{"says": "test 0", "verdict": "contradicted"}]
    content["claims"][0]["scopes"]["authors"] = {"verdict": "contradicted", "tests": tests}
    write_json(results / "claims.json", content)
    made = compare(results, reference)
    assert made.outside == made.noted == []


def test_what_one_machine_cannot_test_is_no_disagreement(run):
    write_json(run[0] / "claims.json", ledger("not testable here", "contradicted"))
    made = compare(*run)
    assert (made.outside, made.noted) == ([], [])


def test_a_configuration_that_the_run_lacks_is_named(run):
    path = run[0] / "models/m/studies/table_4_2.csv"
    pd.read_csv(path).iloc[:2].to_csv(path, index=False)
    assert compare(*run).outside == ["m table_4_2 9% arc_easy: missing in this run"]


def test_a_mean_may_differ_by_what_its_parts_may(tmp_path):
    """Two of eight questions may flip on one benchmark of two, which moves their mean by 0.125."""

    def write(results, scores):
        rows = [
            {
                "model": "m",
                "series": None,
                "label": "9%",
                "benchmark": b,
                **ACCURACY,
                "questions": q,
                "score": s,
            }
            for b, q, s in zip(
                ("gsm8k", "arc_easy", "aggregate"), (8, 100, 108), scores, strict=True
            )
        ]
        (results / "models/m/studies").mkdir(parents=True)
        pd.DataFrame(rows).to_csv(results / "models/m/studies/table_4_2.csv", index=False)
        write_json(results / "claims.json", ledger("supported"))

    write(tmp_path / "one", (0.5, 0.5, 0.5))
    record_reference(tmp_path / "one", tmp_path / "reference")
    write(tmp_path / "two", (0.25, 0.5, 0.375))
    assert compare(tmp_path / "two", tmp_path / "reference").outside == []
    write(tmp_path / "three", (0.25, 0.5, 0.35))
    (line,) = compare(tmp_path / "three", tmp_path / "reference").outside
    assert "aggregate: score 0.350, 0.500 in the reference (allowed: 0.135 either way)" in line


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


def log(scales, jobs, elapsed, done=100):
    files = " ".join(f"config/{scale}.yaml" for scale in scales)
    return (
        f"  Command: snakemake --cores all --configfile {files}\nProvided cores: 2\n"
        f"total   {jobs}\n{jobs} of {jobs} steps ({done}%) done\nElapsed time: {elapsed}\n"
    )


def test_times_come_from_each_scale_s_whole_run(tmp_path):
    logs, results, environment = (tmp_path / name for name in ("log", "results", "environment"))
    for folder in (logs, results / "smoke", environment):
        folder.mkdir(parents=True)
    (logs / "1.log").write_text(log(["laptop", "smoke"], 50, "0:02:00.483"))
    (logs / "2.log").write_text(log(["laptop"], 794, "0:34:05.123"))
    (logs / "3.log").write_text(log(["laptop"], 12, "0:00:09.000"))
    (logs / "4.log").write_text(log(["laptop"], 800, "0:00:09.000", done=25))
    (results / "x").write_bytes(b"0123456789")
    (results / "smoke" / "y").write_bytes(b"0123")
    (environment / ".runtime").write_text("90\n")
    record_run(
        logs,
        {"set_up": environment / ".runtime", "tests": environment / ".tests"},
        {"environment": environment, "laptop": results, "smoke": results / "smoke"},
        {"device": "a processor"},
        tmp_path / "run.json",
    )
    assert read_json(tmp_path / "run.json") == {
        "machine": {"device": "a processor"},
        "set_up": {"seconds": 90, "environment_bytes": 3},
        "runs": {
            "smoke": {"seconds": 120, "jobs": 50, "cores": 2, "results_bytes": 4},
            "laptop": {"seconds": 2045, "jobs": 794, "cores": 2, "results_bytes": 10},
        },
    }
    with pytest.raises(LowrankError, match="make reproduce"):
        record_run(results, {}, {"environment": environment}, {}, tmp_path / "run.json")
