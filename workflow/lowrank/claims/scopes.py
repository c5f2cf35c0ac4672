"""A scope: results that judge the claims, such as a run's, and what they hold for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowrank.base.files import read_json
from lowrank.base.names import DENSE
from lowrank.claims.evidence import Evidence
from lowrank.claims.studies import AnsweredStudy, PublishedStudy


@dataclass(frozen=True)
class Scope:
    """Results that judge the claims. Every claim has one verdict a scope.

    Attributes
    ----------
    name
        Its key in the ledger.
    title
        The heading of its column.
    evidence
        From a kind of test (`llama`, `bert`, `none`) to the results that judge it.
    subjects
        From the same kinds to what the results are of: `model` (its key), `label`, `device` and
        `device_type` (`cpu`, `cuda`).
    """

    name: str
    title: str
    evidence: Mapping[str, Evidence]
    subjects: Mapping[str, Mapping[str, str]]

    @property
    def holds_for(self) -> str:
        """The models and the devices, as text."""
        labels, devices = (
            " and ".join(dict.fromkeys(own[key] for own in self.subjects.values() if own[key]))
            for key in ("label", "device")
        )
        return f"{labels} on {devices}" if devices else labels


def load_scope(
    name: str, title: str, models: Mapping[str, Mapping[str, Any]], design_space: str | Path
) -> Scope:
    """Return a scope from the tables of its results.

    Parameters
    ----------
    name, title
        See `Scope`.
    models
        From a model's family to `model`, `label`, `device_type` (`cpu`, `cuda`), `benchmarks`
        (their labels), `studies` (from a study to its table, beside whose folder the evaluations
        are) and `profiles` (at most one table). Where there are no evaluations since others
        published the scores, it has the `device` of them.
    design_space
        The table of the design-space sizes.

    Raises
    ------
    LowrankError
        If a study's table does not have the scores of its evaluations.
    """
    evidence = {"none": Evidence(design_space=Path(design_space))}
    subjects = {"none": {"model": "", "label": "", "device": "", "device_type": ""}}
    for family, entry in models.items():
        studies, devices = {}, []
        for study, path in entry["studies"].items():
            if "device" in entry:
                studies[study] = PublishedStudy(Path(path))
                continue
            folder = Path(path).parents[1] / "evaluations"
            studies[study] = AnsweredStudy(Path(path), folder)
            devices += sorted((folder / DENSE).glob("*.json"))[:1]
        profiles = [Path(path) for path in entry["profiles"]]
        evidence[family] = Evidence(studies, profiles[0] if profiles else None, entry["benchmarks"])
        subjects[family] = {
            **{key: entry[key] for key in ("model", "label", "device_type")},
            "device": entry.get("device")
            or (read_json(devices[0])["provenance"]["device_name"] if devices else ""),
        }
    return Scope(name, title, evidence, subjects)
