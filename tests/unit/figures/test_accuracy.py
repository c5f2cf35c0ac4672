"""The accuracy figures on made tables: they draw, embed their fonts and repeat byte for byte."""

import importlib
import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pypdf
import pytest
from lowrank.base.metric import Metric
from lowrank.figures import accuracy, figure_3_2, figure_4_1, figure_methods
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SERIES = {
    "figure_3_2": ["rank 1", "rank 250", "rank 500", "rank 1, Table 4.2", "rank 500, Table 4.2"],
    "figure_3_4": ["one layer", "all layers"],
    "figure_3_5": ["about 8%", "about 21%"],
    "figure_3_6": ["", "left out"],
    "figure_3_7": ["as run", "centred", "left out"],
    "figure_4_1": ["", "left out"],
    "figure_recovery": ["no tuning", "tuned", "tuned otherwise"],
}
PANEL_A_BENCHMARK = ("figure_3_2", "figure_3_7", "figure_recovery")
BENCHMARKS = {"arc_easy": "ARC-Easy", "gsm8k": "GSM8K", "aggregate": "mean of 2 benchmarks"}


def table(figure):
    rng = np.random.default_rng(0)
    rows = []
    for benchmark, (series, index) in itertools.product(
        BENCHMARKS, [("", -1), *itertools.product(SERIES[figure], range(4))]
    ):
        score = rng.uniform(0.1, 0.6)
        row = {
            "model": "m",
            "series": series,
            "label": "dense" if index < 0 else f"all in {index} layers",
            "position": index,
            "method": "drop" if series == "left out" else "tucker",
            "rank": 1,
            "decomposition": f"d{series}{index}",
            "parameter_reduction_percent": 10.0 * (index + 1),
            "benchmark": benchmark,
            "benchmark_label": BENCHMARKS[benchmark],
            **Metric.from_config("acc").as_record(),
            "questions": 40,
            "questions_available": 1000,
        }
        for name, value, half in (
            ("score", score, 0.1),
            ("score_difference", score - 0.5, 0.05),
            ("log_probability_difference", score - 1.0, 0.2),
        ):
            row |= {name: value, f"{name}_low": value - half, f"{name}_high": value + half}
        rows.append(row)
    return pd.DataFrame(rows)


def companion_columns(frame):
    return [name for name in frame if name.startswith("log_probability")]


@pytest.mark.parametrize("figure", SERIES)
def test_figures_draw_their_table(figure, tmp_path):
    table(figure).to_csv(tmp_path / "data.csv", index=False)
    render = importlib.import_module(f"lowrank.figures.{figure}").render
    for name in ("one", "two"):
        outputs = [tmp_path / f"{name}.{suffix}" for suffix in ("csv", "pdf", "png")]
        render(tmp_path / "data.csv", "The model", "the study; 2 of 2 benchmarks", *outputs)
    for suffix in ("csv", "pdf", "png"):
        one, two = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
        assert one.read_bytes() == two.read_bytes()
    no_companion = table(figure).drop(columns=companion_columns(table(figure)))
    no_companion.to_csv(tmp_path / "data.csv", index=False)
    render(tmp_path / "data.csv", "Ranked", "x", *outputs)
    page = pypdf.PdfReader(tmp_path / "one.pdf").pages[0]
    text = page.extract_text()
    text = " ".join(text.split())
    assert "The model" in text and "2 of 2 benchmarks" in text and "95% intervals" in text
    fonts = [font.get_object() for font in page["/Resources"]["/Font"].values()]
    for font in fonts:
        descendant = (
            font["/DescendantFonts"][0].get_object() if "/DescendantFonts" in font else font
        )
        assert "/FontFile2" in descendant["/FontDescriptor"]
    assert len(pd.read_csv(tmp_path / "one.csv")) == len(table(figure))


