"""Loss curves: how a loss falls while a model is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path
from lowrank.figures import accuracy, style

SMOOTHED = 9
"""Rows of a curve of training that are drawn as their mean: a batch is easier or harder by chance.
"""


def render(
    curves: Sequence[Mapping[str, str]],
    files: Sequence[str | Path],
    label: str,
    subtitle: str,
    csv: str | Path,
    pdf: str | Path,
    png: str | Path,
) -> None:
    """Draw a panel a series, a colour a configuration.

    The losses of two series are of other texts, so no panel has both.

    Parameters
    ----------
    curves
        Of each curve its `series` and `label`.
    files
        Its file, see `lowrank.recover.job.recover`.
    label, subtitle
        The model's name, and the line below it.
    csv, pdf, png
        The files to write.

    Raises
    ------
    LowrankError
        If a file is no loss curve.
    """
    table = pd.concat(
        [_curve(path).assign(**own) for own, path in zip(curves, files, strict=True)],
        ignore_index=True,
    )
    names, labels = (list(dict.fromkeys(table[column])) for column in ("series", "label"))
    looks = accuracy.series_looks(labels)
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    with style.figure(0.9 + 1.7 * rows, [pdf, png], width=style.TEXT_WIDTH) as canvas:
        grid = canvas.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
        for name, axes in zip(names, grid.flat, strict=False):
            for one, own in table[table["series"] == name].groupby("label", sort=False):
                _draw(axes, own, str(one), looks[str(one)]["color"])
            accuracy.finish(axes, name, "step", "nats a token")
        canvas.suptitle(f"{label}: {subtitle}", fontsize=7.5)
        handles, shown = accuracy.legend_entries(*grid.flat[: len(names)])
        title = "with marks: examples that are kept back; without: those trained on, smoothed"
        canvas.legend(handles, shown, loc="outside lower center", ncols=4, title=title)
    with atomic_path(csv) as temporary:
        table.to_csv(temporary, index=False)


def _curve(path: str | Path) -> pd.DataFrame:
    """Return a loss curve whose steps are counted over all phases."""
    try:
        table = pd.read_csv(path)
        last = table.groupby("phase", sort=False)["step"].max()
    except (KeyError, ValueError) as error:
        raise LowrankError(f"{path} is no loss curve ({error}): delete it and run again") from None
    before = last.cumsum() - last
    return table.assign(step=table["step"] + table["phase"].map(before))


def _draw(axes: Axes, table: pd.DataFrame, label: str, colour: str) -> None:
    trained = table.dropna(subset="loss")
    smooth = trained["loss"].rolling(SMOOTHED, min_periods=1, center=True).mean()
    axes.plot(trained["step"], smooth, color=colour, linewidth=0.7, alpha=0.6)
    kept = table.dropna(subset="held_out_loss")
    axes.plot(kept["step"], kept["held_out_loss"], color=colour, marker="o", label=label)
