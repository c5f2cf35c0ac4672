"""Figure 4.1: scores against parameter reduction, and the same layers left out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from lowrank.base.names import AGGREGATE, CONTROL
from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import Study

REDUCTION = "parameter_reduction_percent"


def render(
    data: str | Path,
    label: str,
    subtitle: str,
    csv: str | Path,
    pdf: str | Path,
    png: str | Path,
    authors: str | Path | None = None,
) -> None:
    """Draw a line a benchmark, and below their mean beside that of the control.

    Where there is no mean, each benchmark is below in its place. Benchmarks whose scores are not of
    one kind have a panel each kind.

    Parameters
    ----------
    data
        The table of `lowrank.analyse.accuracy.collect_accuracy`.
    label, subtitle
        The model's name, and the line below it.
    csv, pdf, png
        The files to write.
    authors
        The scores of `lowrank.analyse.authors.authors_tables`. Their mean is drawn beside that of
        the study, over those of its benchmarks that they have with the same metric.
    """
    study = Study(data)
    main = study.series[0]
    looks = style.benchmark_style(study.benchmarks)
    kinds = study.kinds
    below = [AGGREGATE] if AGGREGATE in study.metrics else study.benchmarks
    further = len(kinds) + len(below) - 1
    with style.figure(2.9 + 1.7 * further, [pdf, png]) as canvas:
        panels = canvas.subplots(1 + further, height_ratios=[3, *[2] * further], sharex=True)
        uppers, lowers = panels[: len(kinds)], panels[len(kinds) :]
        for axes, names in zip(uppers, kinds, strict=True):
            for index, name in enumerate(names):
                rows = study.rows(name, main, dense=True).sort_values(REDUCTION)
                colour, marker = looks[name]
                # A small shift keeps the bars of one configuration apart.
                shift = 0.45 * (index - (len(names) - 1) / 2)
                x = rows[REDUCTION] + shift
                named = study.label(name, main)
                looks_of = {"color": colour, "marker": marker, "label": named}
                accuracy.draw(axes, x, rows, interval="score", **looks_of)
            accuracy.draw_chance(axes, *(study.metrics[name] for name in names))
            for name in names:
                accuracy.draw_baseline(axes, study.dense(name))
            accuracy.set_scale(axes, study.metrics[names[0]], from_zero=True)
            accuracy.finish(axes, y=study.axis(*names))
        canvas.suptitle(accuracy.wrapped(label, subtitle), fontsize=7)
        series = accuracy.series_looks(study.series)
        for lower, benchmark in zip(lowers, below, strict=True):
            for name in study.series:
                rows = study.rows(benchmark, name, dense=True).sort_values(REDUCTION)
                control = name == CONTROL
                x = rows[REDUCTION] + (0.5 if control else 0.0)
                named = "same layers left out" if control else "decomposed"
                accuracy.draw(lower, x, rows, label=named, **series[name])
            drawn = lower.get_legend_handles_labels()[0]
            drawn += [] if authors is None else _draw_authors(lower, study, Study(authors))
            accuracy.draw_chance(lower, study.metrics[benchmark])
            accuracy.set_scale(lower, study.metrics[benchmark])
            if benchmark == below[0]:
                places = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.98)}
                lower.legend(handles=drawn, ncols=2, **places)
            mean = accuracy.wrapped(study.dense(benchmark)["benchmark_label"], width=28)
            accuracy.finish(lower, y=f"{study.axis(benchmark)},\n{mean}")
        lowers[-1].set_xlabel("Parameter reduction (%)")
        paired = "the widest of the" if study.is_published else "of the paired"
        canvas.legend(
            *accuracy.legend_entries(*uppers),
            loc="outside lower center",
            ncols=2,
            columnspacing=1.2,
            title=f"bars: 95% intervals; below, {paired} difference from dense",
        )
    study.write(csv)


def _draw_authors(axes: Axes, study: Study, theirs: Study) -> list[Artist]:
    """Draw the authors' mean over the benchmarks that a study's mean has in common with theirs.

    Returns what a legend is to show: one line, or none.
    """
    common = [
        name
        for name in study.averaged
        if name in theirs.averaged and study.metrics[name].is_like(theirs.metrics[name])
    ]
    if not common:
        return []
    rows = pd.concat([theirs.rows(name, dense=True) for name in common])
    means = rows.groupby(REDUCTION)["score"].mean()
    label = accuracy.wrapped(f"{style.AUTHORS_LABEL}, mean of {len(common)}", width=28)
    return list(axes.plot(means.index, means, label=label, **style.AUTHORS_LOOK))
