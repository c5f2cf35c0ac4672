"""Figure 3.2: accuracy against parameter reduction for several pruned ranks."""

from __future__ import annotations

from pathlib import Path

from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import AGGREGATE, Study


def render(
    data: str | Path, label: str, subtitle: str, csv: str | Path, pdf: str | Path, png: str | Path
) -> None:
    """Draw a panel a benchmark and one for their mean, a line a pruned rank.

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
    panels = [*study.benchmarks, AGGREGATE]
    columns = 4
    looks = accuracy.series_looks(study.series)
    with style.figure(3.9, [pdf, png], width=style.TEXT_WIDTH) as canvas:
        grid = canvas.subplots(-(-len(panels) // columns), columns, sharex=True, squeeze=False)
        for axes, name in zip(grid.flat, panels, strict=False):
            accuracy.draw_dense(axes, study.dense(name))
            for index, series in enumerate(study.series):
                rows = study.rows(name, series)
                x = rows["parameter_reduction_percent"] + 0.7 * (index - 1)
                named = f"rank {rows['rank'].iloc[0]:.0f}"
                accuracy.draw(axes, x, rows, label=named, **looks[series])
            accuracy.finish(axes, study.label(name))
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        canvas.supxlabel("Parameter reduction (%)", fontsize=7)
        canvas.supylabel("Accuracy (%)", fontsize=7)
        canvas.suptitle(f"{label}: {subtitle}", fontsize=7.5)
        handles, labels = grid.flat[0].get_legend_handles_labels()
        canvas.legend(
            handles,
            [*labels],
            loc="outside lower center",
            ncols=4,
            title=f"dashed: no decomposition; {accuracy.PAIRED}",
        )
    study.write(csv)