def published(scores, metric="acc"):
    """A published table of the dense model and one configuration, by benchmark."""
    rows = []
    for benchmark, (dense, other) in scores.items():
        for label, score, reduction in (("dense", dense, 0.0), ("9%", other, 9.0)):
            row = {
                **{"model": "m", "series": "", "label": label, "decomposition": label},
                **{"position": None, "method": "tucker", "rank": 1, "benchmark": benchmark},
                **{"parameter_reduction_percent": reduction, "benchmark_label": benchmark},
                **Metric.from_config(metric, 0.25).as_record(),
                **{"questions": 100, "questions_available": 100},
                **{"score_least": None, "score_greatest": None},
            }
            for name, value in (("score", score), ("score_difference", score - dense)):
                row |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}
            rows.append(row)
    return pd.DataFrame(rows)


def text_of(path):
    return " ".join(pypdf.PdfReader(path).pages[0].extract_text().split())


def grey_line(monkeypatch, tmp_path, theirs):
    """Draw Figure 4.1 with published scores and return the legend's text and the drawn points."""
    table("figure_4_1").to_csv(tmp_path / "data.csv", index=False)
    theirs.to_csv(tmp_path / "authors.csv", index=False)
    outputs = [tmp_path / f"one.{suffix}" for suffix in ("csv", "pdf", "png")]
    drawn = []
    plot = Axes.plot

    def remember(axes, *arguments, **looks):
        if "authors" in str(looks.get("label")):
            drawn.append([list(values) for values in arguments])
        return plot(axes, *arguments, **looks)

    monkeypatch.setattr(Axes, "plot", remember)
    authors = tmp_path / "authors.csv"
    figure_4_1.render(tmp_path / "data.csv", "The model", "x", *outputs, authors=authors)
    assert len(pd.read_csv(outputs[0])) == len(table("figure_4_1"))
    return text_of(outputs[1]), drawn


def test_figure_4_1_has_the_authors_mean_over_common_benchmarks(monkeypatch, tmp_path):
    theirs = {"arc_easy": (0.7, 0.6), "gsm8k": (0.3, 0.1), "mmlu": (0.9, 0.9)}
    text, drawn = grey_line(monkeypatch, tmp_path, published(theirs))
    assert "authors' data (Llama-2-7B, four A100s), mean of 2" in text
    ((x, y),) = drawn
    assert x == [0.0, 9.0] and y == pytest.approx([50.0, 35.0])


def test_a_benchmark_of_another_metric_is_not_the_authors(monkeypatch, tmp_path):
    both = [published({"arc_easy": (0.7, 0.6)}), published({"gsm8k": (0.3, 0.1)}, "exact_match")]
    text, drawn = grey_line(monkeypatch, tmp_path, pd.concat(both))
    assert "mean of 1" in text
    assert drawn[0][1] == pytest.approx([70.0, 60.0])
    text, drawn = grey_line(monkeypatch, tmp_path, published({"arc_easy": (0.7, 0.6)}, "acc_norm"))
    assert "authors" not in text and drawn == []


def test_published_scores_are_drawn_without_pairs_and_with_gaps(tmp_path):
    data = published({"arc_easy": (0.7, 0.6), "gsm8k": (np.nan, 0.1), "aggregate": (0.7, 0.6)})
    data.to_csv(tmp_path / "data.csv", index=False)
    outputs = [tmp_path / f"one.{suffix}" for suffix in ("csv", "pdf", "png")]
    figure_4_1.render(tmp_path / "data.csv", "The authors' data", "x", *outputs)
    text = text_of(outputs[1])
    assert "the widest of the difference from dense" in text and "paired" not in text
    assert "gsm8k (n = 100)" in text and "chance" in text


def test_figure_3_2_names_each_line_by_its_rank(tmp_path):
    data = table("figure_3_2")
    labels = {"rank 1": "35", "rank 250": "0.6 of break-even", "rank 500": "ranks a module"}
    data["rank"] = data["series"].map(labels).fillna("0")
    data.to_csv(tmp_path / "data.csv", index=False)
    outputs = [tmp_path / f"one.{suffix}" for suffix in ("csv", "pdf", "png")]
    figure_3_2.render(tmp_path / "data.csv", "The model", "x", *outputs)
    text = " ".join(pypdf.PdfReader(outputs[1]).pages[0].extract_text().split())
    assert "rank 35" in text and "ranks a module" in text and "0.6 of break-even" in text
    assert "rank 0.6" not in text and "rank ranks" not in text


