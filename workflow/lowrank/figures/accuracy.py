"""What the figures of scores share: reading a study's table and drawing it with intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from lowrank.base.csv_table import read_table
from lowrank.base.files import atomic_path
from lowrank.base.metric import Metric, in_the_mean, metric_of_mean
from lowrank.base.names import AGGREGATE, CONTROL, DENSE
from lowrank.figures import style


class Study:
    """A study's table, as the figures read it.

    Parameters
    ----------
    path
        The table of `lowrank.analyse.accuracy.collect_accuracy`.

    Attributes
    ----------
    table
        The table as it is.
    metrics
        From each benchmark, and the aggregate if there is one, to its metric.
    """

    def __init__(self, path: str | Path) -> None:
        self.table = read_table(path)
        numbers = [name for name in self.table if name not in _TEXT]
        self.table[numbers] = self.table[numbers].apply(pd.to_numeric, errors="coerce")
        of_each = self.table.drop_duplicates("benchmark")
        self.metrics = {row["benchmark"]: Metric.from_record(row) for _, row in of_each.iterrows()}
        scores = [name for name in numbers if name.startswith(("score", "baseline"))]
        self._in_units = _beside_dense(self.table)
        self._in_units[scores] = self._in_units[scores].mul(self.table["scale"], axis=0)

    @property
    def benchmarks(self) -> list[str]:
        """Benchmarks in the order of the run, without the aggregate."""
        return [name for name in dict.fromkeys(self.table["benchmark"]) if name != AGGREGATE]

    @property
    def averaged(self) -> list[str]:
        """Benchmarks that the aggregate is the mean of."""
        return in_the_mean({name: self.metrics[name] for name in self.benchmarks})

    @property
    def has_mean(self) -> bool:
        """Whether there is a mean of more than one benchmark."""
        return len(self.averaged) > 1

    @property
    def summaries(self) -> list[str]:
        """What a figure shows that has no room for every benchmark: the aggregate.

        Where a benchmark of its unit stays out of the mean, it is each of them: none is hidden.
        Where there is no mean, it is each benchmark.
        """
        if AGGREGATE not in self.metrics:
            return self.benchmarks
        kind = self.metrics[AGGREGATE].kind
        alike = [name for name in self.benchmarks if self.metrics[name].kind == kind]
        return [AGGREGATE] if set(alike) <= set(self.averaged) else alike

    @property
    def is_published(self) -> bool:
        """Whether others published the scores, and no answers that pair configurations."""
        return "score_least" in self.table

    @property
    def kinds(self) -> list[list[str]]:
        """Benchmarks in groups that share an axis, in the order of the run."""
        groups: dict[Any, list[str]] = {}
        for name in self.benchmarks:
            groups.setdefault(self.metrics[name].kind, []).append(name)
        return list(groups.values())

    @property
    def series(self) -> list[str]:
        """Series of the configurations, in the order of the study; the control comes last."""
        configurations = self.table[self.table["label"] != DENSE]
        return list(dict.fromkeys(configurations["series"]))

    def axis(self, *benchmarks: str) -> str:
        """Return what an axis says on which the scores of benchmarks of one kind are drawn."""
        metric = metric_of_mean({name: self.metrics[name] for name in benchmarks})
        return metric.axis.replace(", ", ",\n")

    def rows(self, benchmark: str, series: str | None = None, dense: bool = False) -> pd.DataFrame:
        """Return the rows of a benchmark and series; with `dense` its row comes first.

        Scores are in the unit of the metric.
        """
        of_benchmark = self._in_units[self._in_units["benchmark"] == benchmark]
        is_dense = of_benchmark["label"] == DENSE
        own = of_benchmark[~is_dense]
        if series is not None:
            own = own[own["series"] == series]
        return pd.concat([of_benchmark[is_dense], own]) if dense else own

    def dense(self, benchmark: str) -> pd.Series:
        """Return the dense model's row of a benchmark."""
        return self.rows(benchmark, series="\0", dense=True).iloc[0]

    def label(self, benchmark: str, series: str | None = None) -> str:
        """Return a benchmark's name with its number of questions, in two lines if it is long.

        Configurations may have been asked different numbers: then it is the least and the most of
        the dense model and `series`, or of all.
        """
        rows = self.rows(benchmark, series, dense=True)
        least, most = (int(end) for end in (rows["questions"].min(), rows["questions"].max()))
        asked = f"{least}" if least == most else f"{least}–{most}"
        name = rows["benchmark_label"].iloc[0]
        made = f"{name} (n = {asked})"
        return made if len(made) <= _LONGEST_LABEL else f"{name}\n(n = {asked})"

    def write(self, path: str | Path) -> None:
        """Write the data behind the figure."""
        with atomic_path(path) as temporary:
            self.table.to_csv(temporary, index=False)


