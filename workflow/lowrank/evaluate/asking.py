"""Ask a language model what the store of answers does not hold, a few questions at a time.

What a model answers depends, in its last bits, on what is computed beside it. So questions are
asked in blocks that do not depend on how many are asked: each block holds the next few of the
benchmark's fixed order, and is asked as a whole even if only its first questions are wanted. An
answer is therefore the same whenever and for whatever number of questions it was asked.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from lowrank.evaluate.finite import NotFiniteError
from lowrank.evaluate.store import Answer, AnswerStore

logger = logging.getLogger(__name__)

KEEP_SECONDS = 20.0
"""How long answers wait to be written: a killed job loses no more than these."""

SCORED = ("loglikelihood", "loglikelihood_rolling")
"""The kinds of requests whose answer is the log-likelihood of their continuation."""

PLACE = "place"
"""The column of requests that says the place of their question in the order of asking."""


def ask(
    language_model: HFLM,
    requests: Sequence[Mapping[str, Any]],
    store: AnswerStore,
    benchmark: str,
    block: int,
) -> int:
    """Ask a benchmark's requests that the store does not hold, and keep the answers.

    Parameters
    ----------
    language_model
        What answers.
    requests
        Rows of `lowrank.evaluate.requests.REQUESTS`, as mappings.
    store
        The configuration's answers.
    benchmark
        Its name, for the store and the log.
    block
        How many questions are asked together.

    Returns
    -------
    How many questions were asked.

    Raises
    ------
    NotFiniteError
        If an answer is not finite; it says the task and the question.
    """
    # The samples of a question are in blocks apart, so that a further one changes none.
    blocks: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for row in requests:
        blocks.setdefault((row[PLACE] // block, row["options"]), []).append(row)
    waiting = [rows for _, rows in sorted(blocks.items()) if _lacks(store, rows)]
    asked, unwritten, written = 0, 0, time.monotonic()
    try:
        for rows in waiting:
            # A prompt that two questions share is answered in the first block that has it.
            if not _lacks(store, rows):
                continue
            store.add(_answers(language_model, rows))
            unwritten += len({row[PLACE] for row in rows})
            if (seconds := time.monotonic() - written) > KEEP_SECONDS:
                store.keep(benchmark=benchmark, questions=unwritten, seconds=seconds)
                asked, unwritten, written = asked + unwritten, 0, time.monotonic()
                total = len({row[PLACE] for rows in waiting for row in rows})
                logger.warning("%s: %d of %d questions asked.", benchmark, asked, total)
    finally:
        seconds = time.monotonic() - written
        store.keep(benchmark=benchmark, questions=unwritten, seconds=seconds)
    return asked + unwritten


def _lacks(store: AnswerStore, rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(row["key"] not in store for row in rows)


def _answers(language_model: HFLM, rows: Sequence[Mapping[str, Any]]) -> dict[bytes, Answer]:
    """Return the answers to the requests of one block, by their keys."""
    made: dict[bytes, Answer] = {}
    scored = [row for row in rows if row["kind"] in SCORED]
    if scored:
        pairs = [
            ((row["context"], row["continuation"]), row["context_ids"], row["continuation_ids"])
            for row in scored
        ]
        try:
            found = language_model._loglikelihood_tokens(pairs, disable_tqdm=True)
        except NotFiniteError as error:
            raise _named(error, scored) from None
        for row, (value, greedy) in zip(scored, found, strict=True):
            made[row["key"]] = float(value), bool(greedy)
    generated = [row for row in rows if row["kind"] == "generate_until"]
    if generated:
        instances = [
            Instance(
                "generate_until",
                {},
                (row["context"], json.loads(row["options"])),
                0,
                (row["task"], row["question"], 1),
            )
            for row in generated
        ]
        texts = language_model.generate_until(instances, disable_tqdm=True)
        made |= {row["key"]: text for row, text in zip(generated, texts, strict=True)}
    return made


def _named(error: NotFiniteError, rows: Sequence[Mapping[str, Any]]) -> NotFiniteError:
    """Return an error of a request's strings as one of its task and question."""
    for row in rows:
        if error.asked == (row["context"], row["continuation"]) or len(rows) == 1:
            return error.told(task=row["task"], question=row["question"])
    return error
