"""The registries of a `config` folder: YAML files, each read once and checked by its schema."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError, suggestion
from lowrank.base.files import read_yaml
from lowrank.project.claims import expand_tests
from lowrank.project.names import LONGEST, require_name
from lowrank.project.schema import checked, filled_in
from lowrank.space.rank_rule import Ranks

FOLDERS = {
    "model": "models",
    "architecture": "architectures",
    "benchmark": "benchmarks",
    "study": "studies",
    "text": "texts",
    "calibration": "calibration",
    "recovery": "recoveries",
    "quantization": "quantizations",
}
"""From a kind of entry, which is its schema's name, to the folder of its files."""

WORDS_OF_STUDY = ("title", "source", "look_for", "figure", "shown_as", "published", "costs")
WORDS_OF_STUDY += ("losses", "sizes", "interactions")
"""Keys of a study that do not shape its configurations."""


class Registry:
    """The entries of a `config` folder.

    Parameters
    ----------
    folder
        The folder that holds a folder a kind, `schemas/` and `claims.yaml`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        # Rules ask for these once a job.
        self._entry = functools.cache(self._read_entry)
        self._schema = functools.cache(self._read_schema)

    def names(self, kind: str) -> list[str]:
        """Return the names of all entries of a kind, sorted."""
        return sorted(file.stem for file in (self.folder / FOLDERS[kind]).glob("*.yaml"))

    def kind_of(self, step: str) -> str:
        """Return what is done to a model after it is cut: a `recovery` or a `quantization`.

        Raises
        ------
        LowrankError
            If there is none of this name.
        """
        if self.holds("quantization", step):
            return "quantization"
        self.path("recovery", step)
        return "recovery"

    def ends_in(self, kind: str, steps: Sequence[str]) -> bool:
        """Return whether the last thing done to a cut model, if any was, is of this kind."""
        return bool(steps) and self.kind_of(steps[-1]) == kind

    def holds(self, kind: str, name: str) -> bool:
        """Return whether there is an entry of this name."""
        path = self.folder / FOLDERS[kind] / f"{name}.yaml"
        return len(name) <= LONGEST and path.is_file()

    def path(self, kind: str, name: str) -> Path:
        """Return the file of an entry.

        Raises
        ------
        LowrankError
            If there is none, or its name is none.
        """
        folder = FOLDERS[kind]
        path = self.folder / folder / f"{name}.yaml"
        if len(name) <= LONGEST and not path.is_file():
            known = suggestion(name, self.names(kind))
            raise LowrankError(f"config: {folder}: {path} does not exist{known}")
        require_name(kind, name, path)
        return path

    def entry(self, kind: str, name: str) -> dict[str, Any]:
        """Return an entry, with the defaults of its schema.

        Raises
        ------
        LowrankError
            If there is none, or if it does not fit its schema.
        """
        return dict(self._entry(kind, name))

    def claims(self) -> dict[str, Any]:
        """Return the claims of `claims.yaml`, each test spelled out and with its defaults.

        Each has a `digest` of what its verdict rests on beside the results: its tests, what it
        speaks of, and the configurations of the studies that it names.

        Raises
        ------
        LowrankError
            If the file does not fit its schema, or a test with `for` does not say what differs.
        """
        path = self.folder / "claims.yaml"
        claims = self.checked("claims", read_yaml(path), str(path))
        test_schema = self._schema("claims")["$defs"]["test"]
        made = {}
        for name, claim in claims.items():
            tests = expand_tests(claim["tests"], self._benchmark_label, f"{path}: {name}.tests")
            spelled_out = [
                filled_in(test_schema, {"short": test["says"], **test}) for test in tests
            ]
            own = {"untested": "", **claim, "tests": spelled_out}
            made[name] = {**own, "digest": self._digest(own)}
        return made

    def ranks(self, file: str) -> Ranks:
        """Return the ranks of a file, whose name is relative to the folder.

        Raises
        ------
        LowrankError
            If it is not there, or if it does not fit its schema.
        """
        path = self.folder / file
        return self.checked("ranks", read_yaml(path), str(path))

    def influence(self, model: str) -> dict[int, float]:
        """Return the block influence of a model's layers, counted from 1; empty without a file.

        Raises
        ------
        LowrankError
            If the file does not fit its schema.
        """
        path = self.influence_path(model)
        if not path.is_file():
            return {}
        found = self.checked("influence", read_yaml(path), str(path))["influence"]
        return {int(layer): value for layer, value in found.items()}

    def influence_path(self, model: str) -> Path:
        """Return where the block influence of a model's layers is, if it is there."""
        return self.folder / "influence" / f"{model}.yaml"

    def checked(self, schema: str, value: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return a value with the defaults of its schema.

        Parameters
        ----------
        schema
            A file of `schemas/`, without its ending.
        value
            What to check.
        where
            What messages call it.

        Raises
        ------
        LowrankError
            On the first thing that does not fit; the message has `where` and the key.
        """
        return checked(self._schema(schema), value, where)

    def _digest(self, claim: Mapping[str, Any]) -> str:
        """Return the digest of a claim; words about it and about its studies are not part of it.

        Nor are defaults: a setting that did not exist before changes no digest where it is not set.
        """
        studies = {test["arguments"].get("study") for test in claim["tests"]}
        test_schema, study_schema = self._schema("claims")["$defs"]["test"], self._schema("study")
        rests_on = {
            "speaks_of": claim["speaks_of"],
            "tests": [_chosen(test_schema, test, ["short"]) for test in claim["tests"]],
            "studies": {
                name: _chosen(study_schema, self.entry("study", name), WORDS_OF_STUDY)
                for name in studies
                if name and self.holds("study", name)
            },
        }
        return hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()

    def _benchmark_label(self, name: str) -> str:
        return self.entry("benchmark", name)["label"]

    def _read_entry(self, kind: str, name: str) -> dict[str, Any]:
        path = self.path(kind, name)
        return self.checked(kind, read_yaml(path), str(path))

    def _read_schema(self, name: str) -> Any:
        return read_yaml(self.folder / "schemas" / f"{name}.schema.yaml")


def _chosen(
    schema: Mapping[str, Any], entry: Mapping[str, Any], words: Collection[str]
) -> dict[str, Any]:
    """Return what an entry says otherwise than its schema's defaults, without some keys."""
    parts = schema["properties"]
    return {
        key: value
        for key, value in entry.items()
        if key not in words
        and not ("default" in parts.get(key, {}) and parts[key]["default"] == value)
    }
