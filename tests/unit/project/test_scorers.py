"""The registry of scorers: each has what the workflow asks of it."""

import importlib

import pytest
from lowrank.base.metric import METRICS
from lowrank.evaluate import baselines
from lowrank.project.scorers import BASELINES, SCORERS
from lowrank.space.families.registry import FAMILIES


def test_scorers_are_for_tasks_that_models_have():
    tasks = {task for family in FAMILIES.values() for task, _ in family.classes.values()}
    assert {scorer.task for scorer in SCORERS.values()} <= {"causal", *tasks}


def with_modules(is_causal):
    return [
        name
        for name, scorer in SCORERS.items()
        if scorer.metrics and (scorer.task == "causal") == is_causal
    ]


@pytest.mark.parametrize("name", with_modules(is_causal=True))
def test_a_module_of_metrics_has_what_causal_models_are_scored_by(name):
    module = importlib.import_module(SCORERS[name].metrics)
    assert callable(module.require) and callable(module.score)


@pytest.mark.parametrize("name", with_modules(is_causal=False))
def test_a_module_of_metrics_has_what_encoders_are_scored_by(name):
    module = importlib.import_module(SCORERS[name].metrics)
    assert module.METRICS and set(module.METRICS) <= set(METRICS)
    assert callable(module.answer_questions) and callable(module.question_scores)


def test_every_baseline_has_a_function():
    assert set(baselines.FUNCTIONS) == set(BASELINES)
