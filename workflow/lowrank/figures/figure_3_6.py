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

    Where a benchmark stays out of the mean, each has a panel. Below them the companion metric,
    where there is one: the difference in the log-probability of the right choice, which moves with
    every question and so tells layers apart that right and wrong does not.

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
    shown = [(name, "score", "score_difference") for name in study.summaries]
    shown += [
        (name, COMPANION, COMPANION)
        for name in study.summaries
        if COMPANION in study.table and study.rows(name)[COMPANION].notna().all()
    ]
    with style.figure(0.9 + 1.4 * len(shown), [pdf, png]) as canvas:
        panels = canvas.subplots(len(shown), sharex=True, squeeze=False)[:, 0]
        for axes, (name, value, interval) in zip(panels, shown, strict=True):
            named = study.dense(name)["benchmark_label"]
            if value == COMPANION:
                axes.axhline(0.0, color="#444444", linewidth=0.7, linestyle=(0, (4, 2)))
                of = "" if name == AGGREGATE else f",\n{named}"
                y = f"Log-probability of the\nright choice, difference{of}"
            else:
                accuracy.draw_chance(axes, study.metrics[name])
                accuracy.draw_dense(axes, study.dense(name))
                accuracy.set_scale(axes, study.metrics[name])
                y = f"{study.axis(name)},\n{named}"
            for series in study.series:
                rows = study.rows(name, series)
                x = rows["position"] + (0.2 if series == CONTROL else 0.0)
                of = "layer left out" if series == CONTROL else "layer decomposed"
                accuracy.draw(axes, x, rows, interval, value, label=of, **looks[series])
            if value != COMPANION:
                accuracy.draw_baseline(axes, study.dense(name))
            accuracy.finish(axes, y=y)
        handles, labels = accuracy.legend_entries(*panels)
        if len(handles) > 1:
            canvas.legend(
                handles, labels, loc="outside lower center", ncols=2 if len(handles) > 3 else 3
            )
        note = f"dashed: no decomposition; {accuracy.PAIRED}"
        canvas.suptitle(accuracy.wrapped(label, subtitle, note), fontsize=7)
        panels[-1].set_xlabel("Layer")
    study.write(csv)
