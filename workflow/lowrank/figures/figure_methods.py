"""Methods at equal budgets: accuracy and perplexity against the parameters removed."""

from __future__ import annotations

from pathlib import Path

from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import Study

PIVOTED = "pivoted"
"""What the name of a series ends with whose factors are stored in that form."""


def render(
    data: str | Path, label: str, subtitle: str, csv: str | Path, pdf: str | Path, png: str | Path
) -> None:
    """Draw a panel a benchmark and one for their mean, a line a method and form.

    A method has one colour. In the pivoted form its marks are hollow and its line is dotted.

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
    colours = accuracy.series_looks(list(dict.fromkeys(map(_method, study.series))))
    with style.figure(3.9, [pdf, png], width=style.TEXT_WIDTH) as canvas:
        panels = accuracy.benchmark_panels(canvas, study, "Parameter reduction (%)")
        for name, axes in panels:
            for series in study.series:
                rows = study.rows(name, series).sort_values("parameter_reduction_percent")
                looks = dict(colours[_method(series)])
                if series != _method(series):
                    looks |= {"linestyle": ":", "markerfacecolor": "white"}
                accuracy.draw(
                    axes, rows["parameter_reduction_percent"], rows, label=series, **looks
                )
        canvas.suptitle(f"{label}: {subtitle}", fontsize=7.5)
        handles, labels = accuracy.legend_entries(*(axes for _, axes in panels))
        title = f"dashed: no decomposition; {accuracy.PAIRED}"
        canvas.legend(handles, labels, loc="outside lower center", ncols=5, title=title)
    study.write(csv)


def _method(series: str) -> str:
    return series.removesuffix(f", {PIVOTED}")
