"""Tiny questions of each of lm-eval's benchmarks, and the evaluation of a tiny model on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import tiny
from lowrank.assets.choice import SUBSET
from lowrank.base.files import read_json, read_yaml, write_json
from lowrank.decompose.compressed import compress
from lowrank.decompose.export import export_dense
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.evaluate.causal import evaluate
from lowrank.evaluate.preparing import prepare
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition

ARCHITECTURE = Architecture.from_config(tiny.ARCHITECTURE)

ASKING = {"limit": 9, "block": 4, "seed": 3, "sampling": "random", "max_new_tokens": None}
"""What shapes the questions of a benchmark."""

ANSWERING = ("batch_size", "sandbox")
"""What shapes the answers to them beside it."""

RUN = {"seed": 3, "sampling": "random", "dtype": "float32", "device": "cpu", "batch_size": 4}
"""What shapes a whole evaluation."""

WINDOW = 100
"""Tokens of a window of a text."""

OUTPUTS = ("result.json", "samples.jsonl", "scores.csv")

Case = tuple[dict[str, Any], pa.Table | str, dict[str, Any]]
"""A benchmark's entry, its questions or its text, and all that shapes an evaluation on it."""


def save_compressed(folder: Path) -> Path:
    """Write a tiny model, its factors, a compressed model and the dense export of that."""
    tiny.save_model(folder / "weights")
    write_json(folder / "manifest.json", {"files": {}, "source": "test"})
    factorize_layer(folder / "weights", ARCHITECTURE, 2, 1, "tucker", folder / "f.safetensors")
    compress(
        ARCHITECTURE,
        "tiny",
        folder / "manifest.json",
        Decomposition.make(ARCHITECTURE, [2]),
        {2: folder / "f.safetensors"},
        folder / "compressed",
    )
    export_dense(folder / "weights", folder / "compressed", "float32", folder / "exported")
    return folder


def gsm8k_rows(count):
    rows = [
        {"question": tiny.words(index, 6), "answer": f"so #### {index}"} for index in range(count)
    ]
    return pa.Table.from_pylist(rows)


def mmlu_rows(count):
    rows = [
        {
            "question": tiny.words(index, 6),
            "choices": [tiny.words(index * 7 + choice, 2) for choice in range(4)],
            "answer": index % 4,
        }
        for index in range(count)
    ]
    return pa.Table.from_pylist(rows)


def hellaswag_rows(count):
    rows = [
        {
            "activity_label": tiny.words(index, 1),
            "ctx_a": tiny.words(index + 50, 5) + ".",
            "ctx_b": tiny.words(index + 90, 2),
            "endings": [tiny.words(index * 11 + choice, 2 + choice) for choice in range(4)],
            "label": str(index % 4),
        }
        for index in range(count)
    ]
    return pa.Table.from_pylist(rows)


def truthfulqa_rows(count):
    """As there: the choices of mc1 are among those of mc2, and their number varies."""

    def targets(choices, labels):
        return {"choices": choices, "labels": labels}

    rows = []
    for index in range(count):
        wrong = 2 + index % 3
        choices = [tiny.words(index * 47 + k, 1 + k % 3) for k in range(2 + wrong)]
        mc1 = targets([choices[0], *choices[2:]], [1] + [0] * wrong)
        mc2 = targets(choices, [1, 1] + [0] * wrong)
        question = tiny.words(index, 5) + "?"
        rows.append({"question": question, "mc1_targets": mc1, "mc2_targets": mc2})
    return pa.Table.from_pylist(rows)


def wikitext_rows(count):
    """Pages of one to seven windows, in the tokenization that lm-eval undoes."""
    pages = [
        " = Page = \n \n " + " , ".join(tiny.words(index * 13 + k, 7) for k in range(1 + index * 3))
        for index in range(count)
    ]
    return pa.Table.from_pylist([{"page": f"{page} @-@ é . \n"} for page in pages])


