"""What is done after a model is cut: scores of configurations before it and after."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import Study

WIDTH = 0.7
"""How much of the room of a configuration its marks take."""


def render(
    data: str | Path, label: str, subtitle: str, csv: str | Path, pdf: str | Path, png: str | Path
) -> None:
    """Draw a panel a benchmark and one for their mean: of each configuration a mark a series.

    The first series is that to which nothing is done. Its marks are hollow.

    Parameters
    ----------
    data
        The table of `lowrank.analyse.accuracy.collect_accuracy`.
    label, subtitle
        The model's name, and the line below it.
    csv, pdf, png
        The files to write.
    """
    study = Study(data)
    rows = study.rows(study.benchmarks[0])
    labels = list(dict.fromkeys(rows["label"]))
    before, *after = study.series
    looks = {before: {"color": "#444444", "marker": "o", "markerfacecolor": "white"}}
    looks |= {name: dict(own) for name, own in accuracy.series_looks(after).items()}
    shifts = dict(zip(study.series, np.linspace(-WIDTH, WIDTH, len(study.series)) / 2, strict=True))
    with style.figure(4.2, [pdf, png], width=style.TEXT_WIDTH) as canvas:
        panels = accuracy.benchmark_panels(canvas, study, "", columns=3)
        for name, axes in panels:
            for series in study.series:
                own = study.rows(name, series)
                x = own["label"].map(labels.index) + shifts[series]
                accuracy.draw(axes, x, own, label=series, **looks[series] | {"linestyle": "none"})
            axes.set_xlim(-0.6, len(labels) - 0.4)
            axes.set_xticks(range(len(labels)), labels, rotation=30 if len(labels) > 3 else 0)
            for tick in axes.get_xticklabels() if len(labels) > 3 else ():
                tick.set_horizontalalignment("right")
            for place in range(1, len(labels)):
                axes.axvline(place - 0.5, color="#DDDDDD", linewidth=0.5, zorder=0)
        canvas.suptitle(f"{label}: {subtitle}", fontsize=7.5)
        handles, names = accuracy.legend_entries(*(axes for _, axes in panels))
        title = f"dashed: the dense model as it is; {accuracy.PAIRED}"
        canvas.legend(handles, names, loc="outside lower center", ncols=4, title=title)
    study.write(csv)
