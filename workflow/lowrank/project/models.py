"""The models of a run: entries of the registry, and directories of this machine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from lowrank.assets import local_model
from lowrank.assets.sources import expanded
from lowrank.base.errors import LowrankError
from lowrank.project.names import LONGEST, require_name
from lowrank.project.registry import Registry
from lowrank.project.studies import Model, order_by_influence
from lowrank.space.architecture import Architecture


class Models:
    """Models by name.

    Parameters
    ----------
    registry
        The registries, which have the entries.
    named
        What the run names, in its order: entries, directories, or directories with names of their
        own.
    results
        The folder of results, in which checksums are remembered.

    Attributes
    ----------
    names
        Names of the run's models, in its order.

    Raises
    ------
    LowrankError
        If two models have one name.
    """

    def __init__(
        self, registry: Registry, named: Iterable[str | Mapping[str, str]], results: str | Path
    ) -> None:
        self.registry = registry
        self._results = Path(results)
        self._given: dict[str, Mapping[str, str]] = {}
        self.names: list[str] = []
        for given in named:
            own = {"path": given} if isinstance(given, str) else given
            if isinstance(given, str) and not local_model.is_directory(given):
                self._add(given)
                continue
            name = own.get("name") or local_model.name_of(own["path"])
            require_name("model", name, f"config: models: {own['path']}")
            if registry.holds("model", name):
                raise LowrankError(
                    f"config: models: {own['path']} would be called {name}, as "
                    f"{registry.path('model', name)} is: {_rename(own['path'])}"
                )
            self._add(name, own)

    @property
    def directories(self) -> dict[str, str]:
        """Return the directories of the run's models that are in one, by name."""
        return {name: str(expanded(own["path"])) for name, own in self._given.items()}

    def _add(self, name: str, own: Mapping[str, str] | None = None) -> None:
        if name in self.names:
            where = f"{own['path']} " if own else ""
            fix = _rename(own["path"]) if own else "leave one out"
            raise LowrankError(f"config: models: {where}two models are called {name}: {fix}")
        self.names.append(name)
        if own:
            self._given[name] = own

    def require(self, name: str) -> None:
        """Check that there is a model of this name.

        Raises
        ------
        LowrankError
            If there is none.
        """
        if name not in self._given:
            self.registry.path("model", name)

    def model(self, name: str) -> Model:
        """Return a model: a directory of the run, or any of the registry.

        Raises
        ------
        LowrankError
            If there is none, or it is not as it should be.
        """
        if name in self._given:
            return self._of_directory(name, self._given[name])
        if (
            0 < len(name) <= LONGEST
            and Path(name).is_dir()
            and not self.registry.holds("model", name)
        ):
            raise LowrankError(f"config: models: {name} is no entry; the directory is ./{name}")
        path = self.registry.path("model", name)
        entry = self.registry.entry("model", name)
        try:
            architecture = Architecture.from_config(entry["architecture"])
        except LowrankError as error:
            raise LowrankError(f"{path}: {error}") from None
        if entry["task"] != architecture.task:
            raise LowrankError(
                f"{path}: task: {entry['task']!r} does not fit the architecture: "
                f"{architecture.task!r} does"
            )
        order = self._by_influence(name, architecture)
        return Model(name, entry["label"], entry["sources"], architecture, order)

    def _of_directory(self, name: str, own: Mapping[str, str]) -> Model:
        memory = self._results / "models" / name / "checksums.json"
        config, source = local_model.read_local_model(name, own["path"], memory)
        try:
            architecture = Architecture.from_config(config)
        except LowrankError as error:
            raise LowrankError(f"config: models: {own['path']}: its config.json: {error}") from None
        label = own.get("label") or expanded(own["path"]).name
        order = self._by_influence(name, architecture)
        return Model(name, label, [dict(source)], architecture, order)

    def _by_influence(self, name: str, architecture: Architecture) -> tuple[int, ...]:
        influence = self.registry.influence(name)
        try:
            return tuple(order_by_influence(influence, architecture))
        except LowrankError as error:
            raise LowrankError(f"{self.registry.influence_path(name)}: {error}") from None

    def as_variable(self) -> str:
        """Return where the directories are, as a job's environment has it."""
        return json.dumps(self.directories, sort_keys=True)


def _rename(path: str) -> str:
    return f"give it another name (models: [{{path: {path}, name: …}}])"
