"""What the rules of assets ask of a project."""

from __future__ import annotations

from typing import Any

from lowrank.project.configuration import Project


def questions_settings(project: Project, benchmark: str) -> dict[str, Any]:
    """Return what shapes the file of a benchmark's questions."""
    keys = ("name", "sources", "columns", "subsets", "questions")
    return {key: project.benchmarks[benchmark][key] for key in keys}
