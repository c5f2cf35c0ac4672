"""Slopes against numpy and scipy, and the figures drawn of them."""

import numpy as np
import pandas as pd
import pypdf
import pytest
import scipy.stats
from lowrank.analyse.efficiency import collect_profiles, fit_line, lacks_line
from lowrank.base.files import read_json, write_json
from lowrank.figures.efficiency import notes, render

SLOPES = {"latency": 0.5, "energy": 0.5, "memory": 0.4}


def record(name, reduction, seconds, joules=None, doubts=(), reason="", workload=None):
    """A record as the profile job writes it, for one workload."""

    def figures(ours, dense):
        if ours is None:
            return {"configuration": None, "dense": None, "ratio": None}
        ends = {"quartile_1": ours, "quartile_3": ours}
        return {
            "configuration": {"median": ours, **ends},
            "dense": {"median": dense, **ends},
            "ratio": {"value": ours / dense, "interval_95": [ours / dense] * 2, "rounds": 5},
        }

    weights = 1000 * (1 - 0.01 * reduction)
    return {
        "model": "tiny",
        "decomposition": name,
        "parameter_reduction_percent": reduction,
        "gpus": 0,
        "provenance": {"device_name": "A GPU"},
        "energy_meter": {"source": None if joules is None else "nvml-counter", "reason": reason},
        "doubts": list(doubts),
        "workloads": [
            {
                "name": "prefill 8, batch 1",
                "phase": "prefill",
                "batch": 1,
                "batch_rule": "fixed",
                "tokens": 8,
                "dropped_rounds": 0,
                "latency": figures(seconds, 1.0),
                "energy": figures(joules, 100.0) | {"configuration_shares": None},
                "power": figures(joules and joules / seconds, 100.0),
                "memory": {
                    "configuration": {"weights": weights, "cache": 0},
                    "dense": {"weights": 1000, "cache": 0},
                },
                "doubts": {"device": [], "energy": []},
                "trials": [],
            }
            | (workload or {})
        ],
    }


def collect(folder, records):
    for one in records:
        write_json(folder / f"{one['decomposition']}.json", one)
    paths = [folder / f"{one['decomposition']}.json" for one in records]
    collect_profiles(paths, SLOPES, folder / "table.csv", folder / "fits.json")
    fits = {fit["metric"]: fit for fit in read_json(folder / "fits.json")}
    return pd.read_csv(folder / "table.csv"), fits


def test_the_line_is_numpy_s_and_its_interval_student_s():
    rng = np.random.default_rng(0)
    x = np.array([0.0, 6, 9, 15, 21, 33, 48, 60, 75, 84, 96])
    y = 0.45 * x + 1 + rng.normal(0, 0.5, len(x))
    made = fit_line(x, y)
    slope, intercept = np.polyfit(x, y, 1)
    assert made["slope"] == pytest.approx(slope)
    assert made["intercept"] == pytest.approx(intercept)
    residuals = y - intercept - slope * x
    error = np.sqrt((residuals**2).sum() / (len(x) - 2) / ((x - x.mean()) ** 2).sum())
    reach = scipy.stats.t.ppf(0.975, len(x) - 2) * error
    assert made["interval"] == pytest.approx([slope - reach, slope + reach])
    assert made["r2"] == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)


def test_known_slopes_are_found(tmp_path):
    records = [record("dense", 0, 1.0, 100.0)] + [
        record(f"c{x}", x, 1 - 0.005 * x, 100 - 0.3 * x) for x in (10, 50, 90)
    ]
    table, fits = collect(tmp_path, records)
    assert fits["latency"]["slope"] == pytest.approx(0.5)
    assert fits["energy"]["slope"] == pytest.approx(0.3)
    assert fits["memory"]["slope"] == pytest.approx(1.0)
    assert fits["latency"]["thesis_slope"] == 0.5
    assert fits["latency"]["r2"] == pytest.approx(1)
    watts = table[(table["metric"] == "power") & (table["decomposition"] == "c90")]
    assert watts["value"].item() == pytest.approx(73 / 0.55, rel=0.01)


