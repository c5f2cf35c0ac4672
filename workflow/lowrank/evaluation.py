"""Score a model on a benchmark with lm-eval's own tasks, requests and metrics."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import lm_eval.tasks
import pyarrow as pa
import pyarrow.compute
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lowrank.errors import LowrankError
from lowrank.files import atomic_path, sha256_file, write_json
from lowrank.low_rank_model import load_compressed, load_tokenizer
from lowrank.provenance import provenance
from lowrank.questions import SUBSET, choose_questions, read_questions
from lowrank.scoring import PackedLM
from lowrank.statistics import mean_interval

SPLIT = "questions"


def evaluate(
    base: str | Path,
    compressed: str | Path,
    questions: str | Path,
    benchmark: Mapping[str, Any],
    settings: Mapping[str, Any],
    output: str | Path,
    samples_output: str | Path,
) -> None:
    """Evaluate one configuration on one benchmark and write the result.

    Parameters
    ----------
    base, compressed
        Directories of the base model and of the compressed one.
    questions
        The file of `lowrank.benchmarks.fetch_benchmark`.
    benchmark
        Its entry: `name`, `tasks`, `task_folder`, `metric`, `generation`.
    settings
        `limit`, `seed`, `dtype`, `device`, `scorer`, `batch_size`, `max_new_tokens`.
    output
        lm-eval's results (JSON), with `score`, `questions` and `provenance` added.
    samples_output
        lm-eval's samples, one question a line (JSON Lines); what pairs configurations.

    Raises
    ------
    LowrankError
        If the compressed model or the questions cannot be read.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    model, manifest = load_compressed(base, compressed, settings["dtype"], settings["device"])
    language_model = make_language_model(model, load_tokenizer(base), settings)
    table = read_questions(questions)
    chosen = choose_questions(table[SUBSET].to_pylist(), settings["limit"], settings["seed"])
    results = run_tasks(language_model, table, chosen, benchmark, settings)
    samples = results.pop("samples")
    score = headline(results["results"], samples, benchmark)
    with atomic_path(samples_output) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for task in sorted(samples):
            for sample in sorted(samples[task], key=lambda item: item["doc_id"]):
                file.write(json.dumps({"task": task} | sample, default=str) + "\n")
    write_json(
        output,
        _plain(
            {
                "model": manifest["model"],
                "decomposition": manifest["decomposition"]["name"],
                "parameter_reduction_percent": manifest["parameter_reduction_percent"],
                "benchmark": benchmark["name"],
                "score": score,
                "questions": {"asked": score["questions"], "available": len(table)},
                "settings": dict(settings),
                **{key: results[key] for key in ("results", "versions", "n-shot", "n-samples")},
                "samples_sha256": sha256_file(samples_output),
                "provenance": provenance(
                    settings["device"],
                    base_files=manifest["base"],
                    factors_sha256=manifest["factors_sha256"],
                    questions_sha256=sha256_file(questions),
                    seed=settings["seed"],
                    torch_threads=_threads(),
                ),
            }
        ),
    )


def make_language_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, Any]
) -> LM:
    """Return what answers lm-eval's requests.

    `packed` computes what choices and questions share once; `hf` is lm-eval's own `HFLM`, which
    packed scoring equals up to rounding. Both take log-probabilities in float32.
    """
    if settings["scorer"] == "packed":
        return PackedLM(model, tokenizer, batch_size=settings["batch_size"])
    return HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=settings["batch_size"],
        softmax_dtype="float32",
    )


