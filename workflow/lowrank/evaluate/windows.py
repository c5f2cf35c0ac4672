"""Windows of a text: what token perplexity asks in place of questions.

A text becomes tokens at once, and is cut into windows of one length that do not overlap; its tail
is left. A model predicts each token of a window from those before it in the window, so the first
one is not predicted. The perplexity is exp of the mean negative log-likelihood over all
predictions. This is how methods of compression are compared (Frantar et al., 2023, arXiv
2210.17323, and their code for Llama). It depends on the tokenizer and on the length, so it compares
configurations of one model at one length.

A window is a question: windows are asked in a fixed order, in blocks, and once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from lowrank.assets.calibration import tokenize
from lowrank.assets.choice import SUBSET
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_text, sha256_file
from lowrank.decompose.loading import load_tokenizer
from lowrank.evaluate.keys import digest
from lowrank.evaluate.requests import (
    asked_questions,
    original_positions,
    places_of_questions,
    require_readable,
    with_facts,
    write_requests,
)

PREDICTIONS, BYTES = "predictions", "bytes"
"""Columns of the windows to ask: how many tokens are predicted, and their bytes in UTF-8."""


def prepare_windows(
    base: str | Path,
    text: str | Path,
    benchmark: Mapping[str, Any],
    settings: Mapping[str, Any],
    questions_output: str | Path,
    requests_output: str | Path,
) -> None:
    """Cut a text into windows, and choose those to ask.

    Parameters
    ----------
    base
        Directory of the model; only its configuration and its tokenizer are read.
    text
        The evaluation part of a text, from `lowrank.assets.texts.fetch_text`.
    benchmark
        Its entry: `name`, `length` (tokens of a window).
    settings
        `limit`, `block`, `seed`, `sampling`. A limit above the windows there are asks all.
    questions_output
        The windows to ask (Parquet), with `PREDICTIONS` and `BYTES`, and else as
        `lowrank.evaluate.requests.prepare_requests` has questions.
    requests_output
        A table of `lowrank.evaluate.requests.REQUESTS` (Parquet), one row a window.

    Raises
    ------
    LowrankError
        If the text is shorter than one window, or the model reads fewer tokens than one has.
    """
    name, length = benchmark["name"], benchmark["length"]
    require_readable(length, base, name)
    tokens_T = tokenize(base, read_text(text))
    count = len(tokens_T) // length
    if not count:
        raise LowrankError(
            f"{name}: the {len(tokens_T)} tokens of {text} have no window of {length} tokens"
        )
    windows_WT = tokens_T[: count * length].reshape(count, length)
    asked = asked_questions(pa.table({SUBSET: [""] * count}), settings)
    places, tokenizer = places_of_questions(asked), load_tokenizer(base)
    rows, sizes = [], []
    for position in original_positions(asked)[""]:
        tokens = windows_WT[position].tolist()
        first, whole = (
            tokenizer.decode(own, clean_up_tokenization_spaces=False)
            for own in (tokens[:1], tokens)
        )
        sizes.append(len(whole.encode()) - len(first.encode()))
        rows.append(
            {
                "kind": "loglikelihood",
                "task": name,
                "question": position,
                "place": places["", position],
                "key": digest([tokens[:1], tokens[1:]]),
                "context": first,
                "continuation": whole.removeprefix(first),
                "options": "",
                "context_ids": tokens[:1],
                "continuation_ids": tokens[1:],
            }
        )
    asked = asked.append_column(PREDICTIONS, pa.array([length - 1] * len(rows), pa.int64()))
    asked = asked.append_column(BYTES, pa.array(sizes, pa.int64()))
    asked = with_facts(asked, count, sha256_file(text))
    write_requests(base, asked, rows, questions_output, requests_output)
