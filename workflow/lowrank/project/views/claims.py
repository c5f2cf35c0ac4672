"""What the rules of the claims ask of a project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lowrank.base.names import DENSE
from lowrank.project.configuration import Project
from lowrank.project.references import reference_model
from lowrank.project.studies import Model
from lowrank.project.views.analyse import study_evaluations
from lowrank.project.views.authors import (
    AUTHORS_STUDY,
    authors_benchmarks,
    authors_files,
    authors_model,
)
from lowrank.project.views.figures import REFERENCE_STUDY, Drawing
from lowrank.project.views.profile import profiled_study

PAPER_SCALE = "paper"
"""What `scale` says where the configuration is that of the thesis."""

NO_PAPER_RUN = (
    "no run at this scale is kept; `snakemake --cores all --resources gpu=4` makes one, and `make "
    "reference REF=paper/reference/paper MODEL=llama-2-7b-chat` keeps it"
)
"""Why there are no results at the paper's scale, and what to do about it."""


def judged_models(project: Project) -> dict[str, Model]:
    """Return the model that judges the claims on each family: the run's first of it."""
    made: dict[str, Model] = {}
    for model in project.models.values():
        made.setdefault(model.architecture.family.name, model)
    return made


def claim_scopes(
    project: Project,
    output_of: Callable[[str], str],
    authors: str,
    references: Mapping[str, Path],
    kept: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Return the results that judge the claims, one entry a column of the ledger.

    `lowrank.claims.scopes.load_scope` reads an entry that has `models`, and
    `lowrank.claims.kept.load_kept` the others.

    Parameters
    ----------
    output_of
        From a rule to the path of its output.
    authors
        The folder of the figures that the thesis's authors published.
    references
        From the names of measurements that were made elsewhere to the folders of their records.
    kept
        From the scales of runs that were kept to their ledgers.
    """
    run = {
        "name": "run",
        "title": "This run",
        "short": "this run",
        "models": claim_models(project, output_of),
    }
    if planned := (project.settings["looks"] or {}).get("numbers"):
        run["looks"] = planned
    made = [_authors(project, output_of, authors), run]
    made += [_reference(project, output_of, references, name) for name in references]
    made = [entry | {"design_space": output_of("table_3_1.csv")} for entry in made]
    return made + _kept(project.settings["scale"], kept)


def _authors(project: Project, output_of: Callable[[str], str], folder: str) -> dict[str, Any]:
    model = authors_model(project, folder)
    entry = {
        "model": model.name,
        "label": model.label,
        "device_type": "cuda",
        "published": folder,
        "benchmarks": list(authors_benchmarks(project).values()),
        "studies": {AUTHORS_STUDY: output_of("authors_tables.scores")},
        "profiles": [output_of("authors_tables.table")],
    }
    return {
        "name": "authors",
        "title": "The authors' data",
        "short": "authors",
        "models": {model.architecture.family.name: entry},
    }


def _reference(
    project: Project, output_of: Callable[[str], str], references: Mapping[str, Path], name: str
) -> dict[str, Any]:
    model, device = reference_model(references, name, project), references[name].parent.name
    table = output_of("collect_profiles.table").format(model=name, study=REFERENCE_STUDY)
    entry = {
        "model": model.name,
        "label": model.label,
        "device_type": "cuda",
        "benchmarks": list(authors_benchmarks(project).values()),
        "studies": {},
        "profiles": [table],
    }
    return {
        "name": name,
        "title": f"Measured elsewhere ({device})",
        "short": "-".join(device.removeprefix("nvidia-").split("-")[:2]),
        "models": {model.architecture.family.name: entry},
    }


def _kept(scale: str | None, kept: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the kept runs of other scales, and the paper's scale in any case."""
    made = {
        name: {
            "name": f"kept-{name}",
            "title": f"The kept run at {name} scale",
            "short": f"kept {name}",
            "ledger": path,
        }
        for name, path in kept.items()
        if name not in (scale, PAPER_SCALE)
    }
    if scale != PAPER_SCALE:
        source = {"ledger": kept[PAPER_SCALE]} if PAPER_SCALE in kept else {"reason": NO_PAPER_RUN}
        made[PAPER_SCALE] = {
            "name": f"kept-{PAPER_SCALE}",
            "title": "The paper's scale",
            "short": "paper scale",
            **source,
        }
    return list(made.values())


def claim_models(project: Project, output_of: Callable[[str], str]) -> dict[str, Any]:
    """Return, for each family, the model that judges its claims and where its results are."""
    return {
        family: {
            "model": model.name,
            "label": model.label,
            "device_type": project.settings["device"],
            "benchmarks": [entry["label"] for entry in project.benchmarks.values()],
            "studies": {
                study: output_of("collect_accuracy").format(model=model.name, study=study)
                for study in project.studies_of(model)
            },
            "profiles": _efficiency_tables(project, model, output_of),
        }
        for family, model in judged_models(project).items()
    }


def claim_evidence(
    project: Project,
    output_of: Callable[[str], str],
    authors: str,
    references: Mapping[str, Path],
    kept: Mapping[str, str],
) -> list[str]:
    """Return the files that the claims are judged on, less evaluations; see `claim_scopes`."""
    files = []
    for scope in claim_scopes(project, output_of, authors, references, kept):
        files += [scope[key] for key in ("design_space", "ledger") if key in scope]
        for entry in scope.get("models", {}).values():
            files += [*entry["studies"].values(), *entry["profiles"]]
            if "published" in entry:
                files += authors_files(entry["published"])
    return list(dict.fromkeys(files))


def claim_evaluations(project: Project, output_of: Callable[[str], str]) -> list[str]:
    """Return the evaluations that the claims are judged on, each once."""
    files = []
    for model in judged_models(project).values():
        for study in project.studies_of(model):
            files += study_evaluations(project, study, model, output_of("evaluate.scores"))
        # The dense model's result says on which device.
        files.append(output_of("evaluate.result").format(model=model.name, decomposition=DENSE))
    return list(dict.fromkeys(files))


def documents(drawn: Iterable[Drawing]) -> dict[str, list[str]]:
    """Return the PDFs of a run, by the name of the figure or table."""
    made: dict[str, list[str]] = {}
    for path in (Path(file) for drawing in drawn for file in drawing.files):
        if path.suffix == ".pdf":
            made.setdefault(path.stem, []).append(str(path))
    return made


def _efficiency_tables(
    project: Project, model: Model, output_of: Callable[[str], str]
) -> list[str]:
    study = profiled_study(project, model)
    path = output_of("collect_profiles.table")
    return [path.format(model=model.name, study=study)] if study else []
