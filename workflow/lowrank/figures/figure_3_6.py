"""Figure 3.6: aggregate accuracy when exactly one layer is decomposed, against its position."""

from __future__ import annotations

from pathlib import Path

from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import AGGREGATE, CONTROL, Study


def render(
    data: str | Path, label: str, subtitle: str, csv: str | Path, pdf: str | Path, png: str | Path
) -> None:
    """Draw the mean over benchmarks against the layer; with a control, the layer left out.

    Parameters
    ----------
    data
        The table of `lowrank.results.collect_accuracy`.
    label, subtitle
        The model's name, and the line below it.
    csv, pdf, png
        The files to write.
    """
    study = Study(data)
    looks = accuracy.series_looks(study.series)
    with style.figure(2.4, [pdf, png]) as canvas:
        axes = canvas.subplots()
        accuracy.draw_dense(axes, study.dense(AGGREGATE))
        for series in study.series:
            rows = study.rows(AGGREGATE, series)
            control = series == CONTROL
            x = rows["position"] + (0.2 if control else 0.0)
            named = "layer left out" if control else "layer decomposed"
            accuracy.draw(axes, x, rows, label=named, **looks[series])
        if len(study.series) > 1:
            axes.legend()
        named = study.dense(AGGREGATE)["benchmark_label"]
        accuracy.finish(
            axes,
            f"{label}\n{subtitle}\ndashed: no decomposition; bars and band: 95% intervals",
            "Layer",
            f"Accuracy (%),\n{named}",
        )
    study.write(csv)