def test_energy_that_was_not_measured_has_no_slope_and_says_why(tmp_path):
    why = "not measured on this machine: the kernel offers no RAPL counters"
    records = [record(f"c{x}", x, 1 - 0.005 * x, reason=why) for x in (10, 50, 90)]
    table, fits = collect(tmp_path, [record("dense", 0, 1.0, reason=why), *records])
    assert fits["energy"]["status"] == "not measured on this machine"
    assert fits["energy"]["reason"] == why
    assert "slope" not in fits["energy"]
    assert table[table["metric"] == "energy"]["value"].isna().all()
    assert fits["latency"]["status"] == "measured"


def test_the_point_at_no_reduction_is_the_measured_one(tmp_path):
    """The dense model beside itself came out 4% slow: a noise-free point would tilt the line."""
    x, y = [0, 10, 50, 90], [1.04, 0.95, 0.75, 0.55]
    names = ["dense", "c10", "c50", "c90"]
    records = [record(*row) for row in zip(names, x, y, strict=True)]
    _, fits = collect(tmp_path, records)
    slope, intercept = np.polyfit(x, 100 * (1 - np.array(y)), 1)
    assert fits["latency"]["slope"] == pytest.approx(slope)
    assert fits["latency"]["intercept"] == pytest.approx(intercept)
    assert fits["latency"]["points"] == 4


def test_what_a_trial_is_doubted_for_reaches_the_figure_s_note(tmp_path):
    changes = {
        "doubts": {"device": ["throttled: hardware slowdown"], "energy": ["counter stood"]},
        "trials": [{"joules": 10.0, "cross_check_joules": other} for other in (10.1, 10.3, 10.2)],
    }
    records = [record("dense", 0, 1.0, 100.0)] + [
        record(f"c{x}", x, 1 - 0.005 * x, 100 - 0.3 * x, workload=changes) for x in (10, 50, 90)
    ]
    table, fits = collect(tmp_path, records)
    energy = table[(table["metric"] == "energy") & (table["decomposition"] == "c10")].iloc[0]
    assert energy["source"] == "nvml-counter"
    assert energy["disagreement_percent"] == pytest.approx(2)
    assert notes([fits["energy"]]) == [
        "energy by NVML counter",
        "sampled power differs from it by 2.0% (median of trials)",
        "flagged: counter stood; throttled: hardware slowdown",
    ]
    assert notes([fits["latency"]]) == ["flagged: throttled: hardware slowdown"]


def test_memory_is_related_to_the_dense_model_at_the_same_batch(tmp_path):
    """The largest batch differs from job to job."""
    memory = {
        "configuration": {"weights": 1, "cache": 0, "allocated_peak": 3000},
        "dense": {"weights": 1, "cache": 0, "allocated_peak": 4000},
    }
    records = [record("dense", 0, 1.0)]
    records += [
        record(f"c{x}", x, 1.0, workload={"memory": memory, "batch": x}) for x in (10, 50, 90)
    ]
    table, _ = collect(tmp_path, records)
    ours = table[(table["metric"] == "memory") & (table["decomposition"] != "dense")]
    assert set(ours["ratio"]) == {0.75}


def test_doubts_of_any_record_flag_the_fit(tmp_path):
    records = [record(f"c{x}", x, 1 - 0.005 * x) for x in (10, 50)]
    records.append(record("c90", 90, 0.5, doubts=["throttled: software power cap"]))
    _, fits = collect(tmp_path, records)
    assert fits["latency"]["flags"] == ["throttled: software power cap"]


@pytest.mark.parametrize("metric", ["latency", "energy", "memory"])
def test_figures_are_drawn_with_and_without_measurements(tmp_path, metric):
    records = [record("dense", 0, 1.0)] + [record(f"c{x}", x, 1 - 0.005 * x) for x in (10, 50, 90)]
    collect(tmp_path, records)
    outputs = [tmp_path / f"figure.{ending}" for ending in ("csv", "pdf", "png")]
    render(tmp_path / "table.csv", tmp_path / "fits.json", metric, "Tiny", *outputs)
    assert all(path.stat().st_size > 200 for path in outputs)
    assert set(pd.read_csv(outputs[0])["metric"]) == {metric}