GUESSES = {"arc_easy": 0.25, "gsm8k": 0.4, "aggregate": 0.325}
"""What a guess scores where both benchmarks have choices."""


def lines_across(monkeypatch, folder, figure, data):
    """Draw a figure and return its text, and each panel's levels that a legend calls chance."""
    levels = {}
    across = Axes.axhline

    def remember(axes, y, **looks):
        if looks.get("label", "").startswith("chance"):
            levels.setdefault(id(axes), set()).add(y)
        return across(axes, y, **looks)

    monkeypatch.setattr(Axes, "axhline", remember)
    data.to_csv(folder / "data.csv", index=False)
    outputs = [folder / f"one.{suffix}" for suffix in ("csv", "pdf", "png")]
    render = importlib.import_module(f"lowrank.figures.{figure}").render
    render(folder / "data.csv", "The model", "x", *outputs)
    return text_of(outputs[1]), sorted(map(sorted, levels.values()))


@pytest.mark.parametrize("figure", SERIES)
def test_each_panel_shows_what_a_guess_scores(monkeypatch, tmp_path, figure):
    data = table(figure)
    data["chance"] = data["benchmark"].map(GUESSES)
    text, levels = lines_across(monkeypatch, tmp_path, figure, data)
    each_benchmark = {name: [[25], [40]] for name in PANEL_A_BENCHMARK}
    of_mean = [[32.5]] * (2 if figure in ("figure_3_4", "figure_3_5") else 1)
    expected = each_benchmark.get(figure, [[25, 40]] if figure == "figure_4_1" else [])
    assert levels == sorted(expected + of_mean)
    assert text.count("chance") == 1


@pytest.mark.parametrize("figure", SERIES)
def test_no_guess_is_drawn_where_there_is_none(monkeypatch, tmp_path, figure):
    data = table(figure)
    data["chance"] = data["benchmark"].map({"arc_easy": 0.25})
    text, levels = lines_across(monkeypatch, tmp_path, figure, data)
    has_panel = figure in (*PANEL_A_BENCHMARK, "figure_4_1")
    assert levels == ([[25]] if has_panel else [])
    assert ("chance" in text) is has_panel


def test_levels_that_differ_by_a_few_questions_are_one_line():
    axes = Figure().subplots()
    chances = (0.25, 0.2502, None, 0.5, 0.3002)
    accuracy.draw_chance(axes, *(Metric.from_config("acc", chance) for chance in chances))
    assert [line.get_ydata()[0] for line in axes.lines] == pytest.approx([25.0, 50.0, 30.02])
    handles, labels = accuracy.legend_entries(axes)
    assert labels == ["chance"] and handles == [axes.lines[0]]


@pytest.mark.parametrize("figure", ["figure_3_2", "figure_3_4", "figure_3_7", "figure_4_1"])
def test_labels_say_how_many_questions_their_configurations_were_asked(tmp_path, figure):
    """The dense model and the first series, which is all that Figure 4.1 has beside it."""
    data = table(figure)
    of_first = (data["benchmark"] == "gsm8k") & data["series"].isin(["", data["series"][1]])
    data.loc[of_first & (data["position"] == 1), "questions"] = 16
    data.loc[(data["benchmark"] == "gsm8k") & (data["position"] == -1), "questions"] = 320
    data.loc[(data["benchmark"] == "arc_easy") & (data["series"] == "left out"), "questions"] = 8
    data.to_csv(tmp_path / "data.csv", index=False)
    outputs = [tmp_path / f"one.{suffix}" for suffix in ("csv", "pdf", "png")]
    render = importlib.import_module(f"lowrank.figures.{figure}").render
    render(tmp_path / "data.csv", "The model", "x", *outputs)
    text = text_of(outputs[1])
    asked = "8–40" if figure == "figure_3_7" else "40"
    assert f"ARC-Easy (n = {asked})" in text and "GSM8K (n = 16–320)" in text


