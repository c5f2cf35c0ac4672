"""What the rules of figures ask of a project, and which figures and tables a run makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lowrank.base.errors import LowrankError
from lowrank.base.names import AUTHORS
from lowrank.project.configuration import Project
from lowrank.project.figures import EFFICIENCY_FIGURES, SCHEMATICS
from lowrank.project.references import reference_model
from lowrank.project.studies import Model, shown_as
from lowrank.project.views.authors import AUTHORS_STUDY, authors_device, authors_title
from lowrank.project.views.profile import profiled_study

REFERENCE_STUDY = "table_4_2"
"""The study that is measured elsewhere, with random weights."""

AUTHORS_FIGURE = "figure_4_1"
"""The figure of scores that has the authors' beside a run's own."""

TABLE_MODELS = ("llama-2-7b",)
"""Models whose Table 4.2 is made even if the run does not use them: it needs no weights."""


@dataclass(frozen=True)
class Drawing:
    """A job that makes a figure or a table: its rule and the files that it writes."""

    rule: str
    files: tuple[str, ...]


def drawings(
    project: Project, references: Iterable[str], outputs_of: Callable[[str], Iterable[str]]
) -> list[Drawing]:
    """Return what a run draws, in the report's order.

    Parameters
    ----------
    references
        Names of measurements that were made elsewhere.
    outputs_of
        From a rule to the paths of all its outputs, which have its wildcards as fields.
    """
    made: list[tuple[str, dict[str, str]]] = [
        (table, {}) for table in ("table_1_1", "table_3_1", "table_4_1")
    ]
    made += [("schematic", {"schematic": name}) for name in SCHEMATICS]
    for name, model in project.models.items():
        for study in project.studies_of(model):
            figure = shown_as(project.study(study))
            made.append(
                ("accuracy_figure", {"model": name, "figure": figure})
                if figure
                else ("collect_accuracy", {"model": name, "study": study})
            )
            if project.study(study)["costs"]:
                made.append(("table_costs", {"model": name, "study": study}))
            if project.study(study)["sizes"]:
                made.append(("table_sizes", {"model": name, "study": study}))
            if project.study(study)["interactions"]:
                made.append(("table_interactions", {"model": name, "study": study}))
            if project.study(study)["losses"]:
                made.append(("figure_losses", {"model": name, "study": study}))
        if profiled_study(project, model):
            made += _efficiency_figures(name)
    for reference in references:
        made += _efficiency_figures(reference)
    if AUTHORS_STUDY in project.settings["studies"]:
        figure = shown_as(project.study(AUTHORS_STUDY))
        made += [("accuracy_figure", {"model": AUTHORS, "figure": figure})] if figure else []
        made += _efficiency_figures(AUTHORS)
    if "table_4_2" in project.settings["studies"]:
        models = [n for n, m in project.models.items() if "table_4_2" in project.studies_of(m)]
        made += [("table_4_2", {"model": n}) for n in dict.fromkeys([*TABLE_MODELS, *models])]
    return [
        Drawing(rule, tuple(path.format(**wildcards) for path in outputs_of(rule)))
        for rule, wildcards in made
    ]


def _efficiency_figures(model: str) -> list[tuple[str, dict[str, str]]]:
    return [
        ("efficiency_figure", {"model": model, "efficiency_figure": figure})
        for figure in EFFICIENCY_FIGURES
    ]


def figure_module(project: Project, figure: str) -> str:
    """Return the module that draws a figure of scores."""
    studies = (project.study(name) for name in project.settings["studies"])
    module = next((own["figure"] for own in studies if shown_as(own) == figure), figure)
    return f"lowrank.figures.{module}"


def figure_names(project: Project) -> list[str]:
    """Return the names of the figures that the run's studies draw."""
    studies = [project.study(name) for name in project.settings["studies"]]
    return sorted({name for study in studies if (name := shown_as(study))})


def undrawn(project: Project) -> list[str]:
    """Return the studies of the run that none of its models takes part in."""
    taking_part = {name for own in project.models.values() for name in project.studies_of(own)}
    return [name for name in project.settings["studies"] if name not in taking_part]