def test_the_authors_mean_is_drawn_beside_the_thesis_s_slope(tmp_path):
    records = [record("dense", 0, 1.0)] + [record(f"c{x}", x, 1 - 0.005 * x) for x in (10, 50, 90)]
    collect(tmp_path, records)
    theirs = pd.DataFrame(
        [
            {
                "metric": metric,
                "workload": workload,
                "parameter_reduction_percent": x,
                "ratio": 1 - slope * x / 100,
            }
            for metric, more in (("latency", 0.0), ("memory", 0.1))
            for workload, slope in (("a", 0.6 + more), ("b", 0.8 + more))
            for x in (0, 48, 96)
        ]
    )
    theirs.to_csv(tmp_path / "authors.csv", index=False)
    outputs = [tmp_path / f"figure.{ending}" for ending in ("csv", "pdf", "png")]
    arguments = (tmp_path / "table.csv", tmp_path / "fits.json")
    for metric, slope in (("latency", "0.70"), ("memory", "0.80")):
        render(*arguments, metric, "Tiny", *outputs, authors=tmp_path / "authors.csv")
        text = " ".join(pypdf.PdfReader(outputs[1]).pages[0].extract_text().split())
        assert f"authors' data (Llama-2-7B, four A100s): {slope}" in text
        assert "the thesis, four A100s" in text
    render(*arguments, "latency", "Tiny", *outputs)
    assert "authors" not in pypdf.PdfReader(outputs[1]).pages[0].extract_text()


def test_what_lacks_a_line_says_why():
    table = pd.DataFrame(
        {
            "decomposition": ["dense", "a", "b", "c", "d"],
            "parameter_reduction_percent": [0.0, 10, 20, 30, 40],
            "ratio": [1, 0.9, 0.8, 0.7, 0.6],
        }
    )
    assert lacks_line(table) == ""
    assert lacks_line(table[:3]) == "a line needs 3 configurations; here: 2"
    assert lacks_line(table[1:].assign(parameter_reduction_percent=9.0)).endswith("they have one")
    table.loc[4, "ratio"] = np.nan
    assert lacks_line(table) == "d was not measured"
    assert lacks_line(table.assign(reason=[None] * 4 + ["no RAPL"])) == "no RAPL"


def test_models_of_fewer_bits_are_points_of_no_line(tmp_path):
    reductions = {"dense": 0, "a": 10, "b": 20, "c": 30}
    records = [record(name, percent, 1 - percent / 200) for name, percent in reductions.items()]
    assert collect(tmp_path, records)[1]["latency"]["status"] == "measured"
    records.append(record("c+nf4", 30, 2.0) | {"quantization": "nf4"})
    table, fits = collect(tmp_path, records)
    assert {fit["status"] for fit in fits.values()} == {"not measured on this machine"}
    latency = table[table["metric"] == "latency"].set_index("decomposition")
    assert latency.loc["c+nf4", "ratio"] == 2 and latency.loc["c+nf4", "quantization"] == "nf4"
    assert fits["latency"]["reason"].startswith("some models here have fewer bits")


def test_a_step_of_training_is_a_row(tmp_path):
    ends = {"quartile_1": 79.0, "quartile_3": 82.0}
    peak = {
        "configuration": {"median": 80.0, **ends},
        "dense": {"median": 100.0, **ends},
        "ratio": {"value": 0.8, "interval_95": [0.78, 0.82], "rounds": 5},
    }
    step = {"batch": 2, "length": 10}
    training = {"workload": "QLoRA", "step": step, "measured_by": "resident set", "peak": peak}
    keys = ("model", "decomposition", "parameter_reduction_percent", "gpus", "provenance")
    of_profile = record("a", 10, 0.9)
    own = {key: of_profile[key] for key in keys} | {"training": training, "decomposition": "b"}
    table, fits = collect(tmp_path, [record("dense", 0, 1.0), of_profile, own])
    (row,) = table[table["metric"] == "fine-tuning memory"].to_dict("records")
    assert (row["value"], row["dense"], row["ratio"], row["rounds"]) == (80, 100, 0.8, 5)
    assert (row["ratio_low"], row["ratio_high"], row["tokens"]) == (0.78, 0.82, 20)
    fit = fits["fine-tuning memory"]
    assert fit["status"] == "not measured on this machine" and fit["thesis_slope"] is None
