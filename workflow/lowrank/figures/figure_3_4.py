"""Figure 3.4: one tensor or group of tensors at a time, in one layer and in all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from lowrank.base.names import AGGREGATE
from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import Study


def render(
    data: str | Path, label: str, subtitle: str, csv: str | Path, pdf: str | Path, png: str | Path
) -> None:
    """Draw the mean over benchmarks with its interval, and each of them as a dot behind it.

    Where a benchmark stays out of the mean, each has a row of panels in its place.

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
    names = study.summaries
    height = 3.4 + 1.0 * (len(names) - 1)
    with style.figure(height, [pdf, png], width=style.TEXT_WIDTH) as canvas:
        shape = len(names), len(study.series)
        grid = canvas.subplots(*shape, sharex="col", sharey="row", squeeze=False)
        for name, panels in zip(names, grid, strict=True):
            for axes, series in zip(panels, study.series, strict=True):
                _draw(axes, study, name, series)
                is_first, is_last = name == names[0], name == names[-1]
                below = "Decomposed tensors, parameter reduction" if is_last else ""
                accuracy.finish(axes, series if is_first else "", below)
            y = study.axis(name)
            panels[0].set_ylabel(y if name == AGGREGATE else f"{study.label(name)}\n{y}")
            # One alone may lie far from zero.
            from_zero = name == AGGREGATE and study.has_mean
            accuracy.set_scale(panels[0], study.metrics[name], from_zero=from_zero)
        canvas.suptitle(f"{label}: {subtitle}", fontsize=7.5)
        what = "mean without" if names == [AGGREGATE] else "without"
        canvas.legend(
            *accuracy.legend_entries(*grid.flat),
            loc="outside lower center",
            ncols=4,
            title=f"dashed: {what} decomposition; {accuracy.PAIRED}",
        )
    study.write(csv)


def _draw(axes: Axes, study: Study, name: str, series: str) -> None:
    """Draw the mean or a benchmark of a series, with the benchmarks of the mean behind it."""
    is_mean = name == AGGREGATE
    rows = study.rows(name, series)
    x = np.arange(len(rows))
    accuracy.draw_chance(axes, study.metrics[name], label=", mean" if is_mean else "")
    accuracy.draw_dense(axes, study.dense(name))
    looks = style.benchmark_style(study.benchmarks)
    averaged = study.averaged if is_mean else []
    for index, other in enumerate(averaged):
        colour, marker = looks[other]
        axes.plot(
            x + 0.09 * (index - (len(averaged) - 1) / 2),
            study.rows(other, series)["score"],
            color=colour,
            marker=marker,
            linestyle="",
            markersize=2.4,
            alpha=0.7,
            label=study.label(other),
        )
    named = {"label": "mean"} if is_mean else {}
    accuracy.draw(axes, x, rows, color="black", marker="_", markersize=11, linestyle="", **named)
    accuracy.draw_baseline(axes, study.dense(name))
    reductions = rows["parameter_reduction_percent"]
    ticks = [f"{a}\n{b:.1f}%" for a, b in zip(rows["label"], reductions, strict=True)]
    axes.set_xticks(x, ticks, rotation=60, ha="right", rotation_mode="anchor")
