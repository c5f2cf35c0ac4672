"""The configuration of a run: registries read, checked by schema and by meaning, resolved.

Everything here is plain Python over YAML: the Snakefile imports it on every parse, so it must
not import torch or anything that does.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowrank.assets import sources
from lowrank.base.errors import LowrankError, suggestion
from lowrank.base.files import read_yaml
from lowrank.project.claims import expand_tests
from lowrank.project.schema import checked
from lowrank.project.studies import Configuration, Model, expand_study, with_rank_files
from lowrank.space.architecture import FAMILIES, Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.rank_rule import Ranks

SCORERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "lm_eval": (
        "causal",
        ("name", "tasks", "task_folder", "metric", "headline_task", "generation"),
    ),
    "mrpc": ("encoder", ("name", "scorer", "metric", "options")),
    "squad": ("question_answering", ("name", "scorer", "metric", "options")),
}
"""From a scorer to the task of the models that it scores and to the keys that shape a score."""


class Project:
    """A checked configuration, resolved against the registries of a `config` folder.

    Parameters
    ----------
    config
        The merged configuration of the run; missing keys get the schema's defaults.
    folder
        The folder that holds `models/`, `architectures/`, `benchmarks/`, `studies/` and
        `schemas/`.

    Attributes
    ----------
    settings
        The configuration with its defaults.
    models, benchmarks
        What the run uses, by name and in its order; benchmarks without a source are left out.
    unavailable_benchmarks
        Benchmarks that the run names but that have no source here.
    model
        A function from a name to any model of the registry, whether the run uses it or not.
    largest_rank
        A function from the names of a model and of a method to the largest rank of any tensor
        that any study asks for: the rank at which weights are factorized.

    Raises
    ------
    LowrankError
        On the first thing that is wrong: one line that says what, where and what would be right.
    """

    def __init__(self, config: Mapping[str, Any], folder: str | Path) -> None:
        self.folder = Path(folder)
        # Rules ask for these once a job.
        self.model = functools.cache(self._model)
        self.largest_rank = functools.cache(self._largest_rank)
        self._decompositions = functools.cache(self._all_decompositions)
        self._schema = functools.cache(self._read_schema)
        self.settings = self._checked("config", dict(config), "config")
        self.settings["profile"] = self._checked(
            "config", self.settings["profile"], "config", ("profile",)
        )
        self.models = {name: self.model(name) for name in self.settings["models"]}
        self._asked = {name: self._benchmark(name) for name in self.settings["benchmarks"]}
        self.benchmarks = {
            name: entry
            for name, entry in self._asked.items()
            if any(sources.is_present(source, entry["subsets"]) for source in entry["sources"])
        }
        self.unavailable_benchmarks = [
            name
            for name, entry in self._asked.items()
            if name not in self.benchmarks
            and any(_scores(entry, model) for model in self.models.values())
        ]
        if not self.benchmarks:
            raise LowrankError(
                "config: benchmarks: none has a source here; set `mirror` or `hub: true`"
            )
        self._configurations: dict[tuple[str, str], list[Configuration]] = {}
        self._studies = {name: self._study(name) for name in self.settings["studies"]}
        for model in self.models.values():
            if not any(_scores(entry, model) for entry in self.benchmarks.values()):
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

    def studies_of(self, model: Model) -> list[str]:
        """Return the studies of the run that a model of this family takes part in."""
        family = model.architecture.family.name
        return [name for name, entry in self._studies.items() if entry["family"] in (None, family)]

    def study_of(self, figure: str, model: Model) -> str:
        """Return the study that a model's figure shows.

        Raises
        ------
        LowrankError
            If no study of the run has it.
        """
        for name in self.studies_of(model):
            if self._studies[name]["figure"] == figure:
                return name
        raise LowrankError(f"no study of the run shows {figure} of model {model.name}")

    def scoring(self, benchmark: str) -> dict[str, Any]:
        """Return what of a benchmark's entry shapes a score."""
        entry = self.benchmarks[benchmark]
        return {key: entry[key] for key in SCORERS[entry["scorer"]][1]}

    def _model(self, name: str) -> Model:
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

    def shapes(self, name: str) -> dict[str, Any]:
        """Return name, label and Hugging Face configuration of a model that is only counted.

        Found in `models/`, or in `architectures/` for what no run loads.
        """
        kind = "model" if (self.folder / "models" / f"{name}.yaml").is_file() else "architecture"
        path = self._entry(kind, name)
        entry = self._checked(kind, read_yaml(path), str(path))
        return {"name": name, "label": entry["label"], "architecture": entry["architecture"]}

    def benchmark(self, name: str) -> dict[str, Any]:
        """Return any benchmark of the registry, whether the run uses it or not."""
        path = self._entry("benchmark", name)
        return self._checked("benchmark", read_yaml(path), str(path)) | {"name": name}

    def benchmark_row(self, name: str) -> dict[str, Any]:
        """Return what Table 4.1 needs of a benchmark: its entry, and what the run asks of it."""
        entry = self.benchmark(name)
        kept = ("name", "label", "task", "tasks", "headline_task", "metric", "subsets")
        splits = [source["split"] for source in entry["sources"] if "split" in source]
        used = name in self.benchmarks
        # A benchmark that lm-eval does not have goes by its scorer.
        entry.setdefault("tasks", [entry["scorer"]])
        return {key: entry[key] for key in kept} | {
            "splits": list(entry["splits"].items()),  # a list, to keep its order as JSON
            "split": splits[0] if splits else "–",
            "used": used,
            "limit": self.settings["benchmarks"][name]["limit"] if used else None,
        }

    def configurations(self, study: str, model: Model) -> list[Configuration]:
        """Return a study's configurations for a model, in the study's order.

        Raises
        ------
        LowrankError
            If one is not valid for the model.
        """
        if (study, model.name) not in self._configurations:
            entry = self._studies[study] if study in self._studies else self._study(study)
            place = self._entry("study", study)
            self._configurations[study, model.name] = expand_study(entry, model, str(place))
        return self._configurations[study, model.name]

    @property
    def figures(self) -> list[str]:
        """The figures that the run's studies draw."""
        return [study["figure"] for study in self._studies.values() if study["figure"]]

    def study(self, name: str) -> dict[str, Any]:
        """Return a study of the run, with its defaults."""
        return self._studies[name]

    def benchmark_label(self, name: str) -> str:
        """Return the name that figures print; it says so where generated text is cut short."""
        cap = self.settings["benchmarks"][name]["max_new_tokens"]
        label = self.benchmarks[name]["label"]
        return label if cap is None else f"{label}, {cap} tokens at most"

    def study_benchmarks(self, study: str, model: Model) -> list[str]:
        """Return the benchmarks that a study asks of a model, in the run's order."""
        return [name for name in self.benchmarks if self._is_asked(name, study, model)]

    def _is_asked(self, benchmark: str, study: str, model: Model) -> bool:
        listed = self._studies[study]["benchmarks"]
        return _scores(self._asked[benchmark], model) and (listed is None or benchmark in listed)

    def is_carried_over(self, study: str, model: Model) -> bool:
        """Return whether a study's layer lists were written for another number of layers."""
        return self._studies[study]["depth"] not in (None, model.architecture.layers)

    def describe(self, study: str, model: Model) -> str:
        """Return what a caption says of a study: title, and how many benchmarks of the run's."""
        named = [name for name in self._asked if self._is_asked(name, study, model)]
        used = self.study_benchmarks(study, model)
        count = (
            f"{len(used)} of {len(named)} benchmarks"
            if len(named) > 1
            else self._asked[named[0]]["label"]
        )
        return f"{self._studies[study]['title']}; {count}"

    def decompositions(self, model: Model) -> dict[str, Decomposition]:
        """Return every γ that a model's studies ask for, by name, each once; dense first."""
        return self._decompositions(model.name)

    def decomposition(self, model: Model, name: str) -> Decomposition:
        """Return the γ of a name: one of the model's studies, or any that its name spells out.

        Raises
        ------
        LowrankError
            If the name is not canonical, or holds the digest of ranks that no study asks for.
        """
        known = self._decompositions(model.name)
        return known[name] if name in known else Decomposition.from_name(model.architecture, name)

    def _all_decompositions(self, model_name: str) -> dict[str, Decomposition]:
        model = self.model(model_name)
        dense = Decomposition.make(model.architecture, [])
        every = [dense] + [
            configuration.decomposition
            for study in self.studies_of(model)
            for configuration in self.configurations(study, model)
        ]
        return {decomposition.name(model.architecture): decomposition for decomposition in every}

    def _largest_rank(self, model_name: str, method: str) -> int:
        architecture = self.model(model_name).architecture
        ranks = (
            made.rank.rank_of(architecture, layer, tensor)
            for made in self._decompositions(model_name).values()
            if made.method == method
            for layer in made.layers
            for tensor in made.tensors
        )
        return max(ranks, default=1)

    def evaluation_settings(self, benchmark: str) -> dict[str, Any]:
        """Return what shapes the evaluation of a benchmark, in a fixed order."""
        own = self.settings["benchmarks"][benchmark]
        return {
            "limit": own["limit"],
            "seed": self.settings["seed"],
            "sampling": self.settings["sampling"],
            "dtype": self.settings["dtype"],
            "device": self.settings["device"],
            "scorer": self.settings["scorer"],
            "batch_size": own["batch_size"] or self.settings["batch_size"],
            "max_new_tokens": own["max_new_tokens"],
        }

    def asking_settings(self, benchmark: str) -> dict[str, Any]:
        """Return what shapes the questions that a benchmark asks, in a fixed order."""
        kept = ("limit", "seed", "sampling", "max_new_tokens")
        return {key: self.evaluation_settings(benchmark)[key] for key in kept}

    def claims(self) -> dict[str, Any]:
        """Return the claims of `claims.yaml`, each test spelled out and with its defaults.

        Raises
        ------
        LowrankError
            If the file does not fit its schema, or a test with `for` does not say what differs.
        """
        path = self.folder / "claims.yaml"
        claims = self._checked("claims", read_yaml(path), str(path))
        schema = read_yaml(self.folder / "schemas" / "claims.schema.yaml")
        parts = schema["$defs"]["test"]["properties"]
        defaults = {key: part["default"] for key, part in parts.items() if "default" in part}
        made = {}
        for name, claim in claims.items():
            tests = expand_tests(
                claim["tests"], lambda name: self.benchmark(name)["label"], f"{path}: {name}.tests"
            )
            spelled_out = [defaults | {"short": test["says"]} | test for test in tests]
            made[name] = {"untested": "", **claim, "tests": spelled_out}
        return made

    def judged_models(self) -> dict[str, Model]:
        """Return the model that judges the claims on each family: the run's first of it."""
        made: dict[str, Model] = {}
        for model in self.models.values():
            made.setdefault(model.architecture.family.name, model)
        return made

    def profiled_study(self, model: Model) -> str | None:
        """Return the study whose configurations are measured on a model, if any is."""
        study = self.settings["profile"]["study"]
        is_causal = model.architecture.task == "causal"
        return study if is_causal and study in self.studies_of(model) else None

    def profiled_benchmarks(self, model: Model) -> list[str]:
        """Return the benchmarks whose real requests are measured: those of lm-eval."""
        wanted = self.settings["profile"]["benchmarks"]
        return [
            name
            for name, entry in self.benchmarks.items()
            if entry["scorer"] == "lm_eval"
            and _scores(entry, model)
            and (wanted is None or name in wanted)
        ]

    def profile_settings(self) -> dict[str, Any]:
        """Return what shapes a measurement."""
        kept = (
            "workloads",
            "rows",
            "batch",
            "largest_batch",
            "trials",
            "seconds",
            "warm_up",
            "gpus",
        )
        own = {key: self.settings["profile"][key] for key in kept}
        return own | {key: self.settings[key] for key in ("dtype", "device", "seed")}

    def _benchmark(self, name: str) -> dict[str, Any]:
        entry = self.benchmark(name)
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

    def _study(self, name: str) -> dict[str, Any]:
        path = self._entry("study", name)
        entry = self._checked("study", read_yaml(path), str(path))
        for benchmark in entry["benchmarks"] or []:
            self._entry("benchmark", benchmark)
        families = [family.name for family in FAMILIES.values()]
        if entry["family"] not in (None, *families):
            raise LowrankError(
                f"{path}: family: unknown family {entry['family']!r}"
                f"{suggestion(entry['family'], dict.fromkeys(families))}"
            )
        return with_rank_files(entry, self._ranks)

    def _ranks(self, file: str) -> Ranks:
        path = self.folder / file
        return self._checked("ranks", read_yaml(path), str(path))

    def _entry(self, kind: str, name: str) -> Path:
        plural = "studies" if kind == "study" else f"{kind}s"
        path = self.folder / plural / f"{name}.yaml"
        if not path.is_file():
            known = sorted(file.stem for file in (self.folder / plural).glob("*.yaml"))
            raise LowrankError(f"config: {plural}: {path} does not exist{suggestion(name, known)}")
        return path

    def _read_schema(self, name: str) -> Any:
        return read_yaml(self.folder / "schemas" / f"{name}.schema.yaml")

    def _checked(
        self, schema_name: str, value: Any, where: str, path: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        return checked(self._schema(schema_name), value, where, path)


def _scores(benchmark: Mapping[str, Any], model: Model) -> bool:
    """Return whether a benchmark's scorer is for models of this task."""
    return SCORERS[benchmark["scorer"]][0] == model.architecture.task