def test_a_long_label_has_its_number_of_questions_on_a_line_of_its_own(tmp_path):
    data = table("figure_4_1").assign(benchmark_label="mean of 5 benchmarks")
    data.loc[data["position"] == 2, "questions"] = 1640
    data.to_csv(tmp_path / "data.csv", index=False)
    study = accuracy.Study(tmp_path / "data.csv")
    assert study.label("aggregate") == "mean of 5 benchmarks\n(n = 40–1640)"
    assert study.label("aggregate", "none") == "mean of 5 benchmarks (n = 40)"


def two_metrics(figure):
    """A study whose first benchmark stays out of the mean; the second has a baseline."""
    data = table(figure)
    is_first = data["benchmark"] == "arc_easy"
    data.loc[is_first, ["metric_label", "in_mean"]] = ["Average precision", False]
    is_second = data["benchmark"] == "gsm8k"
    data.loc[is_second, ["baseline", "baseline_label"]] = [0.07, "bag of words"]
    return data


@pytest.mark.parametrize("figure", ["figure_3_4", "figure_3_5", "figure_3_6"])
def test_a_benchmark_that_stays_out_of_the_mean_has_a_panel_of_its_own(
    figure, monkeypatch, tmp_path
):
    two_metrics(figure).to_csv(tmp_path / "data.csv", index=False)
    lines = []
    axhline = Axes.axhline

    def remember(axes, y, **looks):
        lines.append((axes, y, looks.get("label", "")))
        return axhline(axes, y, **looks)

    monkeypatch.setattr(Axes, "axhline", remember)
    outputs = [tmp_path / f"one.{suffix}" for suffix in ("csv", "pdf", "png")]
    render = importlib.import_module(f"lowrank.figures.{figure}").render
    render(tmp_path / "data.csv", "The model", "x", *outputs)
    text = text_of(outputs[1])
    assert "Average precision" in text and "Accuracy" in text and "mean of 2" not in text
    assert "bag of words (GSM8K)" in text
    drawn = [(axes, y) for axes, y, label in lines if label.startswith("bag of words")]
    assert all(y == pytest.approx(7.0) for _, y in drawn)  # percent
    # One a panel of that benchmark, and none elsewhere.
    columns = 1 if figure == "figure_3_6" else len(SERIES[figure])
    assert len({axes for axes, _ in drawn}) == len(drawn) == columns


def test_a_mean_of_one_benchmark_has_its_baseline(tmp_path):
    data = table("figure_3_6")
    data = data[data["benchmark"] != "gsm8k"].assign(baseline=0.2, baseline_label="shared words")
    # Perplexity is on another axis and takes no part.
    perplexity = Metric.from_config("word_perplexity").as_record()
    other = data[data["benchmark"] == "arc_easy"].assign(benchmark="wikitext", **perplexity)
    data = pd.concat([data, other])
    data.to_csv(tmp_path / "data.csv", index=False)
    study = accuracy.Study(tmp_path / "data.csv")
    assert study.summaries == ["aggregate"]
    assert study.dense("aggregate")["baseline"] == pytest.approx(20.0)


def test_fewer_questions_are_drawn_at_their_difference_from_the_dense_model(tmp_path):
    """The questions of the fewer may be easier: what counts is the dense model on the same ones."""
    frame = table("figure_3_6")
    few = (frame["label"] != "dense") & (frame["position"] == 1)
    frame.loc[few, "questions"] = 8
    frame.to_csv(tmp_path / "table.csv", index=False)
    study = accuracy.Study(tmp_path / "table.csv")
    for benchmark in BENCHMARKS:
        dense = study.dense(benchmark)["score"]
        made, given = study.rows(benchmark), frame[frame["benchmark"] == benchmark]
        given = given[given["label"] != "dense"].reset_index(drop=True)
        own = (100 * given["score"]).to_numpy()
        moved = dense + 100 * given["score_difference"].to_numpy()
        expected = np.where(given["questions"] == 8, moved, own)
        assert made["score"].to_numpy() == pytest.approx(expected)
        width = made["score_high"] - made["score_low"]
        assert width.to_numpy() == pytest.approx(20.0)


def test_more_series_than_colours_still_look_unlike():
    names = [f"method {n}" for n in range(14)]
    looks = accuracy.series_looks(names)
    assert len({(look["color"], look["marker"]) for look in looks.values()}) == 15  # and a control
    assert "linestyle" not in looks["method 9"] and looks["method 10"]["linestyle"] == "--"
    assert looks["method 0"]["color"] == looks["method 10"]["color"]


