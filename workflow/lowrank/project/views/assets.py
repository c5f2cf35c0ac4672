"""What the rules of assets ask of a project."""

from __future__ import annotations

from typing import Any

from lowrank.project.configuration import Project


def questions_settings(project: Project, benchmark: str) -> dict[str, Any]:
    """Return what shapes the file of a benchmark's questions."""
    keys = ("name", "sources", "columns", "subsets", "questions")
    return {key: project.benchmarks[benchmark][key] for key in keys}


def text_settings(project: Project, text: str) -> dict[str, Any]:
    """Return what shapes the files of a text."""
    return {key: value for key, value in project.text(text).items() if key != "label"}


def calibration_text(project: Project, calibration: str, path: str) -> str:
    """Return the file that a calibration set is drawn from, by `{text}`."""
    return path.format(text=project.calibration(calibration)["text"])


def calibration_settings(project: Project, calibration: str) -> dict[str, Any]:
    """Return which windows of its text a calibration set has."""
    entry = project.calibration(calibration)
    return {key: entry[key] for key in ("samples", "length", "seed")}
