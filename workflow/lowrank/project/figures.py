"""Which figures there are, and which of them a study may have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError, suggestion
from lowrank.project.studies import shown_as

SCHEMATICS = ("figure_1_1", "figure_3_1", "figure_3_3")
"""Figures that are drawn from no data."""

EFFICIENCY_FIGURES = {"figure_4_2": "latency", "figure_4_3": "energy", "figure_4_4": "memory"}
"""From a figure to the metric that it shows."""

MODULES = Path(__file__).parents[1] / "figures"


def score_figures() -> list[str]:
    """Return the figures that show the scores of a study: modules of `lowrank.figures`."""
    names = sorted(path.stem for path in MODULES.glob("figure_*.py"))
    return [name for name in names if name not in (*SCHEMATICS, *EFFICIENCY_FIGURES)]


def require_figure(study: Mapping[str, Any]) -> None:
    """Check that a study's figure exists, and that its name is no other figure's.

    Parameters
    ----------
    study
        The study's entry, with its defaults.

    Raises
    ------
    LowrankError
        If it does not, or is.
    """
    figure, shown = study["figure"], shown_as(study)
    if figure is not None and figure not in score_figures():
        known = suggestion(figure, score_figures())
        raise LowrankError(f"figure: unknown figure {figure!r}{known}")
    if shown is not None and figure is None:
        raise LowrankError(f"shown_as: {shown!r} is no figure without `figure`")
    if shown in (*SCHEMATICS, *EFFICIENCY_FIGURES):
        raise LowrankError(f"shown_as: {shown!r} is another figure's name")
