"""Figure 4.1: accuracy against parameter reduction, a line a benchmark."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lowrank.figures import style
from lowrank.files import atomic_path


def render(
    data: str | Path,
    model_label: str,
    subtitle: str,
    csv: str | Path,
    pdf: str | Path,
    png: str | Path,
) -> None:
    """Draw the figure and copy the data behind it.

    Parameters
    ----------
    data
        The table of `lowrank.results.collect_accuracy`.
    model_label
        The model's name, for the title.
    subtitle
        The line below it: method, and how many benchmarks are drawn of those there are.
    csv, pdf, png
        The files to write.
    """
    table = pd.read_csv(data)
    table = table.sort_values(
        ["benchmark", "parameter_reduction_percent"], kind="stable"
    ).reset_index(drop=True)
    order = list(dict.fromkeys(pd.read_csv(data)["benchmark"]))
    looks = style.benchmark_style(order)
    with style.figure(2.9, [pdf, png]) as canvas:
        axes = canvas.subplots()
        for position, name in enumerate(order):
            rows = table[table["benchmark"] == name]
            colour, marker = looks[name]
            score = 100 * rows["score"]
            errors = [score - 100 * rows["interval_low"], 100 * rows["interval_high"] - score]
            # A small shift keeps the bars of one configuration apart.
            shift = 0.45 * (position - (len(order) - 1) / 2)
            questions = rows["questions"].iloc[0]
            axes.errorbar(
                rows["parameter_reduction_percent"] + shift,
                score,
                yerr=[error.clip(lower=0) for error in errors],
                color=colour,
                marker=marker,
                elinewidth=0.5,
                capsize=1.2,
                capthick=0.5,
                label=f"{rows['benchmark_label'].iloc[0]} (n = {questions})",
            )
        axes.set_xlabel("Parameter reduction (%)")
        axes.set_ylabel("Accuracy (%)")
        axes.set_xlim(left=-3)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", linewidth=0.3, alpha=0.6)
        axes.set_title(f"{model_label}\n{subtitle}; bars are 95% intervals")
        canvas.legend(loc="outside lower center", ncols=2, columnspacing=1.2, handlelength=2.2)
    with atomic_path(csv) as temporary:
        table.to_csv(temporary, index=False)
