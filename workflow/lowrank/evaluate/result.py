"""The result of an evaluation: what answers are worth, and the three files that say so.

Causal models and encoders make their answers in their own ways; here they become one format, with
all benchmarks of a configuration in one file. The samples hold every answer, the scores what each
question is worth, which is what pairs configurations question by question, and the result the
scores with where they come from. Equal answers make equal bytes.
"""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path, sha256_file, write_json
from lowrank.base.metric import Metric
from lowrank.base.names import CLUSTER
from lowrank.base.provenance import provenance
from lowrank.base.statistics import AVERAGES, mean_interval, standard_error

SCORE_COLUMNS = ("benchmark", "task", "question", "value", "log_probability")
"""Columns that every table of scores has, in their order."""

QUESTION_KEYS = frozenset({"doc", "arguments", "target"})
"""Keys of a sample that hold what was asked."""

UNWRITTEN_KEYS = frozenset({"doc", "arguments", "resps", "embedding"})
"""Keys of a sample that its file leaves out: the files of requests have the questions, and the
store of answers what is large."""


@dataclass(frozen=True)
class Answers:
    """What one configuration answered to a benchmark's questions; every number in it is finite.

    Attributes
    ----------
    samples
        One mapping an answer, in the order of the file: `task`, `doc_id` (the question's position
        within the task's data), and what else there is to say.
    scores
        One mapping a question of the headline metric: `task`, `question` (its position), `value`;
        `log_probability`, the continuous companion, if the scorer has it (None where a question
        has not); `chance`, what a guess scores (likewise); the column that the metric's averaging
        takes beside the values, `label` or `weight`; `cluster`, if some questions share something,
        which names what; and `place`, which a question has in the order of asking.
    available
        How many questions the benchmark has.
    questions_sha256
        Checksum of the file of the benchmark's questions.
    dtype
        What the model computed in.
    beside
        What else the answers are worth: from its name to the metric and the scores of questions.

    Raises
    ------
    LowrankError
        If a number is not finite, or no question has the metric.
    """

    samples: Sequence[Mapping[str, Any]]
    scores: Sequence[Mapping[str, Any]]
    available: int
    questions_sha256: str
    dtype: str
    beside: Mapping[str, tuple[Metric, Sequence[Mapping[str, Any]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        of_each = [self.scores, *(scores for _, scores in self.beside.values())]
        if not all(of_each):
            raise LowrankError(
                "none of the answers has the benchmark's `metric`, or one `beside` it: is it the "
                "task's?"
            )
        for answer, question in (
            *((sample, sample["doc_id"]) for sample in self.samples),
            *((score, score["question"]) for scores in of_each for score in scores),
        ):
            found = {key: value for key, value in answer.items() if key not in QUESTION_KEYS}
            if not all(math.isfinite(number) for number in _numbers(found)):
                raise LowrankError(
                    f"{answer['task']}: the answer to question {question} is not a finite number "
                    f"in {self.dtype}; set a wider `dtype`"
                )


def make_score(scores: Sequence[Mapping[str, Any]], metric: Metric) -> dict[str, Any]:
    """Return the one score that the scores of questions average to.

    Parameters
    ----------
    scores
        As in `Answers`.
    metric
        What the values are, and how they average.

    Returns
    -------
    `value`, `standard_error`, `interval_95`, `questions`, `metric`, and where the questions have
    them the means of the companion, `log_probability` (natural logarithm), and of `chance`; None
    if one has none. Where they have clusters, `clusters` is their number.

    Raises
    ------
    LowrankError
        If a question lacks the column that the averaging takes, or the score is not finite.
    """
    values = [score["value"] for score in scores]
    count = len(values)
    clusters = np.array([score[CLUSTER] for score in scores]) if CLUSTER in scores[0] else None
    if metric.averaging == "mean":
        value = sum(values) / count
        error, interval = standard_error(values, clusters), mean_interval(values, clusters)
    else:
        average, values_Q1 = AVERAGES[metric.averaging], np.array(values)[:, None]
        if not all(average.column in score for score in scores):
            raise LowrankError(
                f"{metric} is averaged by {metric.averaging}, but its questions have no "
                f"{average.column}"
            )
        others_Q = np.array([score[average.column] for score in scores])
        replicates_R = average.replicates(values_Q1, others_Q, 0, clusters)[:, 0]
        value = average.scores(values_Q1, others_Q)[0]
        error, interval = np.std(replicates_R, ddof=1), np.percentile(replicates_R, [2.5, 97.5])
    made = {
        "value": float(value),
        "standard_error": float(error),
        "interval_95": [float(bound) for bound in interval],
        "questions": count,
        "metric": str(metric),
    }
    if clusters is not None:
        made["clusters"] = len(np.unique(clusters))
    for name in ("log_probability", "chance"):
        if all(name in score for score in scores):
            column = [score[name] for score in scores]
            made[name] = None if None in column else sum(column) / count
    if not all(math.isfinite(number) for number in _numbers(made)):
        raise LowrankError(f"{metric}: the score, or its interval, is too large for a number")
    return made


@dataclass(frozen=True)
class Scored:
    """A benchmark with its answers.

    Attributes
    ----------
    benchmark
        Its entry: `name`, `metric`.
    settings
        What shaped its evaluation.
    answers
        What was answered.
    details
        What else the result says of it.
    """

    benchmark: Mapping[str, Any]
    settings: Mapping[str, Any]
    answers: Answers
    details: Mapping[str, Any]


def write_results(
    output: str | Path,
    samples_output: str | Path,
    scores_output: str | Path,
    scored: Sequence[Scored],
    manifest: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Write the results of a configuration, its samples and its scores.

    Parameters
    ----------
    output
        The result (JSON): what was evaluated, `settings`, `provenance`, and `benchmarks`, from each
        to its `score`, the scores `beside` it by name, `questions` and `settings`.
    samples_output
        The samples, one a line (JSON Lines), each with its `benchmark`.
    scores_output
        The scores of questions, a table (CSV).
    scored
        The benchmarks.
    manifest
        That of the compressed model.
    settings
        What shaped all of them: `device`, `seed` and more.
    """
    with atomic_path(samples_output) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for own in scored:
            for sample in own.answers.samples:
                kept = {key: sample[key] for key in sample if key not in UNWRITTEN_KEYS}
                line = {"benchmark": own.benchmark["name"]} | kept
                file.write(json.dumps(line, default=str) + "\n")
    rows = [
        {"benchmark": own.benchmark["name"]} | score
        for own in scored
        for score in own.answers.scores
    ]
    columns = dict.fromkeys([*SCORE_COLUMNS, *(name for row in rows for name in row)])
    with atomic_path(scores_output) as temporary:
        pd.DataFrame(rows, columns=list(columns)).to_csv(temporary, index=False)
    result = {
        "model": manifest["model"],
        "decomposition": manifest["decomposition"]["name"],
        "parameter_reduction_percent": manifest["parameter_reduction_percent"],
        "settings": dict(settings),
        "benchmarks": {own.benchmark["name"]: _of_benchmark(own) for own in scored},
        "samples_sha256": sha256_file(samples_output),
        "scores_sha256": sha256_file(scores_output),
        "provenance": provenance(
            settings["device"],
            base_files=manifest["base"],
            factors_sha256=manifest["factors_sha256"],
            seed=settings["seed"],
            torch_threads=torch.get_num_threads(),
        ),
    }
    write_json(output, _plain(result))


def _of_benchmark(own: Scored) -> dict[str, Any]:
    """Return what the result says of one benchmark."""
    answers = own.answers
    score = make_score(answers.scores, Metric.from_config(own.benchmark["metric"]))
    return {
        "score": score,
        "beside": {name: make_score(*reversed(found)) for name, found in answers.beside.items()},
        "questions": {"asked": score["questions"], "available": answers.available},
        "questions_sha256": answers.questions_sha256,
        "settings": dict(own.settings),
        **own.details,
    }


def _numbers(value: Any) -> Iterator[float]:
    """Yield every number within mappings and lists."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, numbers.Real):
        yield float(value)


def _plain(value: Any) -> Any:
    """Return `value` with what JSON lacks (NaN, tuples, foreign objects) made plain."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
