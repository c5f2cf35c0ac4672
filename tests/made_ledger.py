"""A ledger of all claims as a run on a small model leaves it, from made statistics."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from lowrank.base.files import read_json
from lowrank.claims.estimate import (
    COUNTED,
    QUESTIONS_LIKE_THESE,
    THESE_WORKLOADS,
    THIS_TEST_SET,
    Estimate,
    NotTestable,
    Reading,
)
from lowrank.claims.evidence import Evidence
from lowrank.claims.kept import load_kept
from lowrank.claims.ledger import judge_claims
from lowrank.claims.operators import OPERATORS
from lowrank.claims.scopes import Scope
from lowrank.project.registry import Registry
from scipy.stats import norm

ROOT = Path(__file__).parents[1]
LATER = ("fine_tuning", "lord_ranks", "quantization", "rom_budgets")
ESTIMATES = {  # value and standard error
    "loss": (25.0, 11.0),
    "smallest_contrast": (25.0, 11.0),
    "largest_contrast": (25.0, 11.0),
    "contrast": (-4.2163, 1.4),
    "change_of_trend": (0.16, 0.02),
    "mean_absolute_contrast": (0.5, 3.0),
    "loss_beyond_contrast": (8.8, 3.0),
    "loss_above_smallest": (-9.5, 9.0),
    "efficiency_slope": (0.967, 0.02),
    "spread_over_workloads": (4.15, 1.3),
    "linearity": (0.991, 0.002),
    "design_space_exponent": (0.0, 0.0),
}
OF_THE_AUTHORS = {  # of what claims speak of, on whole test sets
    "loss": (7.6, 0.9),
    "contrast": (-4.2163, 1.4),
    "smallest_contrast": (4.5, 0.9),
    "largest_contrast": (10.6, 0.9),
    "efficiency_slope": (0.649, 0.01),
}
FIGURES = {"figure_4_1": ["figures/small/figure_4_1.pdf"]}
SUBJECT = {"model": "small", "label": "Small-1M", "device": "A CPU", "device_type": "cpu"}
AUTHORS = {
    "model": "llama-2-7b-chat",
    "label": "Llama-2-7B-chat",
    "device": "4 × NVIDIA A100 80GB",
    "device_type": "cuda",
}
NO_RUN = "none is kept; `a --command` makes one"


def made_operator(name):
    def operator(evidence, **arguments):
        is_authors = evidence.design_space == Path("authors")
        estimates = ESTIMATES | (OF_THE_AUTHORS if is_authors else {})
        value, error = estimates.get(name, (0.0, 1.0))
        if name == "contrast" and arguments["benchmarks"] == ["truthfulqa"]:
            value = -value

        def interval(confidence):
            reach = float(norm.ppf((1 + confidence) / 2) * error)
            return value - reach, value + reach

        study = arguments.get("study", "table_4_2")
        if study in LATER or (is_authors and study != "table_4_2"):
            raise NotTestable(f"the study {study} is not part of these results")
        is_score = "metric" not in arguments and "model" not in arguments
        if arguments.get("metric") in ("energy", "power") and not is_authors:
            raise NotTestable("no meter")
        if "model" in arguments:
            readings = (Reading(COUNTED, interval),)
        elif not is_score:
            readings = (Reading(THESE_WORKLOADS, interval),)
        else:
            readings = (Reading(QUESTIONS_LIKE_THESE, interval),)
            if is_authors:
                readings = (Reading(THIS_TEST_SET, lambda confidence: (value, value)), *readings)
        folder = "authors" if is_authors else "models/small"
        return Estimate(
            value,
            readings,
            questions=40 if is_score else None,
            evidence=(f"results/{folder}/studies/{study}.csv",),
            flags=("one run each" if is_authors else "busy",) if not is_score else (),
            at_chance=name == "change_of_trend" or (name == "loss" and not is_authors),
        )

    return operator


def made_scopes():
    """Return the authors' data, a run on a small model, and the place of a run nobody made."""
    unnamed = dict.fromkeys(SUBJECT, "")
    own = {"llama": SUBJECT, "none": unnamed}
    theirs = {"llama": AUTHORS, "none": unnamed}
    of_authors = Evidence(design_space=Path("authors"))
    return [
        Scope("authors", "The authors' data", dict.fromkeys(theirs, of_authors), theirs, "authors"),
        Scope("run", "This run", dict.fromkeys(own, Evidence()), own, "this run"),
        load_kept("kept-paper", "The paper's scale", "paper scale", reason=NO_RUN),
    ]


def made_ledger(output):
    """Write and return a ledger of three scopes that has every verdict."""
    claims = Registry(ROOT / "config").claims()
    with mock.patch.dict(OPERATORS, {name: made_operator(name) for name in OPERATORS}):
        judge_claims(claims, made_scopes(), FIGURES, output)
    return read_json(output)