def _beside_dense(table: pd.DataFrame) -> pd.DataFrame:
    """Return the scores as figures draw them: each at its paired difference from the dense model.

    A configuration that was asked fewer questions than the dense model is compared with it on
    those alone. Its own score would lie higher or lower than the difference, as its questions are
    easier or harder. Where all were asked the same, nothing moves.
    """
    made = table.copy()
    if "score_difference" in made:
        dense = table[table["label"] == DENSE].drop_duplicates("benchmark").set_index("benchmark")
        level, asked = (table["benchmark"].map(dense[name]) for name in ("score", "questions"))
        moved = level + table["score_difference"] - table["score"]
        moved = moved.where(table["questions"] != asked, 0.0).fillna(0.0)
        for column in ("score", "score_low", "score_high"):
            made[column] = table[column] + moved
    return made


_TEXT = frozenset(
    {"model", "series", "label", "method", "decomposition", "benchmark", "benchmark_label"}
    | {"metric", "metric_label", "unit", "direction", "averaging", "in_mean"}
    | {"rank"}  # a number, or a rule in words
    | {"baseline_label"}
)


PAIRED = "bars: 95% intervals of the paired difference from it"
"""What the bars of most panels are, for their legends."""

CHANCE = "chance"
"""What legends call the score of a guess."""

# Above the bars of a bar chart (1), and below lines and markers (2).
_CHANCE_LOOK = {"color": "#CCCCCC", "linewidth": 1.6, "zorder": 1.5, "solid_capstyle": "butt"}

_BASELINE_LOOK = {"color": "#8C510A", "linewidth": 0.8, "linestyle": (0, (4, 1, 1, 1))}
_BASELINE_LOOK |= {"zorder": 1.6}

_LONGEST_LABEL = 32
"""Letters of a benchmark's label that fit above one of four panels."""


def errors(rows: pd.DataFrame, column: str) -> list[pd.Series]:
    """Return the lengths of the 95% error bars below and above `column`."""
    value, low, high = (rows[name] for name in (column, f"{column}_low", f"{column}_high"))
    return [(value - low).clip(lower=0), (high - value).clip(lower=0)]


def draw(
    axes: Axes,
    x: Sequence[float] | pd.Series,
    rows: pd.DataFrame,
    interval: str = "score_difference",
    value: str = "score",
    **looks: Any,
) -> None:
    """Draw scores with 95% intervals.

    Parameters
    ----------
    axes, x, rows
        Where, at which places, and what.
    interval
        The column whose interval the bars have. By default the paired difference from the dense
        model: a bar that does not reach the dense line is a difference at that level. `score` is
        the interval of the score by itself.
    value
        The column that is drawn.
    **looks
        Passed on to `Axes.errorbar`.
    """
    settings = {"elinewidth": 0.5, "capsize": 1.2, "capthick": 0.5}
    axes.errorbar(x, rows[value], yerr=errors(rows, interval), **settings, **looks)


def draw_dense(axes: Axes, row: pd.Series) -> None:
    """Draw the dense model's score as a dashed line."""
    axes.axhline(row["score"], color="#444444", linewidth=0.7, linestyle=(0, (4, 2)))


