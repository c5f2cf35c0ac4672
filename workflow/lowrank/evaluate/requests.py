"""What is asked of every configuration, prepared once for a benchmark and a model's tokenizer.

Two files: the questions that are asked, since lm-eval works through all it is given several times
over; and the tokens of every request that lm-eval makes of them, by its own joint encoding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel

from lowrank.assets.choice import SUBSET, choose_questions, read_questions
from lowrank.assets.model_classes import model_from_config
from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path, read_json, sha256_file
from lowrank.decompose.loading import load_tokenizer
from lowrank.evaluate.tasks import load_tasks, run_tasks

POSITION = "_position"
"""Column that names a question's position within its subset."""

_FACTS = b"lowrank"

REQUESTS = pa.schema(
    [
        ("kind", pa.string()),
        ("context", pa.string()),
        ("continuation", pa.string()),
        ("context_ids", pa.list_(pa.int32())),
        ("continuation_ids", pa.list_(pa.int32())),
    ]
)
"""One request a row: `loglikelihood` of a continuation, or `generate_until` (no continuation)."""


@dataclass(frozen=True)
class PreparedRequests:
    """Tokens of requests by their text.

    Attributes
    ----------
    pairs
        From (context, continuation) to the tokens of both.
    contexts
        From a context that text is generated after to its tokens.
    """

    pairs: Mapping[tuple[str, str], tuple[list[int], list[int]]]
    contexts: Mapping[str, list[int]]


def prepare_requests(
    base: str | Path,
    questions: str | Path,
    benchmark: Mapping[str, Any],
    settings: Mapping[str, Any],
    questions_output: str | Path,
    requests_output: str | Path,
) -> None:
    """Choose the questions to ask, and tokenize what lm-eval asks of a model about them.

    Parameters
    ----------
    base
        Directory of the model; only its configuration and its tokenizer are read.
    questions
        The file of `lowrank.assets.questions.fetch_benchmark`.
    benchmark
        Its entry: `name`, `tasks`, `task_folder`, `exemplars`, `generation`.
    settings
        `limit`, `seed`, `sampling` and `max_new_tokens`.
    questions_output
        The questions to ask (Parquet), with their positions, and what they were chosen from.
    requests_output
        A table of `REQUESTS` (Parquet).

    Raises
    ------
    LowrankError
        If the questions cannot be read, or lm-eval does not have a task.
    """
    table = read_questions(questions)
    asked = asked_questions(table, settings).replace_schema_metadata(
        {_FACTS: _facts(len(table), sha256_file(questions))}
    )
    recorder = _Recorder(
        pretrained=_without_weights(base), tokenizer=load_tokenizer(base), backend="causal"
    )
    run_tasks(recorder, load_tasks(asked, benchmark)[0], benchmark, settings)
    _require_vocabulary(recorder.rows, read_json(Path(base) / "config.json")["vocab_size"], base)
    for made, path in (
        (asked, questions_output),
        (pa.Table.from_pylist(recorder.rows, REQUESTS), requests_output),
    ):
        with atomic_path(path) as temporary:
            pyarrow.parquet.write_table(made, temporary)


def _require_vocabulary(rows: list[dict[str, Any]], size: int, base: str | Path) -> None:
    largest = max(
        (token for row in rows for token in (*row["context_ids"], *row["continuation_ids"])),
        default=0,
    )
    if largest >= size:
        raise LowrankError(
            f"{base}: its tokenizer makes token {largest}, but the model knows {size}; is it this "
            "model's own tokenizer?"
        )


def read_requests(path: str | Path) -> PreparedRequests:
    """Return the tokens that `prepare_requests` wrote.

    Raises
    ------
    LowrankError
        If the file cannot be read.
    """
    rows = read_questions(path).to_pylist()
    return PreparedRequests(
        {
            (row["context"], row["continuation"]): (row["context_ids"], row["continuation_ids"])
            for row in rows
            if row["kind"] == "loglikelihood"
        },
        {row["context"]: row["context_ids"] for row in rows if row["kind"] == "generate_until"},
    )


def asked_facts(table: pa.Table, path: str | Path) -> dict[str, Any]:
    """Return what the questions were chosen from: `available`, `questions_sha256`.

    Raises
    ------
    LowrankError
        If `path` is not a file of `prepare_requests`.
    """
    facts = (table.schema.metadata or {}).get(_FACTS)
    if facts is None:
        raise LowrankError(f"{path} does not say what its questions were chosen from: delete it")
    return json.loads(facts)


def original_positions(table: pa.Table) -> dict[str, list[int]]:
    """Return, for each subset, the positions that its questions have in the whole benchmark."""
    positions: dict[str, list[int]] = {}
    for subset, position in zip(
        table[SUBSET].to_pylist(), table[POSITION].to_pylist(), strict=True
    ):
        positions.setdefault(subset, []).append(position)
    return positions


def asked_questions(table: pa.Table, settings: Mapping[str, Any]) -> pa.Table:
    """Return the questions of a benchmark to ask, with their positions.

    Parameters
    ----------
    table
        All questions, from `lowrank.assets.choice.read_questions`.
    settings
        `limit`, `seed` and `sampling`.
    """
    subsets = table[SUBSET].to_pylist()
    chosen = choose_questions(subsets, settings["limit"], settings["seed"], settings["sampling"])
    wanted = {subset: set(positions) for subset, positions in chosen.items()}
    seen: dict[str, int] = {}
    rows, positions = [], []
    for row, subset in enumerate(subsets):
        position = seen.get(subset, 0)
        seen[subset] = position + 1
        if position in wanted.get(subset, ()):
            rows.append(row)
            positions.append(position)
    return table.take(rows).append_column(POSITION, pa.array(positions, pa.int64()))


def _facts(available: int, sha256: str) -> bytes:
    return json.dumps({"available": available, "questions_sha256": sha256}).encode()


def _without_weights(base: str | Path) -> PreTrainedModel:
    """Return the model on the meta device: lm-eval asks it for its lengths and special tokens."""
    with torch.device("meta"):
        return model_from_config(read_json(Path(base) / "config.json"))


class _Recorder(HFLM):
    """Tokenizes as lm-eval's `HFLM` does, notes the tokens, and answers nothing of use."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.rows: list[dict[str, Any]] = []

    def _loglikelihood_tokens(self, requests, *args: Any, **kwargs: Any):
        for (context, continuation), context_ids, continuation_ids in requests:
            self.rows.append(
                {
                    "kind": "loglikelihood",
                    "context": context,
                    "continuation": continuation,
                    "context_ids": context_ids,
                    "continuation_ids": continuation_ids,
                }
            )
        return [(0.0, False)] * len(requests)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        for request in requests:
            context = request.args[0]
            ids_1T, _ = self.tok_batch_encode([context], truncation=self.truncation)
            self.rows.append(
                {
                    "kind": "generate_until",
                    "context": context,
                    "continuation": "",
                    "context_ids": ids_1T[0].tolist(),
                    "continuation_ids": [],
                }
            )
        return [""] * len(requests)
