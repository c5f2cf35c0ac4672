"""Perplexities, bits per byte and pass@1 go where accuracy goes: from answers to every result.

One made study asks five benchmarks of three configurations. Each number is computed again with
plain NumPy.
"""

import importlib

import numpy as np
import pandas as pd
import pypdf
import pytest
from lowrank.analyse.accuracy import collect_accuracy
from lowrank.base.errors import LowrankError
from lowrank.base.evaluations import read_scores
from lowrank.base.files import write_json
from lowrank.base.metric import Metric
from lowrank.base.names import AGGREGATE, CONTROL
from lowrank.claims.comparison import compare, record_reference
from lowrank.claims.evidence import Evidence
from lowrank.claims.operators import OPERATORS
from lowrank.claims.studies import AnsweredStudy
from lowrank.figures import accuracy
from lowrank.tables import table_4_1
from made_evaluations import write_result, write_scores

QUESTIONS = 80
NAMES = ("dense", "tucker", "drop")
RNG = np.random.default_rng(0)
METRIC_OF = {
    "arc_easy": Metric.from_config("acc", 0.25),
    "humaneval": Metric.from_config("pass@1,create_test"),
    "wikitext": Metric.from_config("word_perplexity"),
    "enwik8": Metric.from_config("bits_per_byte"),
    "prose": Metric.from_config(
        {"name": "token_perplexity", "label": "Perplexity (prose, 512 tokens)"}
    ),
}
PERPLEXITIES = ("wikitext", "prose")
WEIGHTS = {name: RNG.integers(20, 900, QUESTIONS) for name in ("wikitext", "enwik8")}
WEIGHTS["prose"] = np.full(QUESTIONS, 511)
DENSE = {
    "arc_easy": RNG.random(QUESTIONS) < 0.8,
    "humaneval": RNG.random(QUESTIONS) < 0.4,
    "wikitext": RNG.normal(2.5, 0.3, QUESTIONS),
    "enwik8": RNG.normal(1.0, 0.1, QUESTIONS),
    "prose": RNG.normal(3.0, 0.2, QUESTIONS),
}
WORSE = {
    name: values & (RNG.random(QUESTIONS) < 0.6)
    if values.dtype == bool
    else values * RNG.normal(1.3, 0.05, QUESTIONS)
    for name, values in DENSE.items()
}
# Leaving the layers out is worse still.
WORST = {
    name: values & (RNG.random(QUESTIONS) < 0.5) if values.dtype == bool else values * 1.2
    for name, values in WORSE.items()
}
ANSWERS = {
    name: dict(zip(NAMES, (DENSE[name], WORSE[name], WORST[name]), strict=True)) for name in DENSE
}
SHARES = ["arc_easy", "humaneval"]


def score(benchmark, values, counts=1):
    """The score of a benchmark, each question weighted."""
    weights = counts * WEIGHTS.get(benchmark, np.ones(QUESTIONS))
    mean = (weights * values).sum() / weights.sum()
    return np.exp(mean) if benchmark in PERPLEXITIES else mean


def resampled(benchmark, values):
    """Scores over randomly weighted questions, the same weights for all values.

    Shares have half a question more of each kind, of their own.
    """
    weights = np.random.default_rng(5).exponential(size=(8000, QUESTIONS))
    scores = np.array([score(benchmark, values, own) for own in weights])
    if values.dtype == bool:
        right, wrong = np.random.default_rng(values.sum()).gamma(0.5, size=(2, 8000))
        scores += (right - wrong) / QUESTIONS
    return scores


