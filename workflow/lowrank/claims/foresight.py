"""What a run can find before it is made: the smallest effect that each test can detect.

Shape suffixes: ``C`` configurations, ``S`` contrasts, ``R`` resamples.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lowrank.base.metric import Metric
from lowrank.base.names import DENSE
from lowrank.claims.evidence import Evidence
from lowrank.claims.looks import Looks, outlook
from lowrank.claims.studies import Study
from lowrank.claims.verdicts import measure
from lowrank.project.configuration import Project
from lowrank.project.studies import Model
from lowrank.project.views.claims import judged_models

DIFFERING = 0.3
"""Share of the questions that two configurations are taken to answer differently, beforehand."""

REPLICATES = 4000


class PlannedStudy(Study):
    """A study whose questions are planned and not asked: its scores are nothing but noise.

    Any two configurations answer the same share of questions differently, each for itself, and
    none is better.

    Parameters
    ----------
    name
        The study's name.
    rows
        Its configurations: `series`, `label`, `position`, `decomposition` and
        `parameter_reduction_percent`.
    metrics
        From each benchmark to its metric.
    questions
        How many questions of each benchmark are planned.
    differing
        The share of questions that two configurations answer differently.
    """

    def __init__(
        self,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        metrics: Mapping[str, Metric],
        questions: Mapping[str, int],
        differing: float = DIFFERING,
    ) -> None:
        self.path = Path(name)
        dense = {"series": "", "label": DENSE, "position": None, "decomposition": DENSE}
        every = [dense | {"parameter_reduction_percent": 0.0}, *rows]
        self.configurations = pd.DataFrame(every)
        self.metrics = dict(metrics)
        self.table = pd.DataFrame(
            own
            | {"benchmark": benchmark}
            | dict.fromkeys(("questions", "questions_available"), questions[benchmark])
            for benchmark in metrics
            for own in every
        )
        self._questions, self._differing = questions, differing

    def _contrasts(self, weights_CS: np.ndarray, benchmark: str) -> tuple[np.ndarray, np.ndarray]:
        names = self.configurations["decomposition"]
        kinds, kind_C = np.unique(names.to_numpy(dtype=str), return_inverse=True)
        rng = np.random.default_rng(zlib.crc32(benchmark.encode()))
        error = np.sqrt(self._differing / 2 / self._questions[benchmark])
        noise_RC = error * rng.standard_normal((REPLICATES, len(kinds)))[:, kind_C]
        return np.zeros((1, weights_CS.shape[1])), noise_RC @ weights_CS


@dataclass(frozen=True)
class Smallest:
    """The smallest effect that a test can detect.

    Attributes
    ----------
    claim, says, unit
        The test, and the unit of its number.
    questions
        How many questions it has at the last look.
    detects
        The distance from the edge of its range that it finds with a probability of 0.8.
    """

    claim: str
    says: str
    unit: str
    questions: int
    detects: float


def planned_effects(project: Project, looks: Looks) -> list[Smallest]:
    """Return what each test of a run can detect at the last look of a plan.

    Parameters
    ----------
    project
        The run.
    looks
        The plan of its questions.
    """
    models = judged_models(project)
    evidence = {
        kind: Evidence(
            {study: _planned(project, study, model, looks) for study in project.studies_of(model)}
        )
        for kind, model in models.items()
    }
    named = {kind: model.name for kind, model in models.items()}
    return smallest_effects(project.registry.claims(), evidence, named, looks)


def _planned(project: Project, study: str, model: Model, looks: Looks) -> PlannedStudy:
    rows = [
        {
            "series": row.series,
            "label": row.label,
            "position": row.position,
            "decomposition": row.decomposition.name(model.architecture),
            "parameter_reduction_percent": row.decomposition.parameter_reduction(
                model.architecture
            ),
        }
        for row in project.configurations(study, model)
    ]
    metrics = {b: project.benchmarks[b]["metric"] for b in project.study_benchmarks(study, model)}
    return PlannedStudy(study, rows, metrics, looks.at(looks.count))


def smallest_effects(
    claims: Mapping[str, Mapping[str, Any]],
    evidence: Mapping[str, Evidence],
    models: Mapping[str, str],
    looks: Looks,
) -> list[Smallest]:
    """Return what each test of scores can detect at the last look of a plan.

    Parameters
    ----------
    claims
        The content of `config/claims.yaml`, checked.
    evidence
        From a kind of test to planned studies.
    models
        From a kind of test to the name of its model.
    looks
        The plan.
    """
    made = []
    for name, claim in claims.items():
        for test in claim["tests"]:
            kind = test["kind"]
            if kind not in models or (test["models"] and models[kind] not in test["models"]):
                continue
            found = measure(test, evidence[kind])
            if isinstance(found, str) or not found.benchmarks:
                continue
            if not set(found.benchmarks) <= set(looks.numbers):
                continue
            fractions = looks.fractions(found.benchmarks)
            ahead = outlook(found, test["range"], fractions, looks.count)
            questions = looks.questions(found.benchmarks)[-1]
            made.append(Smallest(name, test["says"], test["unit"], questions, ahead.detects))
    return made
