"""What the rules of assets ask of a project."""

from __future__ import annotations

from typing import Any

from lowrank.base.names import PERPLEXITY
from lowrank.project.configuration import Project


def questions_settings(project: Project, benchmark: str) -> dict[str, Any]:
    """Return what shapes the file that a benchmark's questions are chosen from."""
    if asks_windows(project, benchmark):
        return text_settings(project, project.benchmarks[benchmark]["text"])
    keys = ("name", "sources", "columns", "subsets", "questions")
    entry = project.benchmark(benchmark)  # the run may ask nothing of it, and train on it
    return {key: entry[key] for key in keys}


def questions_file(project: Project, benchmark: str, questions: str, text: str) -> str:
    """Return the file that a benchmark's questions are chosen from.

    Parameters
    ----------
    questions
        The path of questions, by `{benchmark}`.
    text
        The path of a text, by `{text}`: for those that ask windows of it.
    """
    if asks_windows(project, benchmark):
        return text.format(text=project.benchmarks[benchmark]["text"])
    return questions.format(benchmark=benchmark)


def asks_windows(project: Project, benchmark: str) -> bool:
    """Return whether a benchmark asks windows of a text, and has no questions of its own."""
    return project.benchmark(benchmark)["scorer"] == PERPLEXITY


def counted_benchmarks(project: Project) -> list[str]:
    """Return the benchmarks of the run that have questions, whatever the model."""
    return [name for name in project.benchmarks if not asks_windows(project, name)]


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
