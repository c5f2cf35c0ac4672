"""Figures 4.2 to 4.4: latency, energy and memory against parameter reduction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from lowrank.analyse.efficiency import fit_line
from lowrank.base.csv_table import read_table
from lowrank.base.files import atomic_path, read_json
from lowrank.figures import accuracy, style

TITLES: Mapping[str, str] = {
    "latency": "Latency (% of dense)",
    "energy": "Energy (% of dense)",
    "memory": "Memory (% of dense)",
}

SOURCES: Mapping[str, str] = {
    "nvml-counter": "NVML counter",
    "nvml-power": "sampled power",
    "rapl": "RAPL",
}

_GREY = "#7A7A7A"


def render(
    data: str | Path,
    fits: str | Path,
    metric: str,
    label: str,
    csv: str | Path,
    pdf: str | Path,
    png: str | Path,
    authors: str | Path | None = None,
) -> None:
    """Draw a line a workload with its fitted slope, and the thesis's slope beside them.

    Parameters
    ----------
    data, fits
        The table and the slopes of `lowrank.analyse.efficiency.collect_profiles`.
    metric
        `latency`, `energy` or `memory`.
    label
        The model's name.
    csv, pdf, png
        The files to write.
    authors
        The costs of `lowrank.analyse.authors.authors_tables`. Their mean over benchmarks is drawn
        beside the thesis's slope.
    """
    table = _rows(data, metric)
    lines = [fit for fit in read_json(fits) if fit["metric"] == metric]
    device = lines[0]["device_name"]
    measured = [fit for fit in lines if fit["status"] == "measured"]
    with style.figure(3.6 if measured else 2.0, [pdf, png]) as canvas:
        axes = canvas.subplots()
        if measured:
            _draw(axes, table, measured)
            if authors is not None:
                _draw_authors(axes, _rows(authors, metric))
            canvas.legend(
                *axes.get_legend_handles_labels(),
                loc="outside lower center",
                ncols=1,
                title="slope: % less for each 1% of parameters [95% interval]",
            )
        else:
            axes.text(
                0.5,
                0.5,
                accuracy.wrapped(lines[0]["reason"], width=44),
                ha="center",
                va="center",
                transform=axes.transAxes,
            )
            axes.set(xticks=[], yticks=[])
        accuracy.finish(
            axes,
            accuracy.wrapped(label, f"on {device}", *notes(lines)),
            x="Parameter reduction (%)" if measured else "",
            y=TITLES[metric],
        )
    with atomic_path(csv) as temporary:
        table.to_csv(temporary, index=False)


def notes(fits: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what a figure says of its measurements: the source of energy, and every doubt."""
    sources = sorted({fit["source"] for fit in fits if fit["source"]})
    made = [f"energy by {' and '.join(SOURCES[source] for source in sources)}"] if sources else []
    differ = [fit["disagreement_percent"] for fit in fits]
    known = [value for value in differ if value is not None]
    if known:
        made.append(f"sampled power differs from it by {max(known):.1f}% (median of trials)")
    flags = sorted({flag for fit in fits for flag in fit["flags"]})
    return made + ([f"flagged: {'; '.join(flags)}"] if flags else [])


def _rows(data: str | Path, metric: str) -> pd.DataFrame:
    table = read_table(data)
    return table[table["metric"] == metric]


def _draw(axes: Axes, table: pd.DataFrame, fits: list[dict[str, Any]]) -> None:
    looks = style.benchmark_style([fit["workload"] for fit in fits])
    most = table["parameter_reduction_percent"].max()
    for fit in fits:
        rows = table[(table["workload"] == fit["workload"]) & table["ratio"].notna()]
        colour, marker = looks[fit["workload"]]
        ratio, low, high = (100 * rows[name] for name in ("ratio", "ratio_low", "ratio_high"))
        lowest, highest = fit["interval_95"]
        axes.errorbar(
            rows["parameter_reduction_percent"],
            ratio,
            yerr=[(ratio - low).clip(lower=0), (high - ratio).clip(lower=0)],
            color=colour,
            marker=marker,
            linestyle="none",
            elinewidth=0.5,
            capsize=1.2,
            capthick=0.5,
            label=f"{fit['workload']}: {fit['slope']:.2f} [{lowest:.2f}, {highest:.2f}], "
            f"R² {fit['r2']:.3f}",
        )
        line = [100 - fit["intercept"] - fit["slope"] * x for x in (0, most)]
        axes.plot((0, most), line, color=colour, linewidth=0.7)
    slope = fits[0]["thesis_slope"]
    axes.plot(
        (0, most),
        (100, 100 - slope * most),
        color=_GREY,
        linestyle=(0, (4, 2)),
        label=f"the thesis, four A100s: {slope:g}",
    )
    axes.set_ylim(bottom=0)


def _draw_authors(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the authors' mean over benchmarks, with its slope."""
    means = 100 * table.groupby("parameter_reduction_percent")["ratio"].mean()
    slope = fit_line(list(means.index), list(100 - means))["slope"]
    label = f"{style.AUTHORS_LABEL}: {slope:.2f}"
    axes.plot(means.index, means, label=label, **style.AUTHORS_LOOK)
