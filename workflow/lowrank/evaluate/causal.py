"""Score a model on a benchmark with lm-eval's own tasks, requests and metrics."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.model import LM, CachingLM
from lm_eval.api.task import Task
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lowrank.assets.choice import read_questions
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, sha256_file
from lowrank.base.metric import Metric
from lowrank.base.provenance import code_digest, versions
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
from lowrank.evaluate.result import Answers, write_result
from lowrank.evaluate.tasks import load_tasks, run_tasks


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
        The result (JSON), with lm-eval's own `results`.
    samples_output
        lm-eval's samples, one answer a line (JSON Lines).
    scores_output
        The table of `question_scores` (CSV).
    requests
        Their tokenized requests, from the same.

    Raises
    ------
    LowrankError
        If the compressed model or the questions cannot be read, or an answer is not finite.
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
    tasks, subsets = load_tasks(table, benchmark)
    results = run_tasks(language_model, tasks, benchmark, settings)
    positions = original_positions(table)
    samples = [
        {"task": task} | sample | {"doc_id": positions[subsets[task]][sample["doc_id"]]}
        for task in sorted(subsets)
        for sample in sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    ]
    answers = Answers(
        samples,
        question_scores(samples, benchmark, tasks["tasks"]),
        facts["available"],
        facts["questions_sha256"],
        settings["dtype"],
    )
    require_agreement(results["results"], answers.scores, benchmark)
    scorer = {"name": settings["scorer"], "fallback": getattr(language_model, "fallback", None)}
    own = {key: results[key] for key in ("results", "versions", "n-shot", "n-samples")}
    write_result(
        output,
        samples_output,
        scores_output,
        answers,
        manifest,
        benchmark,
        settings,
        journal,
        {"scorer": scorer, **own},
        escape=True,
    )


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


def require_agreement(
    results: Mapping[str, Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    benchmark: Mapping[str, Any],
) -> None:
    """Check that lm-eval's own score is the mean of the questions' values.

    Otherwise the samples, on which every comparison rests, would not be what was scored.

    Parameters
    ----------
    results
        lm-eval's, by task.
    scores
        What `question_scores` returns.
    benchmark
        Its entry: `name`, `metric`.

    Raises
    ------
    LowrankError
        If the two differ.
    """
    metric = Metric.from_config(benchmark["metric"])
    key = f"{metric.name},{metric.filter or 'none'}"
    theirs = sum(results[score["task"]][key] for score in scores) / len(scores)
    ours = sum(score["value"] for score in scores) / len(scores)
    if not abs(theirs - ours) <= 1e-9:
        raise LowrankError(f"{benchmark['name']}: lm-eval scores {theirs}, its samples give {ours}")


def question_scores(
    samples: Sequence[Mapping[str, Any]],
    benchmark: Mapping[str, Any],
    tasks: Mapping[str, Task],
) -> list[dict[str, Any]]:
    """Return the headline metric and its continuous companion for each question asked.

    The companion is the log-probability of the right choice, normalised over the choices: it
    moves with every question where right or wrong does not, which makes small samples say more.
    A graded metric that is itself such a probability (TruthfulQA's mc2) is taken as it is, and
    generated text has none.

    Parameters
    ----------
    samples
        lm-eval's, each with its `task`.
    benchmark
        Its entry: `metric`, `headline_task`.
    tasks
        lm-eval's tasks by name.

    Returns
    -------
    `task`, `question` (position within the task's data), `value`, `log_probability` or None.
    """
    metric = Metric.from_config(benchmark["metric"])
    headline_task = benchmark.get("headline_task")
    return [
        {
            "task": sample["task"],
            "question": sample["doc_id"],
            "value": float(sample[metric.name]),
            "log_probability": _log_probability(sample, metric.name, tasks[sample["task"]]),
        }
        for sample in samples
        if headline_task in (None, sample["task"])
        and sample.get("filter", "none") == (metric.filter or "none")
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
