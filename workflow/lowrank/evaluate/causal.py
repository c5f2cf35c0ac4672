"""Score a model on a benchmark with lm-eval's own tasks, requests and metrics."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lm_eval.api.model import LM, CachingLM
from lm_eval.api.task import Task
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lowrank.assets.choice import read_questions
from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path, read_json, sha256_file, write_json
from lowrank.base.provenance import code_digest, provenance, versions
from lowrank.base.statistics import mean_interval
from lowrank.decompose.loading import load_compressed, load_tokenizer, state_of_files
from lowrank.evaluate.job import prepare as prepare  # what the warm server calls
from lowrank.evaluate.journal import AnswerJournal, journal_of
from lowrank.evaluate.packed.lm import PackedLM
from lowrank.evaluate.packed.shared_states import SharedStates, shared_states
from lowrank.evaluate.requests import (
    PreparedRequests,
    asked_facts,
    original_positions,
    read_requests,
)
from lowrank.evaluate.tasks import load_tasks, run_tasks

SCORE_COLUMNS = ("task", "question", "value", "log_probability")


def evaluate(
    base: str | Path,
    compressed: str | Path,
    questions: str | Path,
    benchmark: Mapping[str, Any],
    settings: Mapping[str, Any],
    output: str | Path,
    samples_output: str | Path,
    scores_output: str | Path,
    requests: str | Path,
) -> None:
    """Evaluate one configuration on one benchmark and write the result.

    Parameters
    ----------
    base, compressed
        Directories of the base model and of the compressed one.
    questions
        The questions to ask, from `lowrank.evaluate.requests.prepare_requests`.
    benchmark
        Its entry: `name`, `tasks`, `task_folder`, `metric`, `generation`.
    settings
        `limit`, `seed`, `sampling`, `dtype`, `device`, `scorer`, `batch_size`, `max_new_tokens`.
    output
        lm-eval's results (JSON), with `score`, `questions` and `provenance` added.
    samples_output
        lm-eval's samples, one question a line (JSON Lines).
    scores_output
        The table of `question_scores` (CSV); what pairs configurations question by question.
    requests
        Their tokenized requests, from the same.

    Raises
    ------
    LowrankError
        If the compressed model or the questions cannot be read.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    model, manifest = load_compressed(base, compressed, settings["dtype"], settings["device"])
    table = read_questions(questions)
    facts = asked_facts(table, questions)
    asked_sha256 = sha256_file(questions)
    journal = journal_of(
        output, manifest, benchmark, settings, torch.get_num_threads(), asked_sha256
    )
    language_model = make_language_model(
        model,
        load_tokenizer(base),
        settings,
        prepared=read_requests(requests),
        shared=_shared(base, manifest, settings),
        journal=journal,
    )
    positions = original_positions(table)
    tasks, names = load_tasks(table, benchmark)
    results = run_tasks(language_model, tasks, benchmark, settings)
    samples = results.pop("samples")
    for task, subset in names.items():
        for sample in samples[task]:
            sample["doc_id"] = positions[subset][sample["doc_id"]]
    scores = question_scores(samples, benchmark, tasks["tasks"])
    score = headline(results["results"], scores, benchmark)
    with atomic_path(samples_output) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for task in sorted(samples):
            for sample in sorted(samples[task], key=lambda item: item["doc_id"]):
                file.write(json.dumps({"task": task} | sample, default=str) + "\n")
    with atomic_path(scores_output) as temporary:
        pd.DataFrame(scores, columns=SCORE_COLUMNS).to_csv(temporary, index=False)
    write_json(
        output,
        _plain(
            {
                "model": manifest["model"],
                "decomposition": manifest["decomposition"]["name"],
                "parameter_reduction_percent": manifest["parameter_reduction_percent"],
                "benchmark": benchmark["name"],
                "score": score,
                "questions": {"asked": score["questions"], "available": facts["available"]},
                "settings": dict(settings),
                "scorer": {
                    "name": settings["scorer"],
                    "fallback": getattr(language_model, "fallback", None),
                },
                **{key: results[key] for key in ("results", "versions", "n-shot", "n-samples")},
                "samples_sha256": sha256_file(samples_output),
                "scores_sha256": sha256_file(scores_output),
                "provenance": provenance(
                    settings["device"],
                    base_files=manifest["base"],
                    factors_sha256=manifest["factors_sha256"],
                    questions_sha256=facts["questions_sha256"],
                    seed=settings["seed"],
                    torch_threads=torch.get_num_threads(),
                ),
            }
        ),
    )
    journal.remove()


