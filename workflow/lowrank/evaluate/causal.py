"""Score a model on a benchmark with lm-eval's own tasks, requests and metrics."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.model import LM, CachingLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lowrank.assets.choice import read_questions
from lowrank.base.files import read_json, sha256_file
from lowrank.base.provenance import code_digest, versions
from lowrank.decompose.loading import load_compressed, load_tokenizer, state_of_files
from lowrank.evaluate.finite import NotFiniteError
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
from lowrank.evaluate.scores import quantities, question_scores, require_agreement
from lowrank.evaluate.stock import StockLM
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
        Its entry: `name`, `tasks`, `task_folder`, `exemplars`, `metric`, `weights`, `beside`,
        `clusters`, `generation`.
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
        If the compressed model or the questions cannot be read, or an answer is not finite: at
        the first pass that has one, with the configuration, the task and the question.
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
    positions = original_positions(table)
    try:
        results = run_tasks(language_model, tasks, benchmark, settings)
    except NotFiniteError as error:
        journal.remove()  # a rerun would end at the same question
        raise _of_configuration(error, manifest, positions, subsets) from None
    samples = [
        {"task": task} | sample | {"doc_id": positions[subsets[task]][sample["doc_id"]]}
        for task in sorted(subsets)
        for sample in sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    ]
    headline, others = quantities(benchmark)
    beside = {
        name: (other.metric, question_scores(samples, other, tasks["tasks"]))
        for name, other in others.items()
    }
    answers = Answers(
        samples,
        question_scores(samples, headline, tasks["tasks"]),
        facts["available"],
        facts["questions_sha256"],
        settings["dtype"],
        beside,
    )
    require_agreement(results["results"], answers.scores, headline)
    for name, other in others.items():
        require_agreement(results["results"], beside[name][1], other)
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


def _of_configuration(
    error: NotFiniteError,
    manifest: Mapping[str, Any],
    positions: Mapping[str, Sequence[int]],
    subsets: Mapping[str, str],
) -> NotFiniteError:
    """Return an error of lm-eval's question as one of the configuration and the question's data."""
    if error.question is None:
        return error.told_of(manifest)
    question = positions[subsets[error.task]][error.question]
    return error.told_of(manifest, question=question)


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
    packed scoring equals up to rounding. Both take log-probabilities in float32, and end at the
    first that is not finite. What `HFLM` answers is kept by lm-eval's own cache, beside the
    journal.
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
        language_model = StockLM(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=settings["batch_size"],
            softmax_dtype="float32",
        )
    return language_model if journal is None else CachingLM(language_model, str(journal.database))
