"""What is asked of every configuration, prepared once for a benchmark and a model's tokenizer.

Two files: the questions that are asked, since lm-eval works through all it is given several times
over; and the tokens of every request that lm-eval makes of them, by its own joint encoding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformers import PreTrainedModel

from lowrank.assets.choice import SUBSET, asked_first, asking_order, read_questions
from lowrank.assets.model_classes import model_from_config
from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path, read_json, sha256_file
from lowrank.decompose.loading import load_tokenizer
from lowrank.evaluate.askable import require_askable
from lowrank.evaluate.keys import digest
from lowrank.evaluate.tasks import load_tasks, run_tasks

POSITION = "_position"
"""Column that names a question's position within its subset."""

PLACE = "_place"
"""Column that names a question's place in the order of asking, from 0."""

_FACTS = b"lowrank"

REQUESTS = pa.schema(
    [
        ("kind", pa.string()),
        ("task", pa.string()),
        ("question", pa.int64()),
        ("place", pa.int64()),
        ("key", pa.binary(16)),
        ("context", pa.string()),
        ("continuation", pa.string()),
        ("options", pa.string()),
        ("context_ids", pa.list_(pa.int32())),
        ("continuation_ids", pa.list_(pa.int32())),
    ]
)
"""One request a row: `loglikelihood` of a continuation, `loglikelihood_rolling` of a window of a
whole text (which is the row's `continuation`), or `generate_until` (no continuation, but `options`
as JSON). `task` and `question` (its position) say what it is of, `place` is the question's in the
order of asking, and `key` is that of its answer in the store."""

ROLLING = "loglikelihood_rolling"


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
        Its entry: `name`, `tasks`, `task_folder`, `exemplars`, `generation`, `max_length`.
    settings
        `limit`, `block`, `seed`, `sampling` and `max_new_tokens`.
    questions_output
        The questions to ask (Parquet), up to the end of the last block, with their positions and
        their places in the order of asking, and what they were chosen from.
    requests_output
        A table of `REQUESTS` (Parquet).

    Raises
    ------
    LowrankError
        If the questions cannot be read, lm-eval does not have a task or cannot ask or score them,
        or the model does not read as many tokens as a window, or an answer, is to have.
    """
    table = read_questions(questions)
    asked = with_facts(asked_questions(table, settings), len(table), sha256_file(questions))
    recorder = Recorder.of(base)
    recorder.window_length = benchmark.get("max_length") or recorder.max_length
    require_readable(recorder.window_length, base, benchmark["name"])
    tasks, subsets = load_tasks(asked, benchmark)
    positions, places = _of_subsets(asked, POSITION), _of_subsets(asked, PLACE)
    of_tasks = {task: positions[subset] for task, subset in subsets.items()}
    require_askable(tasks["tasks"], of_tasks, benchmark["name"])
    run_tasks(recorder, tasks, benchmark, settings)
    recorder.require_room(benchmark["name"])
    for row in recorder.rows:
        subset, number = subsets[row["task"]], row["question"]
        row |= {"question": positions[subset][number], "place": places[subset][number]}
    write_requests(base, asked, recorder.rows, questions_output, requests_output)


def write_requests(
    base: str | Path,
    asked: pa.Table,
    rows: Sequence[Mapping[str, Any]],
    questions_output: str | Path,
    requests_output: str | Path,
) -> None:
    """Write what `prepare_requests` makes: the questions to ask, and rows of `REQUESTS`.

    Raises
    ------
    LowrankError
        If a token is none that the model of `base` knows.
    """
    _require_vocabulary(rows, read_json(Path(base) / "config.json")["vocab_size"], base)
    for made, path in (
        (asked, questions_output),
        (pa.Table.from_pylist(list(rows), REQUESTS), requests_output),
    ):
        with atomic_path(path) as temporary:
            pyarrow.parquet.write_table(made, temporary)


def require_readable(length: int, base: str | Path, benchmark: str) -> None:
    """Check that the model of a directory reads windows of so many tokens.

    Raises
    ------
    LowrankError
        If it reads fewer at once.
    """
    most = read_json(Path(base) / "config.json").get("max_position_embeddings")
    if most is not None and length > most:
        raise LowrankError(
            f"{benchmark}: its windows have {length} tokens, but the model in {base} reads {most} "
            "at once; leave the benchmark or the model out"
        )


def _require_vocabulary(rows: Sequence[Mapping[str, Any]], size: int, base: str | Path) -> None:
    largest = max(
        (token for row in rows for token in (*row["context_ids"], *row["continuation_ids"])),
        default=0,
    )
    if largest >= size:
        raise LowrankError(
            f"{base}: its tokenizer makes token {largest}, but the model knows {size}; is it this "
            "model's own tokenizer?"
        )


def read_requests(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of `REQUESTS` that `prepare_requests` wrote.

    Raises
    ------
    LowrankError
        If the file cannot be read.
    """
    return read_questions(path).to_pylist()


