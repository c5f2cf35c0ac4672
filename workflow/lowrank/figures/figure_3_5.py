"""Figure 3.5: one tensor in all layers against all tensors in few, at equal reduction."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import Study


def render(
    data: str | Path, label: str, subtitle: str, csv: str | Path, pdf: str | Path, png: str | Path
) -> None:
    """Draw the mean over benchmarks as bars, a panel a target reduction; all tensors in black.

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
    with style.figure(3.1 + 1.3 * (len(names) - 1), [pdf, png]) as canvas:
        widths = [len(study.rows(names[0], series)) for series in study.series]
        shape = len(names), len(widths)
        grid = canvas.subplots(
            *shape, sharex="col", sharey="row", squeeze=False, width_ratios=widths
        )
        for name, panels in zip(names, grid, strict=True):
            for axes, series in zip(panels, study.series, strict=True):
                rows = study.rows(name, series)
                x = np.arange(len(rows))
                whole = rows["label"].str.startswith("all ")
                colours = np.where(whole, "black", style.COLOURS[4])
                accuracy.draw_chance(axes, study.metrics[name])
                accuracy.draw_baseline(axes, study.dense(name))
                accuracy.draw_dense(axes, study.dense(name))
                axes.bar(x, rows["score"], color=colours, width=0.7)
                accuracy.draw(axes, x, rows, color="#D55E00", linestyle="")
                reductions = rows["parameter_reduction_percent"]
                ticks = [f"{a}\n{b:.1f}%" for a, b in zip(rows["label"], reductions, strict=True)]
                axes.set_xticks(x, ticks, rotation=60, ha="right", rotation_mode="anchor")
                accuracy.finish(axes, f"target: {series}" if name == names[0] else "")
            named = study.dense(name)["benchmark_label"]
            between = ", " if len(names) == 1 else ",\n"
            panels[0].set_ylabel(f"{study.axis(name)}{between}{named}")
            accuracy.set_scale(panels[0], study.metrics[name])
        note = f"dashed: no decomposition; {accuracy.PAIRED}"
        handles, labels = accuracy.legend_entries(*grid.flat)
        if handles:
            canvas.legend(handles, labels, loc="outside lower center", ncols=2)
        canvas.suptitle(accuracy.wrapped(label, subtitle, note), fontsize=6.5)
    study.write(csv)
