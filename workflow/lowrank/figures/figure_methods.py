"""Methods at equal budgets: accuracy and perplexity against the parameters removed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from lowrank.base.csv_table import read_table
from lowrank.figures import accuracy, style
from lowrank.figures.accuracy import Study

PIVOTED = "pivoted"
"""What the name of a series ends with whose factors are stored in that form."""


PUBLISHED = "published"
"""What the legend calls numbers that others published."""

RUINED = 100
"""Times the dense model's perplexity from which on a panel does not tell how bad a model is."""

_PUBLISHED_LOOK = {"marker": "*", "markersize": 7, "linestyle": "none", "zorder": 4}
_PUBLISHED_LOOK |= {"markeredgecolor": "black", "markeredgewidth": 0.4}


def render(
    data: str | Path,
    label: str,
    subtitle: str,
    csv: str | Path,
    pdf: str | Path,
    png: str | Path,
    authors: str | Path | None = None,
    shows_ruins: bool = False,
) -> None:
    """Draw a panel a benchmark and one for their mean, a line a method and form.

    A method has one colour. In the pivoted form its marks are hollow and its line is dotted.
    Published numbers are stars, at the place of the configuration that they are of.

    Parameters
    ----------
    data
        The table of `lowrank.analyse.accuracy.collect_accuracy`.
    label, subtitle
        The model's name, and the line below it.
    csv, pdf, png
        The files to write. The CSV has `published` and `published_source` where others published
        numbers of this model; several of one configuration are joined.
    authors
        Numbers that others published: see `published` of a study.
    shows_ruins
        Whether an axis of perplexities goes on beyond what any working model has.
    """
    study = Study(data)
    theirs = None if authors is None else _published(study, authors, label)
    colours = accuracy.series_looks(list(dict.fromkeys(map(_method, study.series))))
    with style.figure(3.9, [pdf, png], width=style.TEXT_WIDTH) as canvas:
        panels, is_cut = accuracy.benchmark_panels(canvas, study, "Parameter reduction (%)"), False
        for name, axes in panels:
            for series in study.series:
                rows = study.rows(name, series).sort_values("parameter_reduction_percent")
                looks = dict(colours[_method(series)])
                if series != _method(series):
                    looks |= {"linestyle": ":", "markerfacecolor": "white"}
                accuracy.draw(
                    axes, rows["parameter_reduction_percent"], rows, label=series, **looks
                )
            if theirs is not None:
                _draw_published(axes, theirs[theirs["benchmark"] == name], colours)
            is_cut |= not shows_ruins and _without_ruins(axes, study, name)
        canvas.suptitle(f"{label}: {subtitle}", fontsize=7.5)
        handles, labels = accuracy.legend_entries(*(axes for _, axes in panels))
        title = f"dashed: no decomposition; {accuracy.PAIRED}"
        title += f"; above {RUINED} times the dashed line only the CSV tells" if is_cut else ""
        canvas.legend(handles, labels, loc="outside lower center", ncols=5, title=title)
    if theirs is not None:
        _put_beside(study, theirs)
    study.write(csv)


def _published(study: Study, path: str | Path, model: str) -> pd.DataFrame:
    """Return what others published of a model, with the places of its configurations."""
    rows = read_table(path)
    places = study.table[[*_KEY, "parameter_reduction_percent"]]
    return rows[rows["model"] == model].merge(places, on=_KEY)


def _draw_published(
    axes: Axes, rows: pd.DataFrame, colours: Mapping[str, Mapping[str, Any]]
) -> None:
    for series, own in rows.groupby("series", sort=False):
        colour = colours[_method(series)]["color"] if series else "#444444"
        x, y = own["parameter_reduction_percent"], own["score"]
        axes.plot(x, y, color=colour, label=PUBLISHED, **_PUBLISHED_LOOK)


def _put_beside(study: Study, theirs: pd.DataFrame) -> None:
    """Add the columns of what others published to a study's table."""
    texts = theirs.assign(published=theirs["score"].map("{:g}".format))
    texts = texts.rename(columns={"source": "published_source"})
    joined = texts.groupby(_KEY)[["published", "published_source"]].agg("; ".join)
    study.table = study.table.merge(joined.reset_index(), on=_KEY, how="left")


_KEY = ["series", "label", "benchmark"]
"""What names a number of a study."""


def _method(series: str) -> str:
    return series.removesuffix(f", {PIVOTED}")


def _without_ruins(axes: Axes, study: Study, name: str) -> bool:
    """End an axis of perplexities where nothing works any more; return whether it is cut there."""
    dense = study.dense(name)["score"]
    top = RUINED * dense
    if study.metrics[name].averaging != "perplexity" or axes.get_ylim()[1] <= top:
        return False
    axes.set_ylim(dense / 2, top)
    return True
