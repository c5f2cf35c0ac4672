"""Figure 3.2: accuracy against parameter reduction for several pruned ranks."""

from __future__ import annotations

from pathlib import Path

from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import Study


def render(
    data: str | Path, label: str, subtitle: str, csv: str | Path, pdf: str | Path, png: str | Path
) -> None:
    """Draw a panel a benchmark and one for their mean, a line a pruned rank.

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
    looks = accuracy.series_looks(study.series)
    with style.figure(3.9, [pdf, png], width=style.TEXT_WIDTH) as canvas:
        panels = accuracy.benchmark_panels(canvas, study, "Parameter reduction (%)")
        for name, axes in panels:
            for index, series in enumerate(study.series):
                rows = study.rows(name, series)
                x = rows["parameter_reduction_percent"] + 0.7 * (index - 1)
                rank = str(rows["rank"].iloc[0])
                named = f"rank {rank}" if rank.isdecimal() else rank
                accuracy.draw(axes, x, rows, label=named, **looks[series])
        canvas.suptitle(f"{label}: {subtitle}", fontsize=7.5)
        handles, labels = panels[0][1].get_legend_handles_labels()
        title = f"dashed: no decomposition; {accuracy.PAIRED}"
        canvas.legend(handles, labels, loc="outside lower center", ncols=4, title=title)
    study.write(csv)