def _shared(
    base: str | Path, manifest: Mapping[str, Any], settings: Mapping[str, Any]
) -> SharedStates | None:
    """Return the hidden states that this configuration shares with others of its run."""
    layers = read_json(Path(base) / "config.json")["num_hidden_layers"]
    unchanged = min(manifest["decomposition"]["layers"], default=layers + 1) - 1
    key = (*state_of_files(base), settings["dtype"], torch.get_num_threads())
    key += (code_digest(), *sorted(versions().items()))
    return shared_states(key, layers, unchanged)


def make_language_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: Mapping[str, Any],
    prepared: PreparedRequests | None = None,
    shared: SharedStates | None = None,
    journal: AnswerJournal | None = None,
) -> LM:
    """Return what answers lm-eval's requests.

    `packed` computes what choices and questions share once; `hf` is lm-eval's own `HFLM`, which
    packed scoring equals up to rounding. Both take log-probabilities in float32. What `HFLM`
    answers is kept by lm-eval's own cache, beside the journal.
    """
    if settings["scorer"] == "packed":
        language_model = PackedLM(
            model,
            tokenizer,
            batch_size=settings["batch_size"],
            prepared=prepared,
            shared=shared,
            journal=journal,
        )
        if language_model.reason is None:
            return language_model
    else:
        language_model = HFLM(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=settings["batch_size"],
            softmax_dtype="float32",
        )
    return language_model if journal is None else CachingLM(language_model, str(journal.database))


def headline(
    results: Mapping[str, Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    benchmark: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the benchmark's one score: the plain mean over questions of its headline metric.

    Returns
    -------
    `value`, `standard_error`, `interval_95` (fractions), `questions`, `metric`, and
    `log_probability`, the mean of the companion metric (natural logarithm) or None.

    Raises
    ------
    LowrankError
        If lm-eval's own figure is not the mean of the samples: then the samples, on which every
        comparison rests, would not be what was scored.
    """
    values = [score["value"] for score in scores]
    count, mean = len(values), sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / max(count - 1, 1)
    metric, _, metric_filter = benchmark["metric"].partition(",")
    theirs = sum(results[score["task"]][f"{metric},{metric_filter or 'none'}"] for score in scores)
    if abs(theirs / count - mean) > 1e-9:
        raise LowrankError(
            f"{benchmark['name']}: lm-eval scores {theirs / count}, its samples give {mean}"
        )
    companion = [score["log_probability"] for score in scores]
    return {
        "value": mean,
        "standard_error": math.sqrt(variance / count),
        "interval_95": list(mean_interval(values)),
        "questions": count,
        "metric": benchmark["metric"],
        "log_probability": None if None in companion else sum(companion) / count,
    }


def question_scores(
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
    benchmark: Mapping[str, Any],
    tasks: Mapping[str, Task],
) -> list[dict[str, Any]]:
    """Return the headline metric and its continuous companion for each question asked.

    The companion is the log-probability of the right choice, normalised over the choices: it
    moves with every question where right or wrong does not, which makes small samples say more.
    A graded metric that is itself such a probability (TruthfulQA's mc2) is taken as it is, and
    generated text has none.

    Returns
    -------
    `task`, `question` (position within the task's data), `value`, `log_probability` or None.
    """
    metric, _, metric_filter = benchmark["metric"].partition(",")
    headline_task = benchmark.get("headline_task")
    return [
        {
            "task": name,
            "question": sample["doc_id"],
            "value": float(sample[metric]),
            "log_probability": _log_probability(sample, metric, tasks[name]),
        }
        for name in sorted(samples)
        if headline_task is None or name == headline_task
        for sample in sorted(samples[name], key=lambda item: item["doc_id"])
        if sample.get("filter", "none") == (metric_filter or "none")
    ]


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


def _plain(value: Any) -> Any:
    """Return `value` with what JSON lacks (NaN, tuples, foreign objects) made plain."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
