"""The accuracy figures on made tables: they draw, embed their fonts and repeat byte for byte."""

import importlib
import itertools

import numpy as np
import pandas as pd
import pypdf
import pytest
from lowrank.base.metric import Metric
from lowrank.figures import figure_3_2

SERIES = {
    "figure_3_2": ["rank 1", "rank 250", "rank 500", "rank 1, Table 4.2", "rank 500, Table 4.2"],
    "figure_3_4": ["one layer", "all layers"],
    "figure_3_5": ["about 8%", "about 21%"],
    "figure_3_6": ["", "left out"],
    "figure_3_7": ["as run", "centred", "left out"],
    "figure_4_1": ["", "left out"],
}
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
