"""What the questions of lm-eval's tasks are worth: the headline metric, and those beside it.

A whole text has no right or wrong. Its value is its negative log-likelihood a word or a byte, and
its weight the number of them, from which `lowrank.base.metric.AVERAGINGS` make a perplexity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lm_eval.api.task import Task

from lowrank.base.errors import LowrankError
from lowrank.base.metric import Metric
from lowrank.base.names import CLUSTER
from lowrank.base.statistics import AVERAGES

RIGHT_CHOICES = ("acc", "acc_norm")
"""Metrics that are 1 where the right choice has the highest score, else 0."""


@dataclass(frozen=True)
class Quantity:
    """A number that each question has.

    Attributes
    ----------
    name
        What the tasks together are called.
    metric
        lm-eval's metric.
    weights
        What each task weighs in it. The tasks ask the same questions, and a question's value is the
        weighted mean over them. None where each question of each task counts by itself.
    in_clusters
        Whether the questions of one task are alike.
    """

    name: str
    metric: Metric
    weights: Mapping[str, float] | None = None
    in_clusters: bool = False


def quantities(benchmark: Mapping[str, Any]) -> tuple[Quantity, dict[str, Quantity]]:
    """Return what a benchmark's headline is, and by name what stands beside it.

    Parameters
    ----------
    benchmark
        Its entry: `name`, `metric`, `weights`, `beside` and `clusters`.
    """
    name, in_clusters = benchmark["name"], benchmark.get("clusters") == "task"
    weights = benchmark.get("weights") or None
    headline = Quantity(name, Metric.from_config(benchmark["metric"]), weights, in_clusters)
    beside = {}
    for called, entry in benchmark.get("beside", {}).items():
        task = entry.get("task")
        metric = Metric.from_config(entry["metric"])
        beside[called] = Quantity(task or name, metric, {task: 1} if task else None, in_clusters)
    return headline, beside


def question_scores(
    samples: Sequence[Mapping[str, Any]], quantity: Quantity, tasks: Mapping[str, Task]
) -> list[dict[str, Any]]:
    """Return a quantity of each question asked, with its companion and what a guess scores.

    The companion is the log-probability of the right choice, normalised over the choices: it
    moves with every question where right or wrong does not, which makes small samples say more.
    A graded metric that is itself such a probability (TruthfulQA's mc2) is taken as it is, and
    generated text has none.

    A guess has scores that say nothing about which choice is right: every order of them over the
    choices is as likely. It is right in one of n choices. On a metric of the choices'
    probabilities it scores the mean over their orders. Generated text has no guess.

    Parameters
    ----------
    samples
        lm-eval's, each with its `task`.
    quantity
        One of `quantities`.
    tasks
        lm-eval's tasks by name.

    Returns
    -------
    `task`, `question` (position within the task's data), `value`, `log_probability` and `chance`;
    the last two are None where there is none. `weight` where questions are whole texts. `cluster`
    where questions are in clusters.

    Raises
    ------
    LowrankError
        If tasks that are weighed together did not ask the same questions, or lm-eval's metric is
        not finite. The log-likelihoods are, by then: a probability that is normalised over the
        choices divides zero by zero where all of them underflow.
    """
    metric, weights = quantity.metric, quantity.weights
    found: dict[tuple[str, int], dict[str, tuple[float | None, ...]]] = {}
    for sample in samples:
        task = sample["task"]
        if weights is not None and task not in weights:
            continue
        if sample.get("filter", "none") == (metric.filter or "none"):
            key = (task if weights is None else quantity.name, sample["doc_id"])
            found.setdefault(key, {})[task] = (
                *_value(sample, metric),
                _log_probability(sample, metric.name, tasks[task]),
                _chance(sample, metric.name, tasks[task]),
            )
    made = []
    for (task, question), of_tasks in found.items():
        if weights is not None and set(of_tasks) != set(weights):
            raise LowrankError(f"{quantity.name}: its tasks did not ask the same questions")
        value, weight, companion, chance = (
            _weighted_mean(column, [1.0 if weights is None else weights[own] for own in of_tasks])
            for column in zip(*of_tasks.values(), strict=True)
        )
        made.append(
            {
                "task": task,
                "question": question,
                "value": value,
                "log_probability": companion,
                "chance": chance,
                **({} if weight is None else {"weight": weight}),
                **({CLUSTER: task} if quantity.in_clusters else {}),
            }
        )
    return made


def require_agreement(
    results: Mapping[str, Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    quantity: Quantity,
) -> None:
    """Check that lm-eval's own score is what the questions' values average to.

    Otherwise the samples, on which every comparison rests, would not be what was scored.

    Parameters
    ----------
    results
        lm-eval's, by task.
    scores
        What `question_scores` returns.
    quantity
        What they are scores of.

    Raises
    ------
    LowrankError
        If the two differ.
    """
    metric, weights = quantity.metric, quantity.weights
    key = f"{metric.name},{metric.filter or 'none'}"
    if metric.averaging != "mean":
        for task in dict.fromkeys(score["task"] for score in scores):
            own = [score for score in scores if score["task"] == task]
            _require_equal(results[task][key], _average(own, metric), quantity)
        return
    if weights is None:
        theirs = sum(results[score["task"]][key] for score in scores) / len(scores)
    else:
        theirs = sum(weight * results[task][key] for task, weight in weights.items())
        theirs /= sum(weights.values())
    ours = sum(score["value"] for score in scores) / len(scores)
    _require_equal(theirs, ours, quantity)


def _require_equal(theirs: float, ours: float, quantity: Quantity) -> None:
    if not abs(theirs - ours) <= 1e-9 * max(1.0, abs(ours)):
        raise LowrankError(f"{quantity.name}: lm-eval scores {theirs}, its samples give {ours}")


def _average(scores: Sequence[Mapping[str, Any]], metric: Metric) -> float:
    """Return what the questions of one task average to, where that is no plain mean."""
    average = AVERAGES[metric.averaging]
    values_Q1 = np.array([score["value"] for score in scores])[:, None]
    return float(
        average.scores(values_Q1, np.array([score[average.column] for score in scores]))[0]
    )


def _weighted_mean(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """Return the weighted mean; the value itself where there is one alone, to the last bit."""
    if None in values:
        return None
    if len(values) == 1:
        return values[0]
    pairs = zip(values, weights, strict=True)
    return sum(weight * value for value, weight in pairs) / sum(weights)


def _value(sample: Mapping[str, Any], metric: Metric) -> tuple[float, float | None]:
    """Return a question's value, and its weight where it is a text's likelihood."""
    found = sample[metric.name]
    if isinstance(found, (tuple, list)):  # the log-likelihood, and how many words or bytes
        if metric.averaging == "mean":
            raise LowrankError(
                f"{sample['task']}: lm-eval's {metric.name} is no number that each question has; "
                "choose another metric"
            )
        log_likelihood, count = found
        unit = math.log(2) if metric.name == "bits_per_byte" else 1.0
        return -float(log_likelihood) / unit / count, float(count)
    value = float(found)
    if not math.isfinite(value):
        raise LowrankError(
            f"{sample['task']}: question {sample['doc_id']}: lm-eval's {metric.name} is {value}: "
            "the probability of every choice is too small for a float; leave this configuration or "
            "this benchmark out"
        )
    if metric.averaging == "perplexity":  # of a continuation, whatever its length
        return -value, 1.0
    return value, None


def _log_probability(sample: Mapping[str, Any], metric: str, task: Task) -> float | None:
    if task.OUTPUT_TYPE != "multiple_choice":
        return None
    if task.config.process_results is not None:
        return math.log(max(float(sample[metric]), 1e-30))
    document = sample["doc"]
    # A task with several inputs (WinoGrande) names the right one in place of its text.
    right = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    if isinstance(right, str):
        right = task.doc_to_choice(document).index(right)
    scores = [float(response[0]) for response in sample["filtered_resps"]]
    highest = max(scores)
    return scores[right] - highest - math.log(sum(math.exp(score - highest) for score in scores))


def _chance(sample: Mapping[str, Any], metric: str, task: Task) -> float | None:
    if task.OUTPUT_TYPE != "multiple_choice":
        return None
    responses = list(sample["filtered_resps"])
    count = len(responses)
    if task.config.process_results is None:
        return 1 / count if metric in RIGHT_CHOICES else None
    # Rotations put each score on each choice once, which is all that a probability depends on.
    rotated = (responses[start:] + responses[:start] for start in range(count))
    values = (task.process_results(sample["doc"], order)[metric] for order in rotated)
    return float(sum(values)) / count
