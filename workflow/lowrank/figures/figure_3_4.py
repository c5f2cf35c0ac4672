"""Figure 3.4: one tensor or group of tensors at a time, in one layer and in all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lowrank.base.names import AGGREGATE
from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import Study


def render(
    data: str | Path, label: str, subtitle: str, csv: str | Path, pdf: str | Path, png: str | Path
) -> None:
    """Draw the mean over benchmarks with its interval, and each of them as a dot behind it.

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
    averaged = study.averaged
    looks = style.benchmark_style(study.benchmarks)
    with style.figure(3.4, [pdf, png], width=style.TEXT_WIDTH) as canvas:
        panels = canvas.subplots(1, len(study.series), sharey=True, squeeze=False)[0]
        for axes, series in zip(panels, study.series, strict=True):
            mean = study.rows(AGGREGATE, series)
            x = np.arange(len(mean))
            accuracy.draw_chance(axes, study.metrics[AGGREGATE], label=", mean")
            accuracy.draw_dense(axes, study.dense(AGGREGATE))
            for index, name in enumerate(averaged):
                rows = study.rows(name, series)
                colour, marker = looks[name]
                shift = 0.09 * (index - (len(averaged) - 1) / 2)
                axes.plot(
                    x + shift,
                    rows["score"],
                    color=colour,
                    marker=marker,
                    linestyle="",
                    markersize=2.4,
                    alpha=0.7,
                    label=study.label(name),
                )
            accuracy.draw(
                axes, x, mean, color="black", marker="_", markersize=11, linestyle="", label="mean"
            )
            reductions = mean["parameter_reduction_percent"]
            ticks = [f"{a}\n{b:.1f}%" for a, b in zip(mean["label"], reductions, strict=True)]
            axes.set_xticks(x, ticks, rotation=60, ha="right", rotation_mode="anchor")
            accuracy.finish(axes, series, "Decomposed tensors, parameter reduction")
        panels[0].set_ylabel(study.axis(AGGREGATE))
        # One alone may lie far from zero.
        accuracy.set_scale(panels[0], study.metrics[AGGREGATE], from_zero=len(averaged) > 1)
        canvas.suptitle(f"{label}: {subtitle}", fontsize=7.5)
        canvas.legend(
            *accuracy.legend_entries(*panels),
            loc="outside lower center",
            ncols=4,
            title=f"dashed: mean without decomposition; {accuracy.PAIRED}",
        )
    study.write(csv)
