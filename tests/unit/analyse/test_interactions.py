"""Losses of two steps, alone and together: by hand, and against scipy on made answers."""

import numpy as np
import pytest
import scipy.stats
from lowrank.analyse.interactions import interactions
from lowrank.base.metric import Metric
from lowrank.base.statistics import mean_interval
from made_evaluations import write_result, write_scores

MODELS = ("dense", "cut", "dense+nf4", "cut+nf4")
ROW = {"series": "nf4", "label": "cut", "quantization": "nf4"}
ROW |= {"both": "cut+nf4", "compression": "cut", "alone": "dense+nf4"}


def write(folder, benchmark, values_of, score, weights=None):
    for name, values in values_of.items():
        frame = {"task": "t", "question": np.arange(len(values)), "value": values}
        frame |= {"log_probability": None} if weights is None else {"weight": weights}
        write_scores(folder, name, benchmark, frame)
        result = {
            "score": {"value": score(values), "interval_95": list(mean_interval(values))},
            "questions": {"asked": len(values), "available": 1000},
        }
        write_result(folder, name, benchmark, result, model="m", parameter_reduction_percent=0.0)


def described(benchmark, metric):
    return {benchmark: {"label": "B", "metric": Metric.from_config(metric).as_record()}}


def test_perplexities_by_hand(tmp_path):
    """Nats a token of two windows, of 1 and 3 predictions: weighted means 2, 3.5, 2.25, 4.75."""
    values = ((2.0, 2.0), (5.0, 3.0), (3.0, 2.0), (7.0, 4.0))
    weights = np.array([1.0, 3.0])
    write(
        tmp_path,
        "text",
        dict(zip(MODELS, map(np.array, values), strict=True)),
        lambda nats: float(np.exp(nats @ weights / 4)),
        weights,
    )
    (row,) = interactions([ROW], described("text", "token_perplexity"), tmp_path).to_dict("records")
    assert row["unit"] == "nats a token" and row["questions"] == 2
    assert row["loss_of_compression"] == pytest.approx(1.5)
    assert row["loss_of_quantization"] == pytest.approx(0.25)
    assert row["loss_of_both"] == pytest.approx(2.75)
    assert row["interaction"] == pytest.approx(2.75 - 1.5 - 0.25)


def test_accuracies_by_hand(tmp_path):
    """Right of four: 4, 3, 3 and 1: losses of 25, 25 and 75 points, 25 beyond the sum."""
    right = ([1, 1, 1, 1], [1, 1, 1, 0], [0, 1, 1, 1], [0, 1, 0, 0])
    answers = (np.array(each, dtype=float) for each in right)
    write(tmp_path, "arc", dict(zip(MODELS, answers, strict=True)), lambda v: float(v.mean()))
    (row,) = interactions([ROW], described("arc", "acc"), tmp_path).to_dict("records")
    assert row["unit"] == "points"
    found = [row[key] for key in ("loss_of_compression", "loss_of_quantization", "loss_of_both")]
    assert found == pytest.approx([25, 25, 75])
    assert row["interaction"] == pytest.approx(25)
    assert row["interaction_low"] < 0 < row["interaction_high"]  # four questions decide nothing
    assert row["p_value"] > 0.05


def made_nats(rng, windows, beyond):
    """Nats a token of windows that are hard alike for all four models."""
    base = rng.normal(3, 0.5, windows)
    noise = rng.normal(0, 0.02, (4, windows))
    cut, bits = 0.4 + noise[1], 0.1 + noise[2]
    return base, base + cut, base + bits, base + cut + bits + beyond + noise[3]


@pytest.mark.parametrize("beyond", [0.0, 0.2, -0.05])
def test_intervals_of_made_windows_are_scipys(tmp_path, beyond):
    """The windows' own differences go away: what is left is a paired t test of four columns."""
    nats = made_nats(np.random.default_rng(1), 60, beyond)
    write(
        tmp_path,
        "text",
        dict(zip(MODELS, nats, strict=True)),
        lambda values: float(np.exp(values.mean())),
        np.full(60, 511.0),
    )
    (row,) = interactions([ROW], described("text", "token_perplexity"), tmp_path).to_dict("records")
    dense, cut, bits, both = nats
    reference = scipy.stats.ttest_1samp(both - cut - bits + dense, 0)
    assert (row["interaction_low"], row["interaction_high"]) == pytest.approx(
        tuple(reference.confidence_interval()), abs=0.002
    )
    assert row["interaction_low"] < beyond < row["interaction_high"]
    assert (row["p_value"] < 0.05) == (beyond != 0) == (reference.pvalue < 0.05)


def test_every_row_of_a_table_counts_for_its_p_values(tmp_path):
    nats = made_nats(np.random.default_rng(2), 20, 0.004)
    write(
        tmp_path,
        "text",
        dict(zip(MODELS, nats, strict=True)),
        lambda values: float(np.exp(values.mean())),
        np.full(20, 511.0),
    )
    of_one, of_three = (
        interactions([ROW] * count, described("text", "token_perplexity"), tmp_path)["p_value"][0]
        for count in (1, 3)
    )
    assert 0 < of_one < 1 and of_three == pytest.approx(min(1, 3 * of_one))