METHODS = [("SVD", "20%", 12.0), ("SVD", "40%", 25.0), ("SVD-LLM, pivoted", "20%", 12.5)]


def stars(monkeypatch, folder, theirs):
    """Draw methods with published numbers; the stars of each panel, and the CSV."""
    kept = table("figure_3_4").query("position < 3")
    rows = []
    for benchmark, part in kept.groupby("benchmark", sort=False):
        named = [("", "dense", 0.0), *METHODS]
        for row, (series, label, x) in zip(part.to_dict("records"), named, strict=False):
            own = {"series": series, "label": label, "benchmark": benchmark}
            rows.append(row | own | {"parameter_reduction_percent": x})
    pd.DataFrame(rows).to_csv(folder / "data.csv", index=False)
    columns = ["model", "series", "label", "benchmark", "score", "source"]
    pd.DataFrame(theirs, columns=columns).to_csv(folder / "theirs.csv", index=False)
    drawn = []
    plot = Axes.plot

    def remember(axes, x, y, **looks):
        if looks.get("label") == figure_methods.PUBLISHED:
            drawn.append((axes.get_title().split(" ")[0], list(x), list(y)))
        return plot(axes, x, y, **looks)

    monkeypatch.setattr(Axes, "plot", remember)
    outputs = [folder / f"one.{suffix}" for suffix in ("csv", "pdf", "png")]
    render = importlib.import_module("lowrank.figures.figure_published").render
    render(folder / "data.csv", "The model", "x", *outputs, authors=folder / "theirs.csv")
    return drawn, pd.read_csv(outputs[0], keep_default_na=False), text_of(outputs[1])


def test_published_numbers_are_stars_where_their_configurations_are(monkeypatch, tmp_path):
    theirs = [
        ("The model", "", "dense", "arc_easy", 71.5, "A, Table 1"),
        ("The model", "SVD", "40%", "arc_easy", 30.25, "A, Table 1"),
        ("The model", "SVD", "40%", "arc_easy", 31, "B, Table 2"),
        ("The model", "SVD-LLM, pivoted", "20%", "gsm8k", 9, "A, Table 1"),
        ("The model", "SVD", "60%", "arc_easy", 1, "of a configuration that was not run"),
        ("Another", "SVD", "20%", "arc_easy", 2, "A, Table 1"),
    ]
    drawn, written, text = stars(monkeypatch, tmp_path, theirs)
    expected = [("ARC-Easy", [0], [71.5]), ("ARC-Easy", [25, 25], [30.25, 31])]
    assert drawn == [*expected, ("GSM8K", [12.5], [9])] and "published" in text
    cells = written.set_index(["series", "label", "benchmark"])
    own = cells.loc[("SVD", "40%", "arc_easy")]
    assert (own["published"], own["published_source"]) == ("30.25; 31", "A, Table 1; B, Table 2")
    assert cells.loc[("SVD", "20%", "arc_easy"), "published"] == ""
    assert len(written) == 3 * 4


def test_a_model_of_which_nothing_was_published_has_no_star(monkeypatch, tmp_path):
    theirs = [("Another", "SVD", "20%", "arc_easy", 2, "A, Table 1")]
    drawn, written, text = stars(monkeypatch, tmp_path, theirs)
    assert drawn == [] and "published" not in text and set(written["published"]) == {""}


@pytest.mark.parametrize(
    ("averaging", "worst", "ends"),
    [("perplexity", 2100, (10, 2000)), ("perplexity", 1900, None), ("questions", 2100, None)],
)
def test_an_axis_of_perplexities_ends_where_no_model_works(averaging, worst, ends):
    study = SimpleNamespace(
        dense=lambda name: {"score": 20.0}, metrics={"b": SimpleNamespace(averaging=averaging)}
    )
    axes = Figure().subplots()
    axes.set_ylim(1, worst)
    assert figure_methods._without_ruins(axes, study, "b") == (ends is not None)
    assert axes.get_ylim() == (ends or (1, worst))
