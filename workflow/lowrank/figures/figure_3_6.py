"""Figure 3.6: aggregate accuracy when exactly one layer is decomposed, against its position."""

from __future__ import annotations

from pathlib import Path

from lowrank.base.names import AGGREGATE, CONTROL
from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import Study

COMPANION = "log_probability_difference"


def render(
    data: str | Path, label: str, subtitle: str, csv: str | Path, pdf: str | Path, png: str | Path
) -> None:
    """Draw the mean over benchmarks against the layer; with a control, the layer left out.

    Below it the companion metric, where there is one: the difference in the log-probability of
    the right choice, which moves with every question and so tells layers apart that right and
    wrong does not.

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
    mean = study.dense(AGGREGATE)
    rows = study.rows(AGGREGATE)
    has_companion = COMPANION in rows and rows[COMPANION].notna().all()
    with style.figure(3.7 if has_companion else 2.3, [pdf, png]) as canvas:
        panels = canvas.subplots(2 if has_companion else 1, sharex=True, squeeze=False)[:, 0]
        accuracy.draw_chance(panels[0], study.metrics[AGGREGATE])
        accuracy.draw_dense(panels[0], mean)
        for series in study.series:
            rows = study.rows(AGGREGATE, series)
            x = rows["position"] + (0.2 if series == CONTROL else 0.0)
            named = "layer left out" if series == CONTROL else "layer decomposed"
            accuracy.draw(panels[0], x, rows, label=named, **looks[series])
            for axes in panels[1:]:
                accuracy.draw(axes, x, rows, COMPANION, COMPANION, **looks[series])
        handles, labels = accuracy.legend_entries(panels[0])
        if len(handles) > 1:
            canvas.legend(handles, labels, loc="outside lower center", ncols=len(handles))
        title = accuracy.wrapped(label, subtitle, f"dashed: no decomposition; {accuracy.PAIRED}")
        y = f"{study.axis(AGGREGATE)},\n{mean['benchmark_label']}"
        accuracy.set_scale(panels[0], study.metrics[AGGREGATE])
        accuracy.finish(panels[0], title, y=y)
        for axes in panels[1:]:
            axes.axhline(0.0, color="#444444", linewidth=0.7, linestyle=(0, (4, 2)))
            accuracy.finish(axes, y="Log-probability of the\nright choice, difference")
        panels[-1].set_xlabel("Layer")
    study.write(csv)
