"""Examples to train on: the questions of a benchmark's training split, as a model's tokens.

An example is a bare question, or a question as lm-eval asks it with its answer. What is asked in
the evaluation is never trained on.

Shape suffixes: ``E`` examples, ``N`` tokens of all examples together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet

from lowrank.assets.calibration import read_calibration, tokenizer_digest
from lowrank.assets.tokenizer import read_tokenizer
from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path, sha256_file
from lowrank.base.plain_text import plain
from lowrank.base.tensor_file import described, write_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUESTION, ANSWER = "question", "answer"
"""What an example holds: the bare question, or the question and its answer."""

QUESTION_PROMPT = "Question: {}\nAnswer:"
"""How lm-eval asks the questions of ARC (its task `arc_easy`)."""


@dataclass(frozen=True)
class Example:
    """Tokens to train on.

    Attributes
    ----------
    tokens
        The tokens.
    first
        The first one whose prediction counts; those before it are read alone.
    """

    tokens: tuple[int, ...]
    first: int = 1


def prepare_training(
    weights: str | Path,
    questions: str | Path,
    asked: str | Path,
    shown: str,
    output: str | Path,
) -> None:
    """Tokenize the questions of a training split.

    Parameters
    ----------
    weights
        Directory of the model; only its tokenizer is read.
    questions
        The training split, a parquet file of `lowrank.assets.questions.fetch_benchmark`.
    asked
        The split that is asked in the evaluation. What stands there, too, is left out.
    shown
        `QUESTION` or `ANSWER`. An answer ends with the token that ends a text, and its prediction
        alone counts.
    output
        A safetensors file, for `read_examples`. Equal inputs make equal bytes.

    Raises
    ------
    LowrankError
        If the questions have no columns that a question or an answer could be read from, or all of
        them are asked in the evaluation.
    """
    tokenizer = read_tokenizer(weights)
    rows, others = (_rows(path) for path in (questions, asked))
    held = {plain(row[QUESTION]) for row in others}
    kept = [row for row in rows if plain(row[QUESTION]) not in held]
    if not kept:
        raise LowrankError(
            f"{questions} holds no question that {asked} does not ask: what is asked is never "
            "trained on; bring another training split"
        )
    examples = [_example(tokenizer, row, shown) for row in kept]
    arrays = {
        "tokens": np.concatenate([np.array(own.tokens, np.int32) for own in examples]),
        "lengths": np.array([len(own.tokens) for own in examples], np.int32),
        "first": np.array([own.first for own in examples], np.int32),
    }
    description = {
        "questions_sha256": sha256_file(questions),
        "tokenizer_sha256": tokenizer_digest(weights),
        "shown": shown,
        "examples": len(examples),
        "left_out": len(rows) - len(kept),
    }
    with atomic_path(output) as temporary:
        write_tensors(temporary, arrays, description)


def _rows(path: str | Path) -> list[dict[str, Any]]:
    table = pyarrow.parquet.read_table(path)
    if QUESTION not in table.column_names:
        columns = ", ".join(table.column_names)
        raise LowrankError(f"{path} has the columns {columns}, and no {QUESTION!r} to train on")
    return table.to_pylist()


def read_examples(path: str | Path) -> list[Example]:
    """Return what to train on: examples of `prepare_training`, or windows of a calibration set.

    Raises
    ------
    LowrankError
        If the file is missing or damaged.
    """
    with described(path, "file of examples") as (opened, description):
        if "shown" in description:
            names = ("tokens", "lengths", "first")
            tokens_N, lengths_E, first_E = (opened.get_tensor(name) for name in names)
            if len(tokens_N) != lengths_E.sum() or len(lengths_E) != description["examples"]:
                raise ValueError("its lengths are not those of its tokens")
            pieces = np.split(tokens_N, np.cumsum(lengths_E)[:-1])
            return [
                Example(tuple(own.tolist()), int(first))
                for own, first in zip(pieces, first_E, strict=True)
            ]
    return [Example(tuple(window)) for window in _windows(path)]


def _windows(path: str | Path) -> Sequence[Sequence[int]]:
    tokens_ST: NDArray = read_calibration(path)
    return tokens_ST.tolist()


def _example(tokenizer: Any, row: Mapping[str, Any], shown: str) -> Example:
    if shown == QUESTION:
        return Example(tuple(tokenizer(row[QUESTION])["input_ids"]))
    prompt = tokenizer(QUESTION_PROMPT.format(row[QUESTION]))["input_ids"]
    # The answer's tokens are those that lm-eval scores: of the whole text, after the prompt's.
    whole = tokenizer(QUESTION_PROMPT.format(row[QUESTION]) + " " + answer_of(row))["input_ids"]
    return Example((*whole, tokenizer.eos_token_id), min(len(prompt), len(whole) - 1))


def answer_of(row: Mapping[str, Any]) -> str:
    """Return the right answer to a question, in words.

    Parameters
    ----------
    row
        A question of ARC (`choices` and `answerKey`), or one with an `answer`.

    Raises
    ------
    LowrankError
        If it has neither.
    """
    if "choices" in row and "answerKey" in row:
        labels, texts = row["choices"]["label"], row["choices"]["text"]
        return str(texts[labels.index(row["answerKey"])])
    if "answer" in row:
        return str(row["answer"])
    raise LowrankError(f"questions with the columns {', '.join(row)} have no answer to train on")
