"""Figure 3.7: accuracy against the distance between decomposed layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lowrank.base.names import CONTROL
from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import Study


def render(
    data: str | Path, label: str, subtitle: str, csv: str | Path, pdf: str | Path, png: str | Path
) -> None:
    """Draw a panel a benchmark and one for their mean: a line a series of lists, and left out.

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
    with style.figure(3.6, [pdf, png], width=style.TEXT_WIDTH) as canvas:
        panels = accuracy.benchmark_panels(canvas, study, "Distance between layers")
        for name, axes in panels:
            for index, series in enumerate(study.series):
                rows = study.rows(name, series)
                x = rows["position"] + 0.12 * index
                named = _named(series, study.series)
                accuracy.draw(axes, x, rows, label=named, **looks[series])
        canvas.suptitle(f"{label}: {subtitle}", fontsize=7.5)
        handles, labels = accuracy.legend_entries(*(axes for _, axes in panels))
        title = f"dashed: no decomposition; {accuracy.PAIRED}"
        canvas.legend(handles, labels, loc="outside lower center", ncols=3, title=title)
    study.write(csv)


def _named(series: str, every: Sequence[str]) -> str:
    """Return what the legend calls a series; the control leaves out the layers of the first."""
    lists = f"{every[0]}: " if every[0] else ""
    if series == CONTROL:
        return f"{lists}same layers left out"
    return f"{series}: decomposed" if series else "decomposed"