PROBLEMS = [
    {
        "task_id": f"Tiny/{power}",
        "prompt": f'\ndef power_{power}(x):\n    """ Of ü: {tiny.words(power, power)}. """\n',
        "entry_point": f"power_{power}",
        "canonical_solution": f"    # é\n    return x ** {power}\n",
        "test": f"\ndef check(candidate):\n    assert candidate(3) == {3**power}\n"
        f"    assert candidate(-2) == {(-2) ** power}\n",
    }
    for power in range(11)
]
"""Problems of programming, of several lengths."""

CASES = {
    "arc_easy": {"": tiny.arc_rows(20)},
    "arc_challenge": {"": tiny.arc_rows(20, seed=5)},
    "hellaswag": {"": hellaswag_rows(20)},
    "truthfulqa": {"": truthfulqa_rows(15)},
    "winogrande": {"": tiny.winogrande_rows(20)},
    "gsm8k": {"": gsm8k_rows(12)},
    "mmlu": {"anatomy": mmlu_rows(7), "astronomy": mmlu_rows(11)},
    "wikitext": {"": wikitext_rows(11)},
}


def case(name: str, scorer: str, **changes: Any) -> Case:
    """Return a benchmark with tiny questions; `changes` are of what shapes the evaluation."""
    entry = read_yaml(f"config/benchmarks/{name}.yaml") | {"name": name}
    entry = {"generation": False} | entry
    if "max_length" in entry:
        entry["max_length"] = WINDOW
    settings = ASKING | RUN | {"max_new_tokens": 12 if name == "gsm8k" else None, "scorer": scorer}
    table = pa.concat_tables(
        rows.append_column(SUBSET, pa.array([subset] * len(rows)))
        for subset, rows in CASES[name].items()
    )
    return entry, table, settings | changes


def windows_case(text: str, scorer: str, **changes: Any) -> Case:
    """Return a benchmark of windows of a text; `changes` are of what shapes the evaluation."""
    entry = read_yaml("config/benchmarks/perplexity_prose.yaml") | {"name": "perplexity_prose"}
    return entry | {"length": WINDOW}, text, ASKING | RUN | {"scorer": scorer} | changes


def problems_case(name: str, scorer: str, **changes: Any) -> Case:
    """Return a benchmark of problems of programming; `changes` are of what shapes it."""
    entry = read_yaml(f"config/benchmarks/{name}.yaml") | {"name": name}
    table = pa.Table.from_pylist(PROBLEMS).append_column(SUBSET, pa.array([""] * len(PROBLEMS)))
    sandbox = {"accept_risk": False, "seconds": 20.0, "memory_mib": 256}
    settings = ASKING | RUN | {"scorer": scorer, "max_new_tokens": 8, "sandbox": sandbox}
    return entry, table, settings | changes


def run(model: Path, folder: Path, cases: Sequence[Case], answers: Path | None = None) -> Path:
    """Prepare the requests and evaluate, as the workflow does; return the folder of the files.

    Parameters
    ----------
    model
        A folder of `save_compressed`.
    folder
        Where everything is made.
    cases
        The benchmarks; what shapes the whole evaluation is that of the first.
    answers
        The folder of all answers; one in `folder` by default.
    """
    benchmarks, asked, requests = [], [], []
    for entry, table, settings in cases:
        own = folder / entry["name"]
        questions = own / "questions"
        if isinstance(table, str):
            own.mkdir(parents=True, exist_ok=True)
            questions.write_text(table, encoding="utf-8")
        else:
            tiny.write_parquet(table, questions)
        asked.append(str(own / "asked.parquet"))
        requests.append(str(own / "requests.parquet"))
        asking = {key: settings[key] for key in ASKING}
        prepare(model / "weights", questions, entry, asking, asked[-1], requests[-1])
        answering = asking | {key: settings[key] for key in ANSWERING if key in settings}
        benchmarks.append({"entry": entry, "settings": answering})
    evaluate(
        model / "weights",
        model / "compressed",
        benchmarks,
        {key: cases[0][2][key] for key in (*RUN, "scorer")},
        answers or folder / "answers",
        *(folder / name for name in OUTPUTS),
        asked,
        requests,
    )
    return folder


def result(folder: Path, benchmark: str) -> Mapping[str, Any]:
    """Return what the result in a folder says of a benchmark."""
    return read_json(folder / "result.json")["benchmarks"][benchmark]