def interval(replicates):
    """Percentiles, up to other draws than those of the results and a little for few questions."""
    ends = np.percentile(replicates, [2.5, 97.5])
    return pytest.approx(ends, abs=0.05 * np.ptp(ends))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The results of a run of one model and one study."""
    folder = tmp_path_factory.mktemp("results")
    evaluations = folder / "models" / "m" / "evaluations"
    for benchmark, of_names in ANSWERS.items():
        for name, values in of_names.items():
            frame = pd.DataFrame({"task": "t", "question": range(QUESTIONS), "value": 1.0 * values})
            frame["log_probability"] = None
            if benchmark in WEIGHTS:
                frame["weight"] = WEIGHTS[benchmark]
            write_scores(evaluations, name, benchmark, frame)
            mean = float(score(benchmark, values))
            result = {
                "score": {
                    "metric": str(METRIC_OF[benchmark]),
                    "value": mean,
                    "interval_95": [0.9 * mean, 1.1 * mean],
                },
                "questions": {"asked": QUESTIONS, "available": 1000},
            }
            reduction = 0.0 if name == "dense" else 10.0
            shared = {"model": "m", "parameter_reduction_percent": reduction}
            write_result(evaluations, name, benchmark, result, **shared)
    row = {"label": "all in 1 layer", "position": 1, "rank": 1}
    rows = [
        row | {"series": "", "method": "tucker", "decomposition": "tucker"},
        row | {"series": CONTROL, "method": "drop", "decomposition": "drop"},
    ]
    benchmarks = {
        name: {"label": name, "metric": metric.as_record()} for name, metric in METRIC_OF.items()
    }
    table = folder / "models" / "m" / "studies" / "table_4_2.csv"
    collect_accuracy(rows, benchmarks, evaluations, table)
    write_json(folder / "claims.json", {"claims": []})
    return folder


@pytest.fixture(scope="module")
def without_mean(results, tmp_path_factory):
    """The table of a study of the same configurations that asks perplexities alone."""
    path = tmp_path_factory.mktemp("studies") / "perplexities.csv"
    collect_accuracy(
        [
            {"label": "x", "position": 1, "rank": 1, "series": series, "method": name}
            | {"decomposition": name}
            for series, name in (("", "tucker"), (CONTROL, "drop"))
        ],
        {name: {"label": name, "metric": METRIC_OF[name].as_record()} for name in PERPLEXITIES},
        results / "models" / "m" / "evaluations",
        path,
    )
    return path


def test_perplexities_have_no_mean(results, without_mean, tmp_path):
    rows = pd.read_csv(without_mean)
    assert set(rows["benchmark"]) == set(PERPLEXITIES)
    for name in PERPLEXITIES:
        made = rows.set_index(["decomposition", "benchmark"]).loc["tucker", name]
        assert made["score"] == pytest.approx(score(name, WORSE[name]), rel=1e-5)
    study = AnsweredStudy(without_mean, results / "models" / "m" / "evaluations")
    evidence = Evidence({"made": study})
    increase = OPERATORS["perplexity_increase"](evidence, "made", {}, "prose")
    ratio = score("prose", WORSE["prose"]) / score("prose", DENSE["prose"])
    assert increase.value == pytest.approx(100 * (ratio - 1))
    with pytest.raises(LowrankError, match="have no mean"):
        OPERATORS["loss"](evidence, "made", {}, list(PERPLEXITIES))


FIGURES = [f"figure_{n}" for n in ("3_2", "3_4", "3_5", "3_6", "3_7", "4_1", "methods", "lord")]


@pytest.mark.parametrize("figure", [*FIGURES, "figure_rom"])
def test_a_figure_without_a_mean_has_each_benchmark(without_mean, tmp_path, figure, monkeypatch):
    """No panel shows both texts, none a mean, and none is missing."""
    shown, plain = {}, accuracy.draw

    def draw(axes, x, rows, *arguments, **options):
        shown.setdefault(axes, set()).update(rows["benchmark"])
        plain(axes, x, rows, *arguments, **options)

    monkeypatch.setattr(accuracy, "draw", draw)
    outputs = [tmp_path / f"figure.{suffix}" for suffix in ("csv", "pdf", "png")]
    importlib.import_module(f"lowrank.figures.{figure}").render(without_mean, "M", "s", *outputs)
    assert {len(names) for names in shown.values()} == {1}
    assert set().union(*shown.values()) == set(PERPLEXITIES)
    text = pypdf.PdfReader(outputs[1]).pages[0].extract_text()
    assert "Word perplexity" in text and "mean" not in text
    scales = {axes.get_yscale() for axes in shown}
    assert scales == {"log"}


def test_the_mean_has_its_panel_beside_perplexities(table, tmp_path, monkeypatch):
    titles, plain = [], accuracy.finish

    def finish(axes, title="", *arguments):
        titles.append(title.partition("\n")[0])
        plain(axes, title, *arguments)

    monkeypatch.setattr(accuracy, "finish", finish)
    outputs = [tmp_path / f"figure.{suffix}" for suffix in ("csv", "pdf", "png")]
    importlib.import_module("lowrank.figures.figure_methods").render(table, "M", "s", *outputs)
    assert titles == [*(f"{name} (n = 80)" for name in METRIC_OF), "mean of 2 benchmarks (n = 160)"]


@pytest.fixture
def table(results):
    return results / "models" / "m" / "studies" / "table_4_2.csv"


def by_name(path):
    return pd.read_csv(path).set_index(["decomposition", "benchmark"])


@pytest.mark.parametrize("benchmark", METRIC_OF)
def test_scores_differences_and_intervals(table, benchmark):
    rows = by_name(table)
    dense, other = (score(benchmark, ANSWERS[benchmark][name]) for name in ("dense", "tucker"))
    row = rows.loc["tucker", benchmark]
    assert row["score"] == pytest.approx(other, rel=1e-5)
    assert row["score_difference"] == pytest.approx(other - dense, rel=1e-4)
    dense_R, other_R, control_R = (resampled(benchmark, ANSWERS[benchmark][n]) for n in NAMES)
    ends = row[["score_difference_low", "score_difference_high"]]
    assert list(ends) == interval(other_R - dense_R)
    row = rows.loc["drop", benchmark]
    ends = row[["score_over_decomposed_low", "score_over_decomposed_high"]]
    assert list(ends) == interval(control_R - other_R)
    assert Metric.from_record(row) == METRIC_OF[benchmark]


def test_the_mean_over_benchmarks_is_of_shares_alone(table):
    row = by_name(table).loc["tucker", AGGREGATE]
    expected = np.mean([score(name, WORSE[name]) for name in SHARES])
    assert row["score"] == pytest.approx(expected, rel=1e-5)
    assert row["questions"] == 2 * QUESTIONS
    assert (row["benchmark_label"], row["metric_label"]) == ("mean of 2 benchmarks", "Score")
    lost_QB = np.stack([1.0 * DENSE[name] - WORSE[name] for name in SHARES], axis=1)
    reach = 1.99 * np.sqrt(lost_QB.var(axis=0, ddof=1).sum() / QUESTIONS) / 2  # each by itself
    ends = row["score_difference"] - reach, row["score_difference"] + reach
    made = row[["score_difference_low", "score_difference_high"]]
    assert list(made) == pytest.approx(ends, abs=0.2 * reach)


def test_what_has_no_mean_is_refused(results, tmp_path):
    metric = Metric.from_config({"name": "bits_per_byte", "in_mean": True})
    benchmarks = {
        "arc_easy": {"label": "A", "metric": METRIC_OF["arc_easy"].as_record()},
        "enwik8": {"label": "E", "metric": metric.as_record()},
    }
    with pytest.raises(LowrankError, match=r"arc_easy \(Accuracy \(%\)\) and enwik8 .* no mean"):
        collect_accuracy([], benchmarks, results / "models/m/evaluations", tmp_path / "x.csv")


def test_configurations_weigh_a_text_alike(results, tmp_path):
    evaluations = results / "models" / "m" / "evaluations"
    for path in (evaluations / f"{name}.{end}" for name in NAMES for end in ("json", "csv")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    others = read_scores(evaluations, "tucker", "wikitext").assign(weight=1).reset_index()
    write_scores(tmp_path, "tucker", "wikitext", others)
    row = {"series": "", "label": "x", "position": 1, "rank": 1, "method": "tucker"}
    entry = {"label": "W", "metric": METRIC_OF["wikitext"].as_record()}
    with pytest.raises(LowrankError, match="tucker and dense did not answer the same questions"):
        collect_accuracy(
            [row | {"decomposition": "tucker"}], {"wikitext": entry}, tmp_path, tmp_path / "x.csv"
        )


def test_figure_4_1_has_a_panel_a_kind(table, tmp_path, monkeypatch):
    drawn = {}
    plain = accuracy.draw

    def draw(axes, x, rows, **options):
        for _, row in rows.iterrows():
            drawn[row["decomposition"], row["benchmark"]] = row["score"], axes
        plain(axes, x, rows, **options)

    monkeypatch.setattr(accuracy, "draw", draw)
    outputs = [tmp_path / f"figure.{suffix}" for suffix in ("csv", "pdf", "png")]
    importlib.import_module("lowrank.figures.figure_4_1").render(table, "M", "s", *outputs)
    for benchmark, factor in {"arc_easy": 100, "humaneval": 100, "wikitext": 1, "prose": 1}.items():
        value, _ = drawn["tucker", benchmark]
        assert value == pytest.approx(factor * score(benchmark, WORSE[benchmark]), rel=1e-5)
    axes = {name: drawn["tucker", name][1] for name in (*METRIC_OF, AGGREGATE)}
    assert axes["arc_easy"] is axes["humaneval"]
    assert len(set(axes.values())) == 5
    assert axes["arc_easy"].get_ylabel() == "Score (%)"
    assert axes["wikitext"].get_ylabel() == "Word perplexity,\nlower is better"
    assert axes["enwik8"].get_ylabel() == "Cross-entropy (bits/byte),\nlower is better"
    assert axes["prose"].get_ylabel() == "Perplexity (prose,\n512 tokens),\nlower is better"
    assert axes["wikitext"].get_yscale() == axes["prose"].get_yscale() == "log"
    assert axes["arc_easy"].get_ylim()[0] == 0
    assert "$" not in pypdf.PdfReader(outputs[1]).pages[0].extract_text()
    assert axes[AGGREGATE].get_ylabel() == "Score (%),\nmean of 2 benchmarks"
    # The data behind the figure are the study's own numbers.
    kept = by_name(outputs[0])
    assert kept.loc["tucker", "arc_easy"]["score"] == by_name(table).loc["tucker", "arc_easy"].score


@pytest.mark.parametrize("figure", [f"figure_3_{n}" for n in (2, 4, 5, 6, 7)])
def test_every_figure_of_scores_draws_them(table, tmp_path, figure):
    outputs = [tmp_path / f"figure.{suffix}" for suffix in ("csv", "pdf", "png")]
    importlib.import_module(f"lowrank.figures.{figure}").render(table, "M", "s", *outputs)
    text = pypdf.PdfReader(outputs[1]).pages[0].extract_text()
    has_panels = figure in ("figure_3_2", "figure_3_7")
    # Accuracy and pass@1 have a mean, which stands for them where there is no room for each.
    assert "Score (%)" in text
    assert ("Pass@1 (%)" in text) == has_panels
    assert ("Word perplexity,\nlower is better" in text) == has_panels
    assert ("512 tokens),\nlower is better" in text) == has_panels


def test_a_loss_is_above_zero_where_a_configuration_is_worse(results, table):
    study = AnsweredStudy(table, results / "models" / "m" / "evaluations")
    evidence = Evidence({"made": study})
    for name, metric in METRIC_OF.items():
        made = OPERATORS["loss"](evidence, "made", {}, [name])
        dense_R, other_R = (resampled(name, answers[name]) for answers in (DENSE, WORSE))
        factor = metric.scale * metric.sign
        value = score(name, DENSE[name]) - score(name, WORSE[name])
        assert made.value == pytest.approx(factor * value) and made.value > 0
        expected = interval(factor * (dense_R - other_R))
        (reading,) = made.readings
        assert list(reading.interval(0.95)) == expected
        arguments = ({"series": ""}, {"series": CONTROL}, [name])
        assert OPERATORS["contrast"](evidence, "made", *arguments).value > 0
    with pytest.raises(LowrankError, match=r"arc_easy .* and wikitext .* have no mean"):
        OPERATORS["loss"](evidence, "made", {}, ["arc_easy", "wikitext"])
    with pytest.raises(LowrankError, match="have no mean"):
        OPERATORS["loss_above_smallest"](evidence, "made", {}, "wikitext", ["enwik8"])
    with pytest.raises(LowrankError, match=r"wikitext .* and prose .* have no mean"):
        OPERATORS["loss"](evidence, "made", {}, ["wikitext", "prose"])
    for name in PERPLEXITIES:
        increase = OPERATORS["perplexity_increase"](evidence, "made", {}, name)
        ratio = score(name, WORSE[name]) / score(name, DENSE[name])
        assert increase.value == pytest.approx(100 * (ratio - 1))


def changed(results, folder, benchmark, change):
    """A copy of the results with one score of the configuration changed."""
    path = folder / "models" / "m" / "studies" / "table_4_2.csv"
    path.parent.mkdir(parents=True)
    table = pd.read_csv(results / "models/m/studies/table_4_2.csv")
    is_it = (table["decomposition"] == "tucker") & (table["benchmark"] == benchmark)
    table.loc[is_it, "score"] = change(table.loc[is_it, "score"])
    table.to_csv(path, index=False)
    write_json(folder / "claims.json", {"claims": []})
    return folder


def of_itself(benchmark):
    return (
        benchmark,
        lambda kept: 1.019 * kept,
        lambda kept: 0.979 * kept,
        0.02 * score(benchmark, WORSE[benchmark]),
    )


def of_questions(benchmark):
    return benchmark, lambda kept: kept + 2 / 80, lambda kept: kept - 3 / 80, 2 / 80


@pytest.mark.parametrize(
    ("benchmark", "within", "beyond", "allowed"),
    [
        of_itself("wikitext"),
        of_itself("enwik8"),
        of_itself("prose"),
        of_questions("humaneval"),
        of_questions(AGGREGATE),
    ],
)
def test_what_is_no_share_may_differ_by_a_share_of_itself(
    results, tmp_path, benchmark, within, beyond, allowed
):
    record_reference(results, tmp_path / "reference")
    kept = pd.read_csv(tmp_path / "reference" / "scores.csv")
    assert list(kept) == ["model", "study", "series", "label", "benchmark", "questions", "score"]
    close = changed(results, tmp_path / "close", benchmark, within)
    assert compare(close, tmp_path / "reference").outside == []
    far = changed(results, tmp_path / "far", benchmark, beyond)
    (line,) = compare(far, tmp_path / "reference").outside
    assert f"all in 1 layer {benchmark}: score" in line
    assert f"(allowed: {allowed:.3f} either way)" in line


def test_table_4_1_says_which_way_is_better():
    shared = {"task": "T", "tasks": ["t"], "weights": {}, "beside": {}, "subsets": [], "splits": []}
    shared |= {"split": "test", "used": False, "limits": []}
    entries = [
        shared | {"name": name, "label": name, "metric": metric.as_record()}
        for name, metric in METRIC_OF.items()
    ]
    made = table_4_1.table(entries, [], "paper/thesis.yaml")
    assert [row[3] for row in made.rows] == [
        "acc",
        "pass@1 (create_test)",
        "word_perplexity, lower is better",
        "bits_per_byte, lower is better",
        "token_perplexity, lower is better",
    ]
    assert [line[2] for line in made.data[1:]] == list(map(str, METRIC_OF.values()))
