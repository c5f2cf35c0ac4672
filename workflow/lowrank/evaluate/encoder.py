"""Score an encoder on a benchmark that lm-eval does not have."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel

from lowrank.assets.choice import SUBSET, choose_questions, read_questions
from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path, sha256_file, write_json
from lowrank.base.provenance import provenance, versions
from lowrank.decompose.loading import load_compressed, load_tokenizer
from lowrank.evaluate.job import prepare as prepare  # what the warm server calls
from lowrank.evaluate.journal import AnswerJournal, journal_of
from lowrank.evaluate.metrics import mrpc, squad
from lowrank.space.architecture import Architecture
from lowrank.space.methods import METHODS

AUTO_BATCH_SIZE = 32
"""What `auto` means here: one size that fits wherever an encoder does."""

BATCHES_IN_PART = 16
"""Batches after which the samples so far are kept for a rerun."""


@dataclass(frozen=True)
class Scorer:
    """How a benchmark is scored.

    Attributes
    ----------
    task
        The task of the models that it is for.
    samples
        From model, tokenizer, questions, options and batch size to one sample a question.
    summary
        From the samples and a metric to the score.
    scores
        From the samples and a metric to the columns of the scores.
    metrics
        The metrics of a sample, all reported; the benchmark's entry names the headline.
    """

    task: str
    samples: Callable[..., list[dict[str, Any]]]
    summary: Callable[[Sequence[Mapping[str, Any]], str], dict[str, Any]]
    scores: Callable[[Sequence[Mapping[str, Any]], str], Mapping[str, Sequence[Any]]]
    metrics: tuple[str, ...]


SCORERS: Mapping[str, Scorer] = {
    "mrpc": Scorer(
        "encoder",
        mrpc.score_pairs,
        mrpc.summarize,
        lambda samples, metric: {
            "value": [sample["similarity"] for sample in samples],
            "log_probability": None,
            "label": [sample["label"] for sample in samples],
        },
        ("average_precision",),
    ),
    "squad": Scorer(
        "question_answering",
        squad.score_questions,
        squad.summarize,
        lambda samples, metric: {
            "value": [sample[metric] for sample in samples],
            "log_probability": None,
        },
        squad.METRICS,
    ),
}
"""From the `scorer` of a benchmark's entry to what does it."""


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
        Its entry: `name`, `scorer`, `metric`, `options`.
    settings
        `limit`, `seed`, `sampling`, `dtype`, `device`, `batch_size`.
    output
        The result (JSON), in the form of `lowrank.evaluate.causal.evaluate`.
    samples_output
        One question a line (JSON Lines).
    scores_output
        Task, question and value (CSV), what pairs configurations question by question; for a
        metric of ranking the value is the score that ranks and `label` says what is right.

    Raises
    ------
    LowrankError
        If the model or the questions cannot be read, or the benchmark is not for such a model.
    """
    scorer = SCORERS[benchmark["scorer"]]
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
    questions_sha256 = sha256_file(questions)
    threads = torch.get_num_threads()
    journal = journal_of(output, manifest, benchmark, settings, threads, questions_sha256)
    samples = _samples(
        scorer,
        model,
        load_tokenizer(base),
        table.take(chosen).to_pylist(),
        benchmark,
        settings,
        journal,
    )
    with atomic_path(samples_output) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for position, sample in zip(chosen, samples, strict=True):
            identity = {"task": benchmark["name"], "doc_id": position}
            file.write(json.dumps(identity | sample, ensure_ascii=False) + "\n")
    scores = pd.DataFrame(scorer.scores(samples, benchmark["metric"]))
    scores.insert(0, "task", benchmark["name"])
    scores.insert(1, "question", chosen)
    with atomic_path(scores_output) as temporary:
        scores.to_csv(temporary, index=False)
    write_json(
        output,
        {
            "model": manifest["model"],
            "decomposition": manifest["decomposition"]["name"],
            "parameter_reduction_percent": manifest["parameter_reduction_percent"],
            "benchmark": benchmark["name"],
            "score": scorer.summary(samples, benchmark["metric"]),
            "questions": {"asked": len(samples), "available": len(table)},
            "settings": dict(settings) | {"options": dict(benchmark["options"])},
            "results": {metric: scorer.summary(samples, metric) for metric in scorer.metrics},
            "samples_sha256": sha256_file(samples_output),
            "scores_sha256": sha256_file(scores_output),
            "provenance": provenance(
                settings["device"],
                base_files=manifest["base"],
                factors_sha256=manifest["factors_sha256"],
                questions_sha256=questions_sha256,
                seed=settings["seed"],
                torch_threads=threads,
                scorer_versions=versions(["scikit-learn"]),
            ),
        },
    )
    journal.remove()


def _samples(
    scorer: Scorer,
    model: PreTrainedModel,
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    benchmark: Mapping[str, Any],
    settings: Mapping[str, Any],
    journal: AnswerJournal,
) -> list[dict[str, Any]]:
    """Return one sample a question, in parts that a killed job does not do again."""
    automatic = str(settings["batch_size"]).startswith("auto")
    size = AUTO_BATCH_SIZE if automatic else settings["batch_size"]
    key = journal.key([benchmark["name"], len(rows)])
    known = journal.read(key)
    samples = []
    for start in range(0, len(rows), size * BATCHES_IN_PART):
        part = known.get(start)
        if part is None:
            asked = rows[start : start + size * BATCHES_IN_PART]
            part = scorer.samples(model, tokenizer, asked, benchmark["options"], size)
            journal.add(key, {start: part})
        samples += part
    return samples


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
