"""A ledger of all claims as a run on a small model leaves it, from made statistics."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from lowrank.base.files import read_json
from lowrank.claims.estimate import (
    COUNTED,
    QUESTIONS_LIKE_THESE,
    THESE_WORKLOADS,
    Estimate,
    NotTestable,
    Reading,
)
from lowrank.claims.evidence import Evidence
from lowrank.claims.ledger import judge_claims
from lowrank.claims.operators import OPERATORS
from lowrank.claims.scopes import Scope
from lowrank.project.registry import Registry
from scipy.stats import norm

ROOT = Path(__file__).parents[1]
LATER = ("fine_tuning", "lord", "reduced_order_modelling")
ESTIMATES = {  # value and standard error
    "loss": (25.0, 11.0),
    "contrast": (-4.2163, 1.4),
    "change_of_trend": (0.16, 0.15),
    "root_mean_square_contrast": (0.5, 3.0),
    "loss_beyond_contrast": (8.8, 3.0),
    "loss_above_smallest": (-9.5, 9.0),
    "efficiency_slope": (0.967, 0.02),
    "spread_over_workloads": (4.15, 1.3),
    "linearity": (0.991, 0.002),
    "design_space_exponent": (0.0, 0.0),
}
FIGURES = {"figure_4_1": ["figures/small/figure_4_1.pdf"]}
SUBJECT = {"model": "small", "label": "Small-1M", "device": "A CPU", "device_type": "cpu"}


def made_operator(name):
    value, error = ESTIMATES.get(name, (0.0, 1.0))

    def interval(confidence):
        reach = float(norm.ppf((1 + confidence) / 2) * error)
        return value - reach, value + reach

    def operator(evidence, **arguments):
        study = arguments.get("study", "table_4_2")
        if study in LATER:
            raise NotTestable(f"the study {study} is not part of this run")
        if arguments.get("metric") in ("energy", "power"):
            raise NotTestable("no meter")
        is_score = "metric" not in arguments and "model" not in arguments
        reading = QUESTIONS_LIKE_THESE if is_score else THESE_WORKLOADS
        return Estimate(
            value,
            (Reading(COUNTED if "model" in arguments else reading, interval),),
            questions=40 if is_score else None,
            evidence=(f"results/models/small/studies/{study}.csv",),
            flags=("busy",) if "metric" in arguments else (),
            at_chance=name in ("loss", "change_of_trend"),
        )

    return operator


def made_ledger(output):
    """Write and return a ledger that has every verdict: C1 is supported, C8 contradicted."""
    claims = Registry(ROOT / "config").claims()
    subjects = {"llama": SUBJECT, "none": dict.fromkeys(SUBJECT, "")}
    scope = Scope("run", "This run", dict.fromkeys(subjects, Evidence()), subjects)
    with mock.patch.dict(OPERATORS, {name: made_operator(name) for name in OPERATORS}):
        judge_claims(claims, [scope], FIGURES, output)
    return read_json(output)