def run_tasks(
    language_model: LM,
    table: pa.Table,
    chosen: Mapping[str, Sequence[int]],
    benchmark: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Run lm-eval's stock tasks of a benchmark on the chosen questions.

    The stock task definitions (prompt, choices, targets, metrics, filters, few-shot exemplars)
    are used as they are; only the data they read is replaced by `table`.

    Parameters
    ----------
    language_model
        What answers the requests.
    table
        All questions, with the column of subsets.
    chosen
        From subset to the positions of the questions to ask, within the subset.
    benchmark
        Its entry: `tasks`, where a name may hold `{subset}`, `task_folder`, `generation`.
    settings
        `seed` and `max_new_tokens`.

    Returns
    -------
    What `lm_eval.simple_evaluate` returns.
    """
    data = {subset: _Questions(table, subset) for subset in chosen}
    tasks, positions = [], {}
    for template in benchmark["tasks"]:
        for subset in chosen:
            name = template.format(subset=subset)
            positions[name] = list(chosen[subset])
            tasks.append(
                {
                    "task": name,
                    "custom_dataset": data[subset],
                    "training_split": None,
                    "validation_split": None,
                    "fewshot_split": None,
                    "test_split": SPLIT,
                }
            )
    folder = Path(lm_eval.tasks.__file__).parent / benchmark["task_folder"]
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    unknown = sorted(set(positions) - set(manager.all_subtasks))
    if unknown:
        raise LowrankError(f"lm-eval has no task {unknown[0]!r} in {benchmark['task_folder']}")
    results = simple_evaluate(
        model=language_model,
        tasks=[{"group": "lowrank", "task": tasks}],
        samples=positions,
        task_manager=manager,
        gen_kwargs=(
            {"max_gen_toks": settings["max_new_tokens"]}
            if benchmark["generation"] and settings["max_new_tokens"]
            else None
        ),
        random_seed=settings["seed"],
        numpy_random_seed=settings["seed"],
        torch_random_seed=settings["seed"],
        fewshot_random_seed=settings["seed"],
    )
    return dict(results)


def headline(
    results: Mapping[str, Mapping[str, Any]],
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
    benchmark: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the benchmark's one score: the plain mean over questions of its headline metric.

    Returns
    -------
    `value`, `standard_error`, `interval_95` (fractions), `questions`, `metric`.

    Raises
    ------
    LowrankError
        If lm-eval's own figure is not the mean of the samples: then the samples, on which every
        comparison rests, would not be what was scored.
    """
    scores = question_scores(samples, benchmark)
    values = [score["value"] for score in scores]
    count, mean = len(values), sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / max(count - 1, 1)
    metric, _, metric_filter = benchmark["metric"].partition(",")
    theirs = sum(results[score["task"]][f"{metric},{metric_filter or 'none'}"] for score in scores)
    if abs(theirs / count - mean) > 1e-9:
        raise LowrankError(
            f"{benchmark['name']}: lm-eval scores {theirs / count}, its samples give {mean}"
        )
    return {
        "value": mean,
        "standard_error": math.sqrt(variance / count),
        "interval_95": list(mean_interval(values)),
        "questions": count,
        "metric": benchmark["metric"],
    }


def question_scores(
    samples: Mapping[str, Sequence[Mapping[str, Any]]], benchmark: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return (task, question, value) of the headline metric for each question asked."""
    metric, _, metric_filter = benchmark["metric"].partition(",")
    task = benchmark.get("headline_task")
    return [
        {"task": name, "question": sample["doc_id"], "value": float(sample[metric])}
        for name in sorted(samples)
        if task is None or name == task
        for sample in sorted(samples[name], key=lambda item: item["doc_id"])
        if sample.get("filter", "none") == (metric_filter or "none")
    ]


class _Questions:
    """What lm-eval calls to get its data; survives the deep copies it makes of a task."""

    def __init__(self, table: pa.Table, subset: str) -> None:
        rows = table.filter(pyarrow.compute.equal(table[SUBSET], subset)).drop_columns([SUBSET])
        self.dataset = datasets.DatasetDict({SPLIT: datasets.Dataset(rows)})

    def __call__(self, **_: Any) -> datasets.DatasetDict:
        return self.dataset

    def __deepcopy__(self, memo: dict[int, Any]) -> _Questions:
        return self


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _plain(value: Any) -> Any:
    """Return `value` with what JSON lacks (NaN, tuples, foreign objects) made plain."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
