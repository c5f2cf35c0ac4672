"""Figure 3.5: one tensor in all layers against all tensors in few, at equal reduction."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lowrank.base.names import AGGREGATE
from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import Study


def render(
    data: str | Path, label: str, subtitle: str, csv: str | Path, pdf: str | Path, png: str | Path
) -> None:
    """Draw the mean over benchmarks as bars, a panel a target reduction; all tensors in black.

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
    with style.figure(3.1, [pdf, png]) as canvas:
        widths = [len(study.rows(AGGREGATE, series)) for series in study.series]
        panels = canvas.subplots(
            1, len(study.series), sharey=True, squeeze=False, width_ratios=widths
        )[0]
        for axes, series in zip(panels, study.series, strict=True):
            mean = study.rows(AGGREGATE, series)
            x = np.arange(len(mean))
            whole = mean["label"].str.startswith("all ")
            colours = np.where(whole, "black", style.COLOURS[4])
            accuracy.draw_chance(axes, study.metrics[AGGREGATE])
            accuracy.draw_dense(axes, study.dense(AGGREGATE))
            axes.bar(x, mean["score"], color=colours, width=0.7)
            accuracy.draw(axes, x, mean, color="#D55E00", linestyle="")
            reductions = mean["parameter_reduction_percent"]
            ticks = [f"{a}\n{b:.1f}%" for a, b in zip(mean["label"], reductions, strict=True)]
            axes.set_xticks(x, ticks, rotation=60, ha="right", rotation_mode="anchor")
            accuracy.finish(axes, f"target: {series}")
        named = study.dense(AGGREGATE)["benchmark_label"]
        panels[0].set_ylabel(f"{study.axis(AGGREGATE)}, {named}")
        accuracy.set_scale(panels[0], study.metrics[AGGREGATE])
        note = f"dashed: no decomposition; {accuracy.PAIRED}"
        handles, labels = accuracy.legend_entries(*panels)
        if handles:
            canvas.legend(handles, labels, loc="outside lower center")
        canvas.suptitle(accuracy.wrapped(label, subtitle, note), fontsize=6.5)
    study.write(csv)
