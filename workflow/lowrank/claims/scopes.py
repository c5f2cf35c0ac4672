"""A scope: results that judge the claims, such as a run's, and what they hold for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lowrank.base.authors import read_published
from lowrank.base.evaluations import read_result
from lowrank.base.names import DENSE
from lowrank.claims.evidence import Evidence
from lowrank.claims.looks import Looks
from lowrank.claims.studies import AnsweredStudy, PublishedStudy, Study


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
    short
        The heading where there is little room; by default the title.
    looks
        The plan by which the questions were asked, if there is one.
    """

    name: str
    title: str
    evidence: Mapping[str, Evidence]
    subjects: Mapping[str, Mapping[str, str]]
    short: str = ""
    looks: Looks | None = None
    _at_looks: dict[tuple[str, int], Evidence] = field(default_factory=dict, compare=False)

    def at_look(self, kind: str, look: int) -> Evidence:
        """Return the results of a kind of test on the questions of one look, from 1, alone."""
        if self.looks is None:
            return self.evidence[kind]
        if (kind, look) not in self._at_looks:
            self._at_looks[kind, look] = self.evidence[kind].up_to(self.looks.at(look))
        return self._at_looks[kind, look]

    @property
    def holds_for(self) -> str:
        """The models and the devices, as text."""
        labels, devices = (
            " and ".join(dict.fromkeys(own[key] for own in self.subjects.values() if own[key]))
            for key in ("label", "device")
        )
        return f"{labels} on {devices}" if devices else labels


def load_scope(
    name: str,
    title: str,
    models: Mapping[str, Mapping[str, Any]],
    design_space: str | Path,
    short: str = "",
    looks: Mapping[str, Sequence[int]] | None = None,
) -> Scope:
    """Return a scope from the tables of its results.

    Parameters
    ----------
    name, title
        See `Scope`.
    models
        From a model's family to `model`, `label`, `device_type` (`cpu`, `cuda`), `benchmarks`
        (their labels), `studies` (from a study to its table, beside whose folder the evaluations
        are) and `profiles` (at most one table). Where others published the scores, there are no
        evaluations, and it has `published`: their folder (see `lowrank.base.authors`).
    design_space
        The table of the design-space sizes.
    short
        See `Scope`.
    looks
        From each benchmark to its questions at each planned look; None without a plan.

    Raises
    ------
    LowrankError
        If a study's table does not have the scores of its evaluations, or the plan is none.
    """
    evidence = {"none": Evidence(design_space=Path(design_space))}
    subjects = {"none": {"model": "", "label": "", "device": "", "device_type": ""}}
    for family, entry in models.items():
        profiles = [Path(path) for path in entry["profiles"]]
        published = entry.get("published")
        studies = _published(entry, published) if published else _answered(entry)
        evidence[family] = Evidence(studies, profiles[0] if profiles else None, entry["benchmarks"])
        subjects[family] = {
            **{key: entry[key] for key in ("model", "label", "device_type")},
            "device": _device(studies.values(), profiles),
        }
    plan = Looks({name: tuple(own) for name, own in looks.items()}) if looks else None
    return Scope(name, title, evidence, subjects, short, plan)


def _answered(entry: Mapping[str, Any]) -> dict[str, Study]:
    made: dict[str, Study] = {}
    for study, path in entry["studies"].items():
        made[study] = AnsweredStudy(Path(path), Path(path).parents[1] / "evaluations")
    return made


def _published(entry: Mapping[str, Any], folder: str) -> dict[str, Study]:
    """Return published studies, whose dense model may be scored by others than the rest."""
    published = read_published(folder)
    rows = published.accuracy[published.accuracy["configuration"] == DENSE]
    sources = rows.drop_duplicates("benchmark").set_index("benchmark")["source"]
    scorers = {
        benchmark: published.sources["dense"][source]["repository"]
        for benchmark, source in sources.items()
        if source in published.sources["dense"]
    }
    return {study: PublishedStudy(Path(path), scorers) for study, path in entry["studies"].items()}


def _device(studies: Iterable[Study], profiles: Iterable[Path]) -> str:
    """Return what results were made on: the evaluations, or the measurements where there are none.

    Of the evaluations the dense model's count. The measurements of a run name their own device
    where they are judged.
    """
    folders = {study.folder for study in studies if isinstance(study, AnsweredStudy)}
    results = [read_result(folder, DENSE) for folder in sorted(folders)]
    devices = [str(result["provenance"]["device_name"]) for result in results]
    if not devices:
        devices = [name for path in profiles for name in pd.read_csv(path)["device"].dropna()]
    return " and ".join(dict.fromkeys(devices))