def generation_options(options: Mapping[str, Any]) -> str:
    """Return what shapes generated text, as one line of JSON."""
    return json.dumps(options, sort_keys=True, default=str)


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
    return _of_subsets(table, POSITION)


def places_of_questions(table: pa.Table) -> dict[tuple[str, int], int]:
    """Return the place of each question in the order of asking, by its subset and its position."""
    columns = (table[name].to_pylist() for name in (SUBSET, POSITION, PLACE))
    return {(subset, position): place for subset, position, place in zip(*columns, strict=True)}


def _of_subsets(table: pa.Table, column: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for subset, value in zip(table[SUBSET].to_pylist(), table[column].to_pylist(), strict=True):
        found.setdefault(subset, []).append(value)
    return found


def asked_questions(table: pa.Table, settings: Mapping[str, Any]) -> pa.Table:
    """Return the questions of a benchmark to ask, in the file's order.

    They reach to the end of the block in which the limit lies (`lowrank.evaluate.asking`).

    Parameters
    ----------
    table
        All questions, from `lowrank.assets.choice.read_questions`.
    settings
        `limit`, `block`, `seed` and `sampling`.
    """
    subsets = table[SUBSET].to_pylist()
    order = asking_order(subsets, settings["seed"], settings["sampling"])
    rows = np.sort(asked_first(order, settings["limit"], settings["block"]))
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    seen: dict[str, int] = {}
    positions = np.empty(len(order), dtype=np.int64)
    for row, subset in enumerate(subsets):
        positions[row] = seen.setdefault(subset, 0)
        seen[subset] += 1
    made = table.take(rows).append_column(POSITION, pa.array(positions[rows]))
    return made.append_column(PLACE, pa.array(places[rows]))


def first_questions(table: pa.Table, limit: int | None) -> pa.Table:
    """Return those of `asked_questions` that are wanted: the first ones of the order."""
    return table if limit is None else table.filter(pyarrow.compute.less(table[PLACE], limit))


def with_facts(table: pa.Table, available: int, sha256: str) -> pa.Table:
    """Return questions to ask with what they were chosen from, which `asked_facts` reads."""
    facts = {"available": available, "questions_sha256": sha256}
    return table.replace_schema_metadata({_FACTS: json.dumps(facts).encode()})


def _without_weights(base: str | Path) -> PreTrainedModel:
    """Return the model on the meta device: lm-eval asks it for its lengths and special tokens."""
    with torch.device("meta"):
        return model_from_config(read_json(Path(base) / "config.json"))


class Recorder(HFLM):
    """Tokenizes as lm-eval's `HFLM` does, notes the tokens, and answers nothing of use.

    Attributes
    ----------
    rows
        What was asked, as mappings of `REQUESTS`, without `place`.
    window_length
        Tokens of a window of a whole text; the last one has fewer.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.rows: list[dict[str, Any]] = []
        self.window_length = self.max_length
        self._asked: list[Instance] = []
        self._name = "the model"

    @classmethod
    def of(cls, base: str | Path) -> Recorder:
        """Return one with the tokenizer of a model's directory.

        Raises
        ------
        LowrankError
            If the tokenizer cannot be read, or has no token that begins or ends a text.
        """
        model = _without_weights(base)
        made = cls(pretrained=model, tokenizer=load_tokenizer(base), backend="causal")
        made._name = str(base)
        if made.prefix_token_id is None:
            raise LowrankError(
                f"{base}: the tokenizer has no token that begins or ends a text, which lm-eval "
                "needs: set `bos_token` or `eos_token` in tokenizer_config.json"
            )
        return made

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Note the tokens of continuations, by lm-eval's joint encoding."""
        self._asked = requests
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def _loglikelihood_tokens(self, requests, *args: Any, **kwargs: Any):
        for instance, ((context, continuation), context_ids, continuation_ids) in zip(
            self._asked, requests, strict=True
        ):
            self._note("loglikelihood", instance, context, context_ids, continuation, "")
            self.rows[-1]["continuation_ids"] = continuation_ids
            tokens = list(map(int, context_ids)), list(map(int, continuation_ids))
            self.rows[-1]["key"] = digest(tokens)
        return [(0.0, False)] * len(requests)

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Note the windows of whole texts."""
        for request in requests:
            (text,) = request.args
            # lm-eval's own windows: every token is predicted once, the first after a prefix token.
            windows = get_rolling_token_windows(
                self.tok_encode(text), self.prefix_token_id, self.window_length, context_len=1
            )
            for context_ids, continuation_ids in map(make_disjoint_window, windows):
                self._note(ROLLING, request, "", context_ids, text, "")
                key = digest([context_ids, continuation_ids])
                self.rows[-1] |= {"continuation_ids": continuation_ids, "key": key}
        return [0.0] * len(requests)

    def require_room(self, benchmark: str) -> None:
        """Check that what was asked fits into what the model reads at once.

        A context that is too long for it loses its beginning, as ever in lm-eval.

        Raises
        ------
        LowrankError
            If an answer has no room, or no tokens.
        """
        most = self.max_length
        for row in self.rows:
            what = f"{benchmark}: question {row['question']} of {row['task']}"
            if row["kind"] == "generate_until":
                options = normalize_gen_kwargs(json.loads(row["options"]), self.max_gen_toks)
                if options["max_gen_toks"] >= most:
                    raise LowrankError(
                        f"{what}: an answer may have {options['max_gen_toks']} tokens, which "
                        f"leaves no room for the question: {self._name} reads {most} tokens at "
                        "once; set a lower `max_new_tokens`, or leave the benchmark out"
                    )
            elif row["kind"] == "loglikelihood" and not 0 < len(row["continuation_ids"]) <= most:
                raise LowrankError(
                    f"{what}: its text {row['continuation'][:40]!r} has "
                    f"{len(row['continuation_ids'])} tokens, and {self._name} reads {most} at "
                    "once; leave the benchmark or the model out"
                )

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Note the tokens of contexts, and what shapes the texts after them.

        Raises
        ------
        LowrankError
            If the tokenizer has no token that ends a text.
        """
        if self.eot_token_id is None:
            raise LowrankError(
                f"{self._name}: the tokenizer has no token that ends a text, so an answer "
                "has no end: set `eos_token` in tokenizer_config.json, or leave out benchmarks "
                "with `generation: true`"
            )
        for request in requests:
            context, options = request.args
            ids_1T, _ = self.tok_batch_encode([context], truncation=self.truncation)
            context_ids = ids_1T[0].tolist()
            line = generation_options(options)
            self._note("generate_until", request, context, context_ids, "", line)
            self.rows[-1] |= {"continuation_ids": [], "key": digest([context_ids, line])}
        return [""] * len(requests)

    def _note(
        self,
        kind: str,
        instance: Instance,
        context: str,
        context_ids: list[int],
        continuation: str,
        options: str,
    ) -> None:
        self.rows.append(
            {
                "kind": kind,
                "task": instance.task_name,
                "question": instance.doc_id,
                "context": context,
                "continuation": continuation,
                "options": options,
                "context_ids": context_ids,
            }
        )