def figure_study(project: Project, figure: str, model: Model) -> str:
    """Return the study that a model's figure shows.

    Raises
    ------
    LowrankError
        If no study of the run has it.
    """
    for name in project.studies_of(model):
        if shown_as(project.study(name)) == figure:
            return name
    raise LowrankError(f"no study of the run shows {figure} of model {model.name}")


def efficiency_study(project: Project, references: Mapping[str, Path], name: str) -> str | None:
    """Return the study behind the figures of efficiency of a model or a reference."""
    if name in references:
        return REFERENCE_STUDY
    return profiled_study(project, project.model(name))


def subtitle(project: Project, study: str, model: Model) -> str:
    """Return a study's title, and how many of the run's benchmarks are there."""
    named = project.study_benchmarks(study, model, available=False)
    used = project.study_benchmarks(study, model)
    count = (
        f"{len(used)} of {len(named)} benchmarks"
        if len(named) > 1
        else project.benchmark(named[0])["label"]
    )
    return f"{project.study(study)['title']}; {count}"


@dataclass(frozen=True)
class Shown:
    """What a figure of a study shows.

    Attributes
    ----------
    title
        Whose results.
    category
        Where the HTML report shows it.
    data, fits
        The study's table; the fits of measurements, empty for scores.
    beside
        The authors' table, or what others published, where the figure shows it beside its own.
    subtitle, look_for
        What the study is, and what to look for; empty for measurements.
    """

    title: str
    category: str
    data: str
    fits: str = ""
    beside: tuple[str, ...] = ()
    subtitle: str = ""
    look_for: str = ""


AUTHORS_CATEGORY = "The authors' data"


def scores_shown(
    project: Project,
    name: str,
    figure: str,
    output_of: Callable[[str], str],
    authors: str | Path,
) -> Shown:
    """Return what a figure of scores shows.

    Parameters
    ----------
    name, figure
        Whose figure it is, a model's or the authors' own, and which.
    output_of
        From a rule's output to its path, which has its wildcards as fields.
    authors
        The folder of what the authors published.

    Raises
    ------
    LowrankError
        If no study of the run has the figure.
    """
    theirs = output_of("authors_tables.scores")
    if name == AUTHORS:
        title = f"{authors_title(project, authors)} on {authors_device(authors)}"
        what = f"{project.study(AUTHORS_STUDY)['title']}; the dense model as others ran it"
        return Shown(title, AUTHORS_CATEGORY, theirs, subtitle=what)
    model = project.model(name)
    study = figure_study(project, figure, model)
    published = project.study(study)["published"]
    beside = (published,) if published else ()
    return Shown(
        model.label,
        name,
        output_of("collect_accuracy").format(model=name, study=study),
        beside=(theirs,) if (study, figure) == (AUTHORS_STUDY, AUTHORS_FIGURE) else beside,
        subtitle=subtitle(project, study, model),
        look_for=project.study(study)["look_for"],
    )


def costs_shown(
    project: Project,
    references: Mapping[str, Path],
    name: str,
    output_of: Callable[[str], str],
    authors: str | Path,
) -> Shown:
    """Return what the figures of efficiency show, which say themselves on what device.

    Parameters
    ----------
    references
        From the names of measurements that were made elsewhere to their folders.
    name
        Whose figures they are: a model's, a reference's, or the authors' own.
    output_of, authors
        As for `scores_shown`.
    """
    theirs, their_fits = (output_of(f"authors_tables.{part}") for part in ("table", "fits"))
    if name == AUTHORS:
        return Shown(authors_title(project, authors), AUTHORS_CATEGORY, theirs, their_fits)
    study = efficiency_study(project, references, name)
    table, fits = (
        output_of(f"collect_profiles.{part}").format(model=name, study=study)
        for part in ("table", "fits")
    )
    beside = (theirs,) if study == AUTHORS_STUDY else ()
    return Shown(reference_model(references, name, project).label, name, table, fits, beside)