def draw_chance(axes: Axes, *metrics: Metric, label: str = "") -> None:
    """Draw what a guess scores, for each level that one of the metrics has: a wide pale line.

    It lies behind what is drawn, so that the dense model's line is seen on it. A legend calls it
    `CHANCE` and `label`.
    """
    levels: dict[float, float] = {}
    for metric in metrics:
        if metric.chance is not None:
            level = metric.scale * metric.chance
            # Test sets of four choices a question differ by the few that have three or five.
            levels.setdefault(round(level) if metric.is_share else level, level)
    for level in levels.values():
        axes.axhline(level, label=CHANCE + label, **_CHANCE_LOOK)


def draw_baseline(axes: Axes, row: pd.Series) -> None:
    """Draw what a benchmark's baseline scores, if the benchmark of a row has one.

    A legend has its name and the benchmark's, since each has one of its own.
    """
    if pd.notna(row.get("baseline")):
        of = "" if row["benchmark"] == AGGREGATE else f" ({row['benchmark_label']})"
        named = f"{row['baseline_label']}{of}"
        axes.axhline(row["baseline"], label=named, **_BASELINE_LOOK)


def legend_entries(*panels: Axes) -> tuple[list[Artist], list[str]]:
    """Return what a legend of some panels shows: each label once, that of chance last."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    labels = sorted(entries, key=lambda label: label.startswith(CHANCE))
    return [entries[label] for label in labels], labels


def benchmark_panels(
    canvas: Figure, study: Study, x: str, columns: int = 4
) -> list[tuple[str, Axes]]:
    """Make a panel a benchmark and one for their mean, with the dense model's line and chance.

    There is no panel of a mean of none or of one.
    What all of them measure stands beside them; if they differ, each says it itself.
    """
    names = [*study.benchmarks, *([AGGREGATE] if study.has_mean else [])]
    columns = min(columns, len(names))
    grid = canvas.subplots(-(-len(names) // columns), columns, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    panels = list(zip(names, grid.flat, strict=False))
    for index, (name, axes) in enumerate(panels):
        draw_chance(axes, study.metrics[name])
        draw_baseline(axes, study.dense(name))
        draw_dense(axes, study.dense(name))
        is_lowest = index + columns >= len(names)
        set_scale(axes, study.metrics[name])
        y = "" if len(study.kinds) == 1 else study.axis(name)
        finish(axes, study.label(name), x if is_lowest else "", y)
    if len(study.kinds) == 1:
        canvas.supylabel(study.axis(*study.benchmarks), fontsize=7)
    return panels


def set_scale(axes: Axes, metric: Metric, from_zero: bool = False) -> None:
    """Make the axis of perplexities, which grow by factors, logarithmic.

    With `from_zero` one of shares, on which they are drawn already, starts at zero.
    """
    if metric.averaging == "perplexity":
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,.7g}")  # the one by default prints mathematics
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
    elif from_zero and metric.is_share:
        axes.set_ylim(bottom=0)


def wrapped(*lines: str, width: int = 58) -> str:
    """Return lines broken to fit a figure of one column."""
    return "\n".join(textwrap.fill(line, width) for line in lines)


def finish(axes: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Set the labels and the light horizontal grid of a panel."""
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)


def series_looks(series: Sequence[str]) -> Mapping[str, dict[str, Any]]:
    """Return colour, marker and line of each series; the control is always grey and dashed.

    Where colours come again, the marker is another one and the line is dashed.
    """
    looks: dict[str, dict[str, Any]] = {}
    for index, name in enumerate(name for name in series if name != CONTROL):
        again, place = divmod(index, len(style.COLOURS))
        looks[name] = {
            "color": style.COLOURS[place],
            "marker": style.MARKERS[(place + again) % len(style.MARKERS)],
        } | ({"linestyle": "--"} if again else {})
    looks[CONTROL] = {"color": "#555555", "marker": "x", "linestyle": (0, (2, 1.5))}
    return looks
