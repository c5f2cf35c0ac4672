"""The configuration of a run: registries read, checked by schema and by meaning, resolved.

Everything here is plain Python over YAML: the Snakefile imports it on every parse, so it must
not import torch or anything that does.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema.exceptions import ValidationError, best_match

from lowrank import assets
from lowrank.architecture import FAMILIES, Architecture
from lowrank.design_space import Decomposition, every_layers, expand_layers, scale_layers
from lowrank.errors import LowrankError
from lowrank.files import read_yaml
from lowrank.methods import METHODS

SCORERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "lm_eval": (
        "causal",
        ("name", "tasks", "task_folder", "metric", "headline_task", "generation"),
    ),
    "mrpc": ("encoder", ("name", "scorer", "metric", "options")),
    "squad": ("question_answering", ("name", "scorer", "metric", "options")),
}
"""From a scorer to the task of the models that it scores and to the keys that shape a score."""


@dataclass(frozen=True)
class Configuration:
    """One configuration of a study, for one model.

    Attributes
    ----------
    label
        Its key in the study.
    decomposition
        The canonical γ.
    thesis_reduction
        The parameter reduction that the thesis prints, in percent, or None.
    """

    label: str
    decomposition: Decomposition
    thesis_reduction: float | None


@dataclass(frozen=True)
class Model:
    """A model of `config/models/`: its entry and its architecture."""

    name: str
    label: str
    sources: list[dict[str, Any]]
    architecture: Architecture


class Project:
    """A checked configuration, resolved against the registries of a `config` folder.

    Parameters
    ----------
    config
        The merged configuration of the run; missing keys get the schema's defaults.
    folder
        The folder that holds `models/`, `benchmarks/`, `studies/` and `schemas/`.

    Attributes
    ----------
    settings
        The configuration with its defaults.
    models, benchmarks
        What the run uses, by name and in its order; benchmarks without a source are left out.
    unavailable_benchmarks
        Benchmarks that the run names but that have no source here.

    Raises
    ------
    LowrankError
        On the first thing that is wrong: one line that says what, where and what would be right.
    """

    def __init__(self, config: Mapping[str, Any], folder: str | Path) -> None:
        self.folder = Path(folder)
        self.settings = self._checked("config", dict(config), "config")
        self.models = {name: self.model(name) for name in self.settings["models"]}
        self._asked = {name: self._benchmark(name) for name in self.settings["benchmarks"]}
        self.benchmarks = {
            name: entry
            for name, entry in self._asked.items()
            if any(assets.is_present(source, entry["subsets"]) for source in entry["sources"])
        }
        self.unavailable_benchmarks = [n for n in self._asked if n not in self.benchmarks]
        if not self.benchmarks:
            raise LowrankError(
                "config: no benchmark has a source here; set `mirror` or `hub: true`"
            )
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
                self.configurations(study, model)

    def benchmarks_of(self, model: Model) -> dict[str, dict[str, Any]]:
        """Return the benchmarks of the run that score a model of this task."""
        return _fitting(self.benchmarks, model)

    def studies_of(self, model: Model) -> list[str]:
        """Return the studies of the run that a model of this family takes part in."""
        family = model.architecture.family.name
        return [name for name, entry in self._studies.items() if entry["family"] in (None, family)]

    def scoring(self, benchmark: str) -> dict[str, Any]:
        """Return what of a benchmark's entry shapes a score."""
        entry = self.benchmarks[benchmark]
        return {key: entry[key] for key in SCORERS[entry["scorer"]][1]}

    def benchmark_count(self, model: Model) -> str:
        """How many benchmarks a model has of those that the run names for it, e.g. `6 of 7`."""
        return f"{len(self.benchmarks_of(model))} of {len(_fitting(self._asked, model))}"

    def model(self, name: str) -> Model:
        """Return any model of the registry, whether the run uses it or not."""
        path = self._entry("model", name)
        entry = self._checked("model", read_yaml(path), str(path))
        try:
            architecture = Architecture.from_config(entry["architecture"])
        except LowrankError as error:
            raise LowrankError(f"{path}: {error}") from None
        if entry["task"] != architecture.task:
            raise LowrankError(
                f"{path}: task: {entry['task']!r} does not fit the architecture: "
                f"{architecture.task!r} does"
            )
        return Model(name, entry["label"], entry["sources"], architecture)

    def configurations(self, study: str, model: Model) -> list[Configuration]:
        """Return a study's configurations for a model, in the study's order.

        Raises
        ------
        LowrankError
            If one is not valid for the model.
        """
        entry = self._entry_of(study)
        target = model.architecture.layers
        depth, listed = entry["depth"], entry.get("configurations")
        if listed is None:  # each layer of the model itself, whatever its depth
            listed = {f"layer {layer}": {"layers": [layer]} for layer in range(1, target + 1)}
            depth = None
        made = []
        for label, fields in listed.items():
            try:
                layers = _layers(fields["layers"], depth, target)
                decomposition = Decomposition.make(
                    model.architecture,
                    layers,
                    fields.get("tensors", entry["tensors"]),
                    fields.get("rank", entry["rank"]),
                    fields.get("method", entry["method"]),
                )
            except LowrankError as error:
                raise LowrankError(
                    f"{self._entry('study', study)}: configurations.{label}: {error}"
                    f" (model {model.name})"
                ) from None
            made.append(Configuration(label, decomposition, fields.get("thesis_reduction")))
        return made

    def is_carried_over(self, study: str, model: Model) -> bool:
        """Return whether a study's layer lists were written for another number of layers."""
        return self._entry_of(study)["depth"] not in (None, model.architecture.layers)

    def describe(self, study: str) -> str:
        """Return a study's method, rank and tensors as a caption names them."""
        entry = self._entry_of(study)
        named = entry["tensors"]
        tensors = named if isinstance(named, str) else ", ".join(named)
        return f"{entry['method']}, pruned rank {entry['rank']}, {tensors} tensors"

    def decompositions(self, model: Model) -> dict[str, Decomposition]:
        """Return every γ that a model's studies ask for, by name, each once; dense first."""
        dense = Decomposition.make(model.architecture, [])
        every = [dense] + [
            configuration.decomposition
            for study in self.studies_of(model)
            for configuration in self.configurations(study, model)
        ]
        return {decomposition.name(model.architecture): decomposition for decomposition in every}

    def largest_rank(self, model: Model, method: str) -> int:
        """Return the largest rank that any study asks of a model and method."""
        ranks = [d.rank for d in self.decompositions(model).values() if d.method == method]
        return max(ranks, default=1)

    def evaluation_settings(self, benchmark: str) -> dict[str, Any]:
        """Return what shapes the evaluation of a benchmark, in a fixed order."""
        own = self.settings["benchmarks"][benchmark]
        return {
            "limit": own["limit"],
            "seed": self.settings["seed"],
            "dtype": self.settings["dtype"],
            "device": self.settings["device"],
            "batch_size": own["batch_size"] or self.settings["batch_size"],
            "max_new_tokens": own["max_new_tokens"],
        }

    def _benchmark(self, name: str) -> dict[str, Any]:
        path = self._entry("benchmark", name)
        entry = self._checked("benchmark", read_yaml(path), str(path)) | {"name": name}
        settings = self.settings["benchmarks"]
        settings[name] = self._checked(
            "config", settings[name] or {}, "config", ("benchmarks", name)
        )
        limit = settings[name]["limit"]
        if limit is not None and limit > entry["questions"]:
            raise LowrankError(
                f"config: benchmarks.{name}.limit: {limit} is above the {entry['questions']} "
                "questions there are; null asks all of them"
            )
        return entry

    def _entry_of(self, study: str) -> dict[str, Any]:
        """Return any study of the registry, whether the run names it or not."""
        return self._studies[study] if study in self._studies else self._study(study)

    def _study(self, name: str) -> dict[str, Any]:
        path = self._entry("study", name)
        entry = self._checked("study", read_yaml(path), str(path))
        families = {family.name: None for family in FAMILIES.values()}
        if entry["family"] not in (None, *families):
            raise LowrankError(
                f"{path}: family: unknown family {entry['family']!r}"
                f"{_suggestion(entry['family'], families)}"
            )
        for label, fields in entry.get("configurations", {"each_layer": {}}).items():
            method = fields.get("method", entry["method"])
            if method not in METHODS:
                raise LowrankError(
                    f"{path}: configurations.{label}.method: unknown method {method!r}"
                    f"{_suggestion(method, METHODS)}"
                )
        return entry

    def _entry(self, kind: str, name: str) -> Path:
        plural = "studies" if kind == "study" else f"{kind}s"
        path = self.folder / plural / f"{name}.yaml"
        if not path.is_file():
            known = sorted(file.stem for file in (self.folder / plural).glob("*.yaml"))
            raise LowrankError(f"config: {plural}: {path} does not exist{_suggestion(name, known)}")
        return path

    def _checked(
        self, schema_name: str, value: Any, where: str, path: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        schema = read_yaml(self.folder / "schemas" / f"{schema_name}.schema.yaml")
        if path:  # one entry of `benchmarks`, to fill in its defaults
            schema = schema["properties"][path[0]]["additionalProperties"]
        error = best_match(jsonschema.Draft202012Validator(schema).iter_errors(value))
        if error is not None:
            raise LowrankError(_explain(error, where, path))
        defaults = {
            key: part["default"] for key, part in schema["properties"].items() if "default" in part
        }
        return defaults | value


def _fitting(benchmarks: Mapping[str, dict[str, Any]], model: Model) -> dict[str, dict[str, Any]]:
    """Return the benchmarks whose scorer is for models of this task."""
    task = model.architecture.task
    return {
        name: entry for name, entry in benchmarks.items() if SCORERS[entry["scorer"]][0] == task
    }


def _layers(
    listed: str | Mapping[str, int] | list[int | str], depth: int | None, target: int
) -> tuple[int, ...]:
    """Return the layers that a configuration lists, for a model of `target` layers."""
    if isinstance(listed, str):  # `all`, the only word that the schema lets through
        return every_layers(1, target)
    if isinstance(listed, Mapping):
        return every_layers(listed["every"], target)
    layers = expand_layers(listed)
    if depth is None:
        return layers
    outside = [layer for layer in layers if not 1 <= layer <= depth]
    if outside:
        raise LowrankError(f"layer {outside[0]} is outside 1…{depth}")
    return layers if target == depth else scale_layers(layers, depth, target)


def _explain(error: ValidationError, where: str, path: tuple[str, ...]) -> str:
    place = ".".join(str(part) for part in (*path, *error.absolute_path))
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        known = list(error.schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in known)
        key = f"{place}.{unknown}" if place else str(unknown)
        return f"{where}: {key}: unknown key{_suggestion(str(unknown), known)}"
    message = " ".join(error.message.split())
    if len(message) > 200:
        message = message[:200] + "…"
    return f"{where}: {place or 'top level'}: {message}"


def _suggestion(name: str, known: Iterator[str] | Mapping[str, Any] | list[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""
