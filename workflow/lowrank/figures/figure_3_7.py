"""Figure 3.7: accuracy against the distance between decomposed layers."""

from __future__ import annotations

from pathlib import Path

from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import AGGREGATE, CONTROL, Study


def render(
    data: str | Path, label: str, subtitle: str, csv: str | Path, pdf: str | Path, png: str | Path
) -> None:
    """Draw a panel a benchmark and one for their mean, with the layers left out beside.

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
    with style.figure(3.6, [pdf, png], width=style.TEXT_WIDTH) as canvas:
        grid = canvas.subplots(-(-len(panels) // columns), columns, sharex=True, squeeze=False)
        for axes, name in zip(grid.flat, panels, strict=False):
            accuracy.draw_dense(axes, study.dense(name))
            for series in study.series:
                rows = study.rows(name, series)
                control = series == CONTROL
                x = rows["position"] + (0.12 if control else 0.0)
                named = "same layers left out" if control else "decomposed"
                accuracy.draw(axes, x, rows, label=named, **looks[series])
            accuracy.finish(axes, study.label(name))
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        canvas.supxlabel("Distance between decomposed layers", fontsize=7)
        canvas.supylabel("Accuracy (%)", fontsize=7)
        canvas.suptitle(f"{label}: {subtitle}", fontsize=7.5)
        canvas.legend(
            *grid.flat[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=2,
            title=f"dashed: no decomposition; {accuracy.PAIRED}",
        )
    study.write(csv)
