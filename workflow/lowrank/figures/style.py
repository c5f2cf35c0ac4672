"""The look of every figure: column width, embedded fonts, colours that everyone can tell apart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import seaborn
from matplotlib.figure import Figure

from lowrank.base.files import atomic_path

COLUMN_WIDTH = 3.35
"""Width of a text column in inches; what a figure must be legible at."""

AUTHORS_LABEL = "authors' data (Llama-2-7B, four A100s)"
"""What legends call the figures that the thesis's authors published."""

AUTHORS_LOOK = {"color": "#7A7A7A", "linewidth": 0.9, "linestyle": (0, (1, 1.2))}

TEXT_WIDTH = 7.0
"""Width of both text columns in inches, for what cannot be drawn in one."""

COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7A7A7A"),
    *("#882255", "#999933"),
)
"""Okabe and Ito's palette, distinct under the common forms of colour blindness, and two more."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", "p")

_SETTINGS = {
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.title_fontsize": 6.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.2,
    "text.parse_math": False,  # a dollar in a label is a dollar
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
}


def benchmark_style(benchmarks: Sequence[str]) -> Mapping[str, tuple[str, str]]:
    """Return (colour, marker) of each benchmark, the same in every figure of a run."""
    return {
        name: (COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
        for index, name in enumerate(benchmarks)
    }


@contextlib.contextmanager
def figure(
    height: float, outputs: Sequence[str | Path], width: float = COLUMN_WIDTH
) -> Iterator[Figure]:
    """Yield an empty figure and save it to `outputs` (by suffix) when the block succeeds.

    Parameters
    ----------
    height, width
        Inches.
    outputs
        Files to write; no time stamp is stored, so equal data gives equal bytes.
    """
    with seaborn.axes_style("ticks"), plt.rc_context(_SETTINGS):
        made = plt.figure(figsize=(width, height))
        try:
            yield made
            for path in map(Path, outputs):
                # PDF would store the time of saving.
                metadata = {"CreationDate": None} if path.suffix == ".pdf" else None
                with atomic_path(path) as temporary:
                    made.savefig(temporary, format=path.suffix[1:], metadata=metadata)
        finally:
            plt.close(made)
