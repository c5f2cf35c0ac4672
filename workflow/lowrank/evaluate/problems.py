"""Problems of programming: what asks a model for programs, and for the likelihood of given ones.

A problem has a prompt, the beginning of a function; its tests; and a solution that a person wrote.
Each program that a model writes for it is one request, and so is the given solution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from lm_eval.api.instance import Instance

from lowrank.assets.choice import read_questions
from lowrank.base.errors import LowrankError
from lowrank.base.files import sha256_file
from lowrank.evaluate.requests import (
    Recorder,
    asked_questions,
    original_positions,
    places_of_questions,
    require_readable,
    with_facts,
    write_requests,
)
from lowrank.evaluate.windows import BYTES, PREDICTIONS


def prepare_programs(
    base: str | Path,
    questions: str | Path,
    benchmark: Mapping[str, Any],
    settings: Mapping[str, Any],
    questions_output: str | Path,
    requests_output: str | Path,
) -> None:
    """Choose the problems to ask, and tokenize what asks for their programs.

    Parameters
    ----------
    base
        Directory of the model; only its configuration and its tokenizer are read.
    questions
        The file of `lowrank.assets.questions.fetch_benchmark`.
    benchmark
        Its entry: `name` and `protocol`.
    settings
        `limit`, `block`, `seed`, `sampling` and `max_new_tokens`, which caps a program.
    questions_output, requests_output
        As of `lowrank.evaluate.requests.prepare_requests`, with one request a program: those of a
        problem in the order of their samples.

    Raises
    ------
    LowrankError
        If the questions cannot be read, or the model does not read as many tokens as it may write.
    """
    asked, problems = _asked(questions, settings)
    recorder, protocol = Recorder.of(base), benchmark["protocol"]
    instances = [
        Instance(
            "generate_until",
            {},
            (_prompt(problem, protocol), options),
            0,
            (benchmark["name"], position, 1),
        )
        for position, problem in problems
        for options in _options(protocol, settings)
    ]
    recorder.generate_until(instances)
    longest = max((len(row["context_ids"]) for row in recorder.rows), default=0)
    length = protocol.get("length") or longest + _capped(protocol["new_tokens"], settings)
    require_readable(length, base, benchmark["name"])
    _write(base, asked, recorder.rows, questions_output, requests_output)


def _options(protocol: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what shapes each program of a problem."""
    until = list(protocol["stop"])
    if "length" not in protocol:
        new_tokens = _capped(protocol["new_tokens"], settings)
        yield {"until": until, "max_gen_toks": new_tokens, "do_sample": False}
        return
    for sample in range(protocol["samples"]):
        yield {
            "until": until,
            "max_gen_toks": _capped(protocol["length"], settings),
            "max_length": protocol["length"],
            "do_sample": True,
            "temperature": protocol["temperature"],
            "top_p": protocol["top_p"],
            "seed": settings["seed"],
            "sample": sample,
        }


def _capped(count: int, settings: Mapping[str, Any]) -> int:
    cap = settings["max_new_tokens"]
    return count if cap is None else min(count, cap)


def _prompt(problem: Mapping[str, Any], protocol: Mapping[str, Any]) -> str:
    prompt = problem["prompt"]
    return prompt.strip() if protocol["prompt"] == "stripped" else prompt


def prepare_continuations(
    base: str | Path,
    questions: str | Path,
    benchmark: Mapping[str, Any],
    settings: Mapping[str, Any],
    questions_output: str | Path,
    requests_output: str | Path,
) -> None:
    """Choose the questions to ask, and tokenize what stands in them already.

    Context and continuation become tokens together, as lm-eval encodes them. White space between
    the two counts to the continuation, since it may be one token with what follows.

    Parameters
    ----------
    base, questions, settings
        See `prepare_programs`.
    benchmark
        Its entry: `name`, and the columns `context` and `continuation`.
    questions_output, requests_output
        As of `lowrank.evaluate.windows.prepare_windows`: a question is a window of which only the
        continuation is predicted.

    Raises
    ------
    LowrankError
        If the questions cannot be read, one has no context or no continuation, or one is longer
        than the model reads.
    """
    asked, problems = _asked(questions, settings)
    recorder, name = Recorder.of(base), benchmark["name"]
    instances, sizes = [], []
    for position, problem in problems:
        context, continuation = (problem[benchmark[key]] for key in ("context", "continuation"))
        if not context.strip() or not continuation.strip():
            raise LowrankError(f"{name}: question {position} has no context or no continuation")
        metadata = (name, position, 1)
        instances.append(Instance("loglikelihood", {}, (context, continuation), 0, metadata))
        sizes.append(len((context + continuation).encode()) - len(context.rstrip().encode()))
    recorder.loglikelihood(instances, disable_tqdm=True)
    rows = recorder.rows
    counts = [len(row["continuation_ids"]) for row in rows]
    longest = max(len(row["context_ids"]) + len(row["continuation_ids"]) for row in rows)
    require_readable(longest, base, name)
    asked = asked.append_column(PREDICTIONS, pa.array(counts, pa.int64()))
    asked = asked.append_column(BYTES, pa.array(sizes, pa.int64()))
    _write(base, asked, rows, questions_output, requests_output)


def _asked(
    questions: str | Path, settings: Mapping[str, Any]
) -> tuple[pa.Table, list[tuple[int, dict[str, Any]]]]:
    """Return the questions to ask, as a table and as pairs of position and columns."""
    table = read_questions(questions)
    asked = with_facts(asked_questions(table, settings), len(table), sha256_file(questions))
    return asked, list(zip(original_positions(asked)[""], asked.to_pylist(), strict=True))


def _write(
    base: str | Path,
    asked: pa.Table,
    rows: list[dict[str, Any]],
    questions_output: str | Path,
    requests_output: str | Path,
) -> None:
    places = places_of_questions(asked)
    for row in rows:
        row["place"] = places["", row["question"]]
    write_requests(base, asked, rows, questions_output, requests_output)
