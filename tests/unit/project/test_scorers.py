"""The registry of scorers: each has what the workflow asks of it."""

import importlib

import pytest
from lowrank.base.errors import LowrankError
from lowrank.base.metric import METRICS
from lowrank.evaluate import baselines
from lowrank.project.benchmarks import checked_metric
from lowrank.project.registry import Registry
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


@pytest.mark.parametrize(
    ("benchmark", "metric", "said"),
    [
        ("perplexity_prose", {"averaging": "mean"}, "averaging: that of .* 'perplexity', not 'm"),
        ("perplexity_prose", {"direction": "higher"}, "direction: that of .* 'lower', not 'high"),
        ("humaneval_canonical", {"name": "bits_per_byte", "averaging": "perplexity"}, "averaging"),
        ("mrpc", {"averaging": "mean"}, "averaging: that of average_precision is 'average_p"),
        ("sst2", {"direction": "lower"}, "direction: that of acc is 'higher', not 'lower'"),
        ("squad", {"averaging": "perplexity"}, "averaging: that of f1 is 'mean', not 'perplex"),
        ("humaneval", {"direction": "lower"}, "direction: that of pass@1 is 'higher', not"),
        (
            "humaneval_sampled",
            {"name": "pass@7", "label": "Pass@7", "direction": "lower"},
            "direction: that of pass@7 is 'higher', not 'lower'",
        ),
    ],
)
def test_what_is_computed_here_is_described_as_it_is_computed(benchmark, metric, said):
    """The mean of the nats of tokens is no perplexity, whatever a figure calls it."""
    registry = Registry("config")
    entry = registry.entry("benchmark", benchmark)
    named = entry["metric"] if isinstance(entry["metric"], dict) else {"name": entry["metric"]}
    entry["metric"] = named | metric
    with pytest.raises(LowrankError, match=f"^metric.{said}"):
        checked_metric(entry, lambda name: registry.entry("text", name) | {"name": name})
