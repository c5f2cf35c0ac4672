"""What the rules of evaluation ask of a project."""

from __future__ import annotations

from typing import Any

from lowrank.project.configuration import Project
from lowrank.project.scorers import SCORERS


def is_for_lm_eval(project: Project, benchmark: str) -> bool:
    """Return whether lm-eval scores a benchmark, and so tokenizes its requests."""
    return project.benchmarks[benchmark]["scorer"] == "lm_eval"


def scoring(project: Project, benchmark: str) -> dict[str, Any]:
    """Return what of a benchmark's entry shapes a score, as its file has it."""
    entry = project.registry.entry("benchmark", benchmark) | {"name": benchmark}
    return {key: entry[key] for key in SCORERS[entry["scorer"]].keys}


def metrics_modules(project: Project, benchmark: str) -> list[str]:
    """Return the modules of a benchmark's metrics: one, or none for lm-eval's own."""
    module = SCORERS[project.benchmarks[benchmark]["scorer"]].metrics
    return [module] if module else []


def evaluation_settings(project: Project, benchmark: str) -> dict[str, Any]:
    """Return what shapes the evaluation of a benchmark."""
    run, own = project.settings, project.settings["benchmarks"][benchmark]
    return {
        **{key: run[key] for key in ("seed", "sampling", "dtype", "device", "scorer")},
        **{key: own[key] for key in ("limit", "max_new_tokens")},
        "batch_size": own["batch_size"] or run["batch_size"],
    }


def asking_settings(project: Project, benchmark: str) -> dict[str, Any]:
    """Return what shapes the questions that a benchmark asks."""
    settings = evaluation_settings(project, benchmark)
    return {key: settings[key] for key in ("limit", "seed", "sampling", "max_new_tokens")}
