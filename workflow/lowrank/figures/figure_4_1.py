"""Figure 4.1: scores against parameter reduction, and the same layers left out."""

from __future__ import annotations

from pathlib import Path

from lowrank.base.names import AGGREGATE, CONTROL
from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import Study

REDUCTION = "parameter_reduction_percent"


def render(
    data: str | Path, label: str, subtitle: str, csv: str | Path, pdf: str | Path, png: str | Path
) -> None:
    """Draw a line a benchmark, and below their mean beside that of the control.

    Benchmarks whose scores are not of one kind have a panel each kind.

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
    main = study.series[0]
    looks = style.benchmark_style(study.benchmarks)
    kinds = study.kinds
    with style.figure(2.9 + 1.7 * len(kinds), [pdf, png]) as canvas:
        heights = [3, *[2] * len(kinds)]
        *uppers, lower = canvas.subplots(len(heights), height_ratios=heights, sharex=True)
        for axes, names in zip(uppers, kinds, strict=True):
            for index, name in enumerate(names):
                rows = study.rows(name, main, dense=True).sort_values(REDUCTION)
                colour, marker = looks[name]
                # A small shift keeps the bars of one configuration apart.
                shift = 0.45 * (index - (len(names) - 1) / 2)
                x = rows[REDUCTION] + shift
                looks_of = {"color": colour, "marker": marker, "label": study.label(name)}
                accuracy.draw(axes, x, rows, interval="score", **looks_of)
            accuracy.set_scale(axes, study.metrics[names[0]], from_zero=True)
            accuracy.finish(axes, y=study.axis(*names))
        uppers[0].set_title(accuracy.wrapped(label, subtitle))
        series = accuracy.series_looks(study.series)
        for name in study.series:
            rows = study.rows(AGGREGATE, name, dense=True).sort_values(REDUCTION)
            control = name == CONTROL
            x = rows[REDUCTION] + (0.5 if control else 0.0)
            named = "same layers left out" if control else "decomposed"
            accuracy.draw(lower, x, rows, label=named, **series[name])
        lower.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=2)
        y = f"{study.axis(AGGREGATE)},\n{study.dense(AGGREGATE)['benchmark_label']}"
        accuracy.finish(lower, x="Parameter reduction (%)", y=y)
        canvas.legend(
            handles=[line for axes in uppers for line in axes.get_legend_handles_labels()[0]],
            loc="outside lower center",
            ncols=2,
            columnspacing=1.2,
            title="bars: 95% intervals; below, of the paired difference from 0%",
        )
    study.write(csv)
