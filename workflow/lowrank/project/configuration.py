"""The configuration of a run, checked by schema and by meaning, and resolved.

Everything here is plain Python over YAML: the Snakefile imports it on every parse, so it must
not import torch or anything that does.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lowrank.assets import sources
from lowrank.base.errors import LowrankError, known, suggestion
from lowrank.base.metric import in_the_mean, metric_of_mean
from lowrank.base.names import DENSE, PERPLEXITY
from lowrank.project.benchmarks import checked_metric
from lowrank.project.choice import require_named, without_left_out
from lowrank.project.figures import require_figure
from lowrank.project.meaning import (
    decomposition_of_name,
    require_division,
    require_entries,
    require_own_figures,
    require_parts,
    require_training,
)
from lowrank.project.models import Models
from lowrank.project.registry import Registry
from lowrank.project.scorers import SCORERS
from lowrank.project.studies import (
    Configuration,
    Model,
    expand_study,
    with_rank_files,
)
from lowrank.space.design_space import Decomposition
from lowrank.space.families.registry import FAMILY_NAMES


class Project:
    """A checked configuration, resolved against the registries of a `config` folder.

    Parameters
    ----------
    config
        The merged configuration of the run; missing keys get the schema's defaults.
    folder
        The folder of the registries.

    Attributes
    ----------
    registry
        The entries of the folder, whether the run uses them or not.
    settings
        The configuration with its defaults.
    models, benchmarks
        What the run uses, by name and in its order; benchmarks without a source are left out.
    unavailable_benchmarks
        Benchmarks that the run names but that have no source here.
    named_models
        The models by name, with those that are directories of this machine.
    model
        A function from a name to any model of the registry, whether the run uses it or not.
    largest_rank
        A function from the names of a model and of a factorization to the largest rank of any
        tensor that any study asks for: the rank at which weights are factorized.

    Raises
    ------
    LowrankError
        On the first thing that is wrong: one line that says what, where and what would be right.
    """

    def __init__(self, config: Mapping[str, Any], folder: str | Path) -> None:
        self.registry = Registry(folder)
        # Rules ask for these once a job.
        self.largest_rank = functools.cache(self._largest_rank)
        self._decompositions = functools.cache(self._all_decompositions)
        self._studies_asking = functools.cache(self._all_studies_asking)
        settings = self.registry.checked("config", config, "config")
        results = settings["pathvars"].get("results", "results")
        self.settings = without_left_out(settings, config, self.registry)
        self.named_models = Models(self.registry, self.settings["models"], results)
        self.model = functools.cache(self.named_models.model)
        self.models = {name: self.model(name) for name in self.named_models.names}
        self._named = {name: self._benchmark(name) for name in self.settings["benchmarks"]}
        self.benchmarks = {
            name: entry for name, entry in self._named.items() if self._has_source(entry)
        }
        self.unavailable_benchmarks = [
            name
            for name, entry in self._named.items()
            if name not in self.benchmarks
            and any(_scores(entry, model) for model in self.models.values())
        ]
        require_named(self.settings, config, self.registry)
        if not self.benchmarks:
            raise LowrankError(
                "config: benchmarks: none has a source here; set `mirror` or `hub: true`"
            )
        self._configurations: dict[tuple[str, str], list[Configuration]] = {}
        self._studies = {name: self._study(name) for name in self.settings["studies"]}
        for model in self.models.values():
            if not self.benchmarks_of(model):
                raise LowrankError(
                    f"config: model {model.name} has no benchmark here: none of "
                    f"{', '.join(self.benchmarks)} is for the task {model.architecture.task}"
                )
            if not self.studies_of(model):
                raise LowrankError(
                    f"config: model {model.name} takes part in no study: none of "
                    f"{', '.join(self._studies)} is for the family {model.architecture.family.name}"
                )
            for study in self.studies_of(model):
                self._require_benchmarks(study, model)
                rows = self.configurations(study, model)
                require_parts(self._studies[study], study, rows, model, self.registry.kind_of)
                self._require_mean(study, model)
            require_own_figures({name: self._studies[name] for name in self.studies_of(model)})

    def benchmark(self, name: str) -> dict[str, Any]:
        """Return any benchmark of the registry, whether the run uses it or not.

        It is the entry with its `name`; its `metric`, which has the chance level, is a `Metric`.
        The metric of windows of a text has the benchmark's label, which says text and length: so no
        axis and no mean takes two of them. So has that of continuations.

        Raises
        ------
        LowrankError
            If there is none, or if its scorer, a metric, its baseline, its text or a task that it
            weighs is not known.
        """
        entry = self.registry.entry("benchmark", name)
        try:
            metric = checked_metric(entry, self.text)
        except LowrankError as error:
            raise LowrankError(f"{self.registry.path('benchmark', name)}: {error}") from None
        return entry | {"name": name, "metric": metric}

    def sources_of(self, benchmark: str) -> tuple[list[sources.Source], list[str]]:
        """Return where what a benchmark asks comes from, and the subsets that its sources have.

        They are those of its questions, or of its text.
        """
        return self._sources_of(self.benchmark(benchmark))

    def _sources_of(self, entry: Mapping[str, Any]) -> tuple[list[sources.Source], list[str]]:
        if entry["scorer"] != PERPLEXITY:
            return entry["sources"], entry["subsets"]
        text = self.text(entry["text"])
        return text["sources"], list(text.get("parts", {}).values())

    def _has_source(self, entry: Mapping[str, Any]) -> bool:
        own, subsets = self._sources_of(entry)
        return any(sources.is_present(source, subsets) for source in own)

    def benchmarks_of(self, model: Model) -> list[str]:
        """Return the benchmarks of the run that score models of this task."""
        return [name for name, entry in self.benchmarks.items() if _scores(entry, model)]

    def text(self, name: str) -> dict[str, Any]:
        """Return a text of the registry: the entry with its `name`.

        Raises
        ------
        LowrankError
            If there is none, or if it does not say once how it is divided into its two parts.
        """
        entry = self.registry.entry("text", name)
        try:
            require_division(entry)
        except LowrankError as error:
            raise LowrankError(f"{self.registry.path('text', name)}: {error}") from None
        return entry | {"name": name}

    def calibration(self, name: str) -> dict[str, Any]:
        """Return a calibration set of the registry: the entry with its `name`.

        Raises
        ------
        LowrankError
            If there is none, if its text is not known, or if that has no source here.
        """
        entry = self.registry.entry("calibration", name)
        try:
            text = self.text(entry["text"])
            subsets = list(text.get("parts", {}).values())
            sources.choose_source(text["sources"], f"text {text['name']}", subsets or None)
        except LowrankError as error:
            raise LowrankError(f"{self.registry.path('calibration', name)}: {error}") from None
        return entry | {"name": name}

    def recovery(self, name: str) -> dict[str, Any]:
        """Return a recovery of the registry: the entry with its `name`.

        Raises
        ------
        LowrankError
            If there is none, or if what it is trained on is not known or has no source here.
        """
        entry = self.registry.entry("recovery", name)
        try:
            data = entry["data"]
            if "calibration" in data:
                self.calibration(data["calibration"])
            for benchmark in data.get("questions", ()):
                require_training(self.benchmark(benchmark))
        except LowrankError as error:
            raise LowrankError(f"{self.registry.path('recovery', name)}: {error}") from None
        return entry | {"name": name}

    def quantization(self, name: str) -> dict[str, Any]:
        """Return a quantization of the registry: the entry with its `name`.

        Raises
        ------
        LowrankError
            If there is none.
        """
        return self.registry.entry("quantization", name) | {"name": name}

    def study(self, name: str) -> dict[str, Any]:
        """Return a study of the run, with its defaults."""
        return known(self._studies, name, "study of this run")

    def studies_of(self, model: Model) -> list[str]:
        """Return the studies of the run that a model of this family takes part in."""
        family = model.architecture.family.name
        return [name for name, entry in self._studies.items() if entry["family"] in (None, family)]

    def studies_asking(self, model: Model, decomposition: str) -> list[str]:
        """Return the studies that ask a configuration: all the dense one, and one of no study."""
        asking = self._studies_asking(model.name)
        return asking.get(decomposition, asking[DENSE])

    def limit(self, model: Model, decomposition: str, benchmark: str) -> int | None:
        """Return how many questions of a benchmark a configuration is asked; None for all.

        It is the most that the benchmark, a study of the configuration (`limits`) or the
        configuration itself (`asked`) is to have. There may be fewer windows of a text: then all of
        them are asked.
        """
        own = self.settings["asked"].get(model.name, {}).get(decomposition, {})
        wanted = [self.settings["benchmarks"][benchmark]["limit"], own.get(benchmark, 0)]
        for study in self.studies_asking(model, decomposition):
            wanted.append((self.settings["limits"].get(study) or {}).get(benchmark, 0))
        if None in wanted:
            return None
        exist = self.benchmarks[benchmark]["questions"]
        return max(wanted) if exist is None else min(max(wanted), exist)

    def study_benchmarks(self, study: str, model: Model, available: bool = True) -> list[str]:
        """Return the benchmarks that a study asks of a model, in the run's order.

        With `available` false, those without a source here, too.
        """
        listed, settings = self.study(study)["benchmarks"], self.settings["benchmarks"]
        return [
            name
            for name, entry in (self.benchmarks if available else self._named).items()
            if _scores(entry, model) and (listed is None or name in listed)
            if study in (settings[name]["studies"] or [study])
        ]

    def _require_benchmarks(self, study: str, model: Model) -> None:
        """Check that a study asks something of a model."""
        if not self.study_benchmarks(study, model):
            asked = ", ".join(self.study_benchmarks(study, model, available=False)) or "none"
            raise LowrankError(
                f"config: study {study} has no benchmark here for model {model.name} (it asks "
                f"{asked}): name one under `benchmarks`, or the study under `leave_out`"
            )

    def _require_mean(self, study: str, model: Model) -> None:
        """Check that those scores of a study that take part in a mean have one."""
        names = self.study_benchmarks(study, model)
        metrics = {name: self.benchmarks[name]["metric"] for name in names}
        averaged = {name: metrics[name] for name in in_the_mean(metrics)}
        try:
            if averaged:
                metric_of_mean(averaged)
        except LowrankError as error:
            raise LowrankError(f"{self.registry.path('study', study)}: {error}") from None

    def configurations(self, study: str, model: Model) -> list[Configuration]:
        """Return a study's configurations for a model, in the study's order.

        Raises
        ------
        LowrankError
            If one is not valid for the model.
        """
        if (study, model.name) not in self._configurations:
            entry = self._studies[study] if study in self._studies else self._study(study)
            place = self.registry.path("study", study)
            made = expand_study(entry, model, str(place))
            self._require_entries([row.decomposition for row in made], str(place))
            self._configurations[study, model.name] = made
        return self._configurations[study, model.name]

    def _require_entries(self, made: list[Decomposition], where: str) -> None:
        kind_of = self.registry.kind_of
        require_entries(made, where, kind_of, lambda kind, name: getattr(self, kind)(name))

    def decompositions(self, model: Model) -> dict[str, Decomposition]:
        """Return every γ that a model's studies ask for, by name, each once; dense first."""
        return self._decompositions(model.name)

    def decomposition(self, model: Model, name: str) -> Decomposition:
        """Return the γ of a name: one of the model's studies, or any that its name spells out.

        Raises
        ------
        LowrankError
            If the name is not canonical or not valid for the model, or holds the digest of ranks
            that no study asks for, or names what is not in the `config` folder.
        """
        known = self._decompositions(model.name)
        if name in known:
            return known[name]
        for other, made in known.items():  # of one that is recovered, the one before
            if other.startswith(f"{name}+"):
                return replace(made, after=made.after[: name.count("+")])
        return decomposition_of_name(model, name, self._require_entries)

    def _all_decompositions(self, model_name: str) -> dict[str, Decomposition]:
        model = self.model(model_name)
        dense = Decomposition.make(model.architecture, [])
        every = [dense] + [
            configuration.decomposition
            for study in self.studies_of(model)
            for configuration in self.configurations(study, model)
        ]
        return {decomposition.name(model.architecture): decomposition for decomposition in every}

    def _all_studies_asking(self, model_name: str) -> dict[str, list[str]]:
        model = self.model(model_name)
        made: dict[str, list[str]] = {name: [] for name in self._decompositions(model_name)}
        for study in self.studies_of(model):
            asked = {row.decomposition for row in self.configurations(study, model)}
            names = {DENSE, *(each.name(model.architecture) for each in asked)}
            for name in names:
                made[name].append(study)
        return made

    def _largest_rank(self, model_name: str, factorization: str) -> int:
        architecture = self.model(model_name).architecture
        ranks = (
            made.rank.rank_of(architecture, layer, tensor)
            for made in self._decompositions(model_name).values()
            if made.factorization == factorization
            for layer in made.layers
            for tensor in made.tensors
        )
        return max(ranks, default=1)

    def _benchmark(self, name: str) -> dict[str, Any]:
        entry = self.benchmark(name)
        limit, exist = self.settings["benchmarks"][name]["limit"], entry["questions"]
        if None not in (limit, exist) and limit > exist:
            raise LowrankError(
                f"config: benchmarks.{name}.limit: {limit} is above the {exist} "
                "questions there are; null asks all of them"
            )
        return entry

    def _study(self, name: str) -> dict[str, Any]:
        entry = self.registry.entry("study", name)
        for benchmark in entry["benchmarks"] or []:
            self.registry.path("benchmark", benchmark)
        for series in entry["series"].values():
            for model in series.get("models", ()):
                self.named_models.require(model)
        if entry["family"] not in (None, *FAMILY_NAMES):
            raise LowrankError(
                f"{self.registry.path('study', name)}: family: unknown family {entry['family']!r}"
                f"{suggestion(entry['family'], FAMILY_NAMES)}"
            )
        try:
            require_figure(entry)
        except LowrankError as error:
            raise LowrankError(f"{self.registry.path('study', name)}: {error}") from None
        return with_rank_files(entry, self.registry.ranks)


def _scores(benchmark: Mapping[str, Any], model: Model) -> bool:
    """Return whether a benchmark's scorer is for models of this task."""
    return SCORERS[benchmark["scorer"]].task == model.architecture.task
