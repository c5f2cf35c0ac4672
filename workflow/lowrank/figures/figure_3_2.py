"""Figure 3.2: accuracy against parameter reduction for several pruned ranks."""

from __future__ import annotations

from pathlib import Path

from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import Study

AS_RUN = "as run"
"""What the legend calls the lists of series that name none: those of the authors' code."""


def render(
    data: str | Path, label: str, subtitle: str, csv: str | Path, pdf: str | Path, png: str | Path
) -> None:
    """Draw a panel a benchmark and one for their mean, a line a pruned rank and set of lists.

    Sets have lines of their own, and the colour of their rank.

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
    groups = list(dict.fromkeys(_lists(series) for series in study.series))
    ranks = list(dict.fromkeys(_rank(series) for series in study.series))
    colours = accuracy.series_looks(ranks)
    with style.figure(3.9, [pdf, png], width=style.TEXT_WIDTH) as canvas:
        panels = accuracy.benchmark_panels(canvas, study, "Parameter reduction (%)")
        for name, axes in panels:
            for series in study.series:
                rows = study.rows(name, series)
                shift = 0.7 * (ranks.index(_rank(series)) - 1)
                x = rows["parameter_reduction_percent"] + shift
                rank = str(rows["rank"].iloc[0])
                named = f"rank {rank}" if rank.isdecimal() else rank
                if len(groups) > 1:
                    named += f", {_lists(series) or AS_RUN}"
                looks = dict(colours[_rank(series)])
                if _lists(series):
                    looks |= {"linestyle": ":", "markerfacecolor": "white"}
                accuracy.draw(axes, x, rows, label=named, **looks)
        canvas.suptitle(f"{label}: {subtitle}", fontsize=7.5)
        handles, labels = accuracy.legend_entries(*(axes for _, axes in panels))
        title = f"dashed: no decomposition; {accuracy.PAIRED}"
        canvas.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=4,
            title=title,
        )
    study.write(csv)


def _rank(series: str) -> str:
    return series.partition(", ")[0]


def _lists(series: str) -> str:
    return series.partition(", ")[2]
