"""Score an encoder on a benchmark that lm-eval does not have."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from lowrank.assets.choice import SUBSET, choose_questions, read_questions
from lowrank.base.errors import LowrankError, suggestion
from lowrank.base.files import sha256_file
from lowrank.base.metric import Metric
from lowrank.base.provenance import versions
from lowrank.decompose.loading import load_compressed, load_tokenizer
from lowrank.evaluate import job
from lowrank.evaluate.finite import NotFiniteError
from lowrank.evaluate.journal import AnswerJournal, journal_of
from lowrank.evaluate.result import Answers, make_score, write_result
from lowrank.project.scorers import SCORERS
from lowrank.space.architecture import Architecture
from lowrank.space.methods import METHODS

AUTO_BATCH_SIZE = 32
"""What `auto` means here: one size that fits wherever an encoder does."""

BATCHES_IN_PART = 16
"""Batches after which the samples so far are kept for a rerun."""


class MetricModule(Protocol):
    """What a module of `lowrank.evaluate.metrics` has.

    Attributes
    ----------
    METRICS
        The names of its metrics, all reported. The benchmark's entry names the headline; the
        others are known to `lowrank.base.metric.METRICS`.
    """

    METRICS: tuple[str, ...]

    def answer_questions(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        rows: Sequence[Mapping[str, Any]],
        options: Mapping[str, int],
        batch_size: int,
    ) -> list[dict[str, Any]]:
        """Return what the model answers to each question, as plain values.

        A `NotFiniteError` says at the first batch which row, by its place, has no answer.
        """

    def question_scores(
        self, answers: Sequence[Mapping[str, Any]], metric: str
    ) -> list[dict[str, Any]]:
        """Return what each answer is worth: `value`, and the column that the metric averages by.

        Where some questions share something, `cluster` names what.

        See `scores` of `lowrank.evaluate.result.Answers`.
        """


def prepare(
    base: str, compressed: str, questions: str, benchmark: Any, settings: Any, *_: Any
) -> None:
    """Load what every job of a model and benchmark needs (see `lowrank.running.warm_start`)."""
    _metrics(benchmark)
    job.prepare(base, compressed, questions, benchmark, settings)


def _metrics(benchmark: Mapping[str, Any]) -> MetricModule:
    return importlib.import_module(SCORERS[benchmark["scorer"]].metrics)


def evaluate(
    base: str | Path,
    compressed: str | Path,
    questions: str | Path,
    benchmark: Mapping[str, Any],
    settings: Mapping[str, Any],
    output: str | Path,
    samples_output: str | Path,
    scores_output: str | Path,
) -> None:
    """Evaluate one configuration on one benchmark and write the result.

    Parameters
    ----------
    base, compressed
        Directories of the base model and of the compressed one.
    questions
        The file of `lowrank.assets.questions.fetch_benchmark`.
    benchmark
        Its entry: `name`, `scorer`, `metric`, `beside`, `options`.
    settings
        `limit`, `seed`, `sampling`, `dtype`, `device`, `batch_size`.
    output
        The result (JSON), with the score of each of the scorer's metrics as `results`.
    samples_output
        One answer a line (JSON Lines).
    scores_output
        What each question is worth (CSV).

    Raises
    ------
    LowrankError
        If the model or the questions cannot be read, the benchmark is not for such a model, its
        scorer lacks its metric, or an answer is not finite.
    """
    scorer, metrics = SCORERS[benchmark["scorer"]], _metrics(benchmark)
    headline = Metric.from_config(benchmark["metric"])
    if headline.name not in metrics.METRICS:
        raise LowrankError(
            f"{benchmark['scorer']} has no metric {headline.name!r}"
            f"{suggestion(headline.name, metrics.METRICS)}"
        )
    model, manifest = load_compressed(base, compressed, settings["dtype"], settings["device"])
    task = Architecture.from_config(model.config.to_dict()).task
    if task != scorer.task:
        raise LowrankError(
            f"{benchmark['name']} is for {scorer.task} models; {manifest['model']} is {task}"
        )
    _require_declared_size(model, manifest)
    table = read_questions(questions)
    chosen = choose_questions(
        table[SUBSET].to_pylist(), settings["limit"], settings["seed"], settings["sampling"]
    )[""]
    rows = table.take(chosen).to_pylist()
    questions_sha256 = sha256_file(questions)
    journal = journal_of(
        output, manifest, benchmark, settings, torch.get_num_threads(), questions_sha256
    )
    tokenizer = load_tokenizer(base)
    try:
        answered = _answers(metrics, model, tokenizer, rows, benchmark, settings, journal)
    except NotFiniteError as error:
        journal.remove()  # a rerun would end at the same question
        question = chosen[error.asked]
        raise error.told_of(manifest, task=benchmark["name"], question=question) from None
    samples = [
        {"task": benchmark["name"], "doc_id": position} | answer
        for position, answer in zip(chosen, answered, strict=True)
    ]
    scores = {name: _scores(metrics, samples, name) for name in metrics.METRICS}
    beside = {
        name: (Metric.from_config(entry["metric"]), scores[entry["metric"]])
        for name, entry in benchmark.get("beside", {}).items()
    }
    answers = Answers(
        samples, scores[headline.name], len(table), questions_sha256, settings["dtype"], beside
    )
    results = {
        name: make_score(
            scores[name], headline if name == headline.name else Metric.from_config(name)
        )
        for name in metrics.METRICS
    }
    write_result(
        output,
        samples_output,
        scores_output,
        answers,
        manifest,
        benchmark,
        settings,
        journal,
        {"settings": {**settings, "options": benchmark["options"]}, "results": results},
        scorer_versions=versions(["scikit-learn"]),
    )


def _scores(
    metrics: MetricModule, samples: Sequence[Mapping[str, Any]], metric: str
) -> list[dict[str, Any]]:
    """Return a metric of each sample, with its task and its question."""
    return [
        {"task": sample["task"], "question": sample["doc_id"]} | score
        for sample, score in zip(samples, metrics.question_scores(samples, metric), strict=True)
    ]


def _answers(
    metrics: MetricModule,
    model: PreTrainedModel,
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    benchmark: Mapping[str, Any],
    settings: Mapping[str, Any],
    journal: AnswerJournal,
) -> list[dict[str, Any]]:
    """Return one answer a question, in parts that a killed job does not do again."""
    automatic = str(settings["batch_size"]).startswith("auto")
    size = AUTO_BATCH_SIZE if automatic else settings["batch_size"]
    key = journal.key([benchmark["name"], len(rows)])
    known = journal.read(key)
    answers = []
    for start in range(0, len(rows), size * BATCHES_IN_PART):
        part = known.get(start)
        if part is None:
            asked = rows[start : start + size * BATCHES_IN_PART]
            try:
                part = metrics.answer_questions(model, tokenizer, asked, benchmark["options"], size)
            except NotFiniteError as error:
                raise error.told(asked=start + error.asked) from None
            journal.add(key, {start: part})
        answers += part
    return answers


def _require_declared_size(model: PreTrainedModel, manifest: Mapping[str, Any]) -> None:
    """Check that the model is as large as its architecture says, on which reductions rest."""
    found = sum(parameter.numel() for parameter in model.parameters())
    declared = manifest["parameters"]["compressed"]
    if METHODS.get(manifest["decomposition"]["method"], METHODS["svd"]).has_core:
        # The loader multiplies each core into a factor.
        declared -= sum(module["rank"] ** 2 for module in manifest["modules"].values())
    if found != declared:
        raise LowrankError(
            f"{manifest['model']} has {found:,} parameters, declared are {declared:,}; an encoder "
            "without a pooler is declared by `add_pooling_layer: false`"
        )
