"""What the rules of evaluation ask of a project."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lowrank.base.names import DENSE, LM_EVAL, PROGRAMS
from lowrank.project.configuration import Project
from lowrank.project.scorers import SCORERS
from lowrank.project.studies import Model

BLOCKS = {"cpu": 8, "cuda": 64}
"""How many questions are computed together, by device: see `lowrank.evaluate.asking`. Enough to
keep the device busy: on a CPU 8 take 7% longer than 40 and 1 takes 35% longer (float32)."""

ENCODER_BLOCK = 32
"""The same for encoders, where the batch size is no number."""


def is_for_lm_eval(project: Project, benchmark: str) -> bool:
    """Return whether lm-eval scores a benchmark, and so tokenizes its requests."""
    return project.benchmarks[benchmark]["scorer"] == LM_EVAL


def is_causal(model: Model) -> bool:
    """Return whether lm-eval asks a model."""
    return SCORERS[LM_EVAL].task == model.architecture.task


def runs_programs(project: Project) -> bool:
    """Return whether a run runs programs that a model wrote."""
    return any(entry["scorer"] == PROGRAMS for entry in project.benchmarks.values())


def scoring(project: Project, benchmark: str) -> dict[str, Any]:
    """Return what of a benchmark's entry shapes a score, as its file has it."""
    entry = project.registry.entry("benchmark", benchmark) | {"name": benchmark}
    return {key: entry[key] for key in SCORERS[entry["scorer"]].keys}


def metrics_modules(project: Project, benchmarks: Iterable[str]) -> list[str]:
    """Return the modules of benchmarks' metrics: one each, or none for lm-eval's own."""
    modules = (SCORERS[project.benchmarks[name]["scorer"]].metrics for name in benchmarks)
    return sorted({module for module in modules if module})


def benchmarks_asked(project: Project, model: Model, decomposition: str) -> list[str]:
    """Return the benchmarks that any study asks of a configuration, in the run's order."""
    wanted = {
        benchmark
        for study in project.studies_asking(model, decomposition)
        for benchmark in project.study_benchmarks(study, model)
    }
    return [name for name in project.benchmarks if name in wanted]


def answers_folder(project: Project) -> str:
    """Return where answers are kept: in one place for all scales, unless `pathvars` says more."""
    return project.settings["pathvars"].get("answers", "results/answers")


def run_settings(project: Project) -> dict[str, Any]:
    """Return what shapes every evaluation of a run."""
    keys = ("seed", "sampling", "dtype", "device", "scorer", "batch_size")
    return {key: project.settings[key] for key in keys}


def asking_settings(
    project: Project, model: Model, benchmark: str, limit: int | None
) -> dict[str, Any]:
    """Return what shapes the questions that a benchmark asks of a model's configurations."""
    run, own = project.settings, batch_size(project, benchmark)
    size = own if isinstance(own, int) else ENCODER_BLOCK
    return {
        **{key: run[key] for key in ("seed", "sampling")},
        "limit": limit,
        "max_new_tokens": run["benchmarks"][benchmark]["max_new_tokens"],
        "block": BLOCKS[run["device"]] if is_causal(model) else size,
    }


def batch_size(project: Project, benchmark: str) -> int | str:
    """Return the batch size of a benchmark: its own, or the run's."""
    own = project.settings["benchmarks"][benchmark]["batch_size"]
    return own or project.settings["batch_size"]


def answering_settings(
    project: Project, model: Model, benchmark: str, limit: int | None
) -> dict[str, Any]:
    """Return what shapes the answers to the questions that a benchmark asks."""
    asking = asking_settings(project, model, benchmark, limit)
    own = {"batch_size": batch_size(project, benchmark)}
    if project.benchmarks[benchmark]["scorer"] == PROGRAMS:
        own["sandbox"] = project.settings["sandbox"]
    return asking | own


def asked_of(project: Project, model: Model, decomposition: str) -> list[dict[str, Any]]:
    """Return what is asked of a configuration: of each benchmark its `entry` and `settings`."""
    return [
        {
            "entry": scoring(project, name),
            "settings": answering_settings(
                project, model, name, project.limit(model, decomposition, name)
            ),
        }
        for name in benchmarks_asked(project, model, decomposition)
    ]


def baseline_of(project: Project, model: Model, benchmark: str) -> dict[str, Any]:
    """Return what shapes the score of a benchmark's baseline: its `entry` and `settings`.

    It is asked what the model is asked without decomposition.
    """
    entry = scoring(project, benchmark)
    own = {key: entry[key] for key in ("name", "metric", "options")}
    limit = project.limit(model, DENSE, benchmark)
    asking = {key: project.settings[key] for key in ("seed", "sampling")}
    return {
        "entry": own | {"baseline": project.benchmarks[benchmark]["baseline"]},
        "settings": asking | {"limit": limit},
    }


def files_of_benchmarks(project: Project, model: Model, decomposition: str, path: str) -> list[str]:
    """Return one file a benchmark that is asked, by `{model}`, `{benchmark}` and `{limit}`."""
    return [
        path.format(
            model=model.name,
            benchmark=name,
            limit=limit_name(project.limit(model, decomposition, name)),
        )
        for name in benchmarks_asked(project, model, decomposition)
    ]


def limit_name(limit: int | None) -> str:
    """Return a number of questions as file names have it."""
    return "all" if limit is None else str(limit)


def limit_of(name: str) -> int | None:
    """Return the number of questions that `limit_name` names."""
    return None if name == "all" else int(name)
