"""lm-eval's stock tasks over the workflow's own questions, and a run of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import lm_eval.tasks
import pyarrow as pa
import pyarrow.compute
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate as evaluate_tasks
from lm_eval.tasks import TaskManager
from lm_eval.tasks.manager import TaskDict

from lowrank.assets.choice import SUBSET
from lowrank.base.errors import LowrankError, one_line

SPLIT = "questions"


def load_tasks(table: pa.Table, benchmark: Mapping[str, Any]) -> tuple[TaskDict, dict[str, str]]:
    """Load lm-eval's stock tasks of a benchmark over the questions to ask.

    The stock task definitions (prompt, choices, targets, metrics, filters, few-shot exemplars)
    are used as they are; only the data they read is replaced by `table`, and their exemplars by
    those of the entry where it has some: a stock task may draw them from a split that is not here.

    Parameters
    ----------
    table
        The questions, with the column of subsets.
    benchmark
        Its entry: `tasks`, where a name may hold `{subset}`, `task_folder` and `exemplars`.

    Returns
    -------
    lm-eval's tasks, and the subset that each one asks of, by task name.

    Raises
    ------
    LowrankError
        If lm-eval does not have a task, or the exemplars, or a task cannot read the questions.
    """
    manager = task_manager(benchmark)
    exemplars = read_exemplars(benchmark, manager)
    shots = {
        "num_fewshot": len(exemplars),
        "fewshot_config": {"sampler": "first_n", "samples": exemplars},
    }
    specifications, subsets = [], {}
    for template in benchmark["tasks"]:
        for subset in dict.fromkeys(table[SUBSET].to_pylist()):
            name = template.format(subset=subset)
            subsets[name] = subset
            specifications.append(
                {
                    "task": name,
                    "custom_dataset": _Questions(table, subset),
                    "training_split": None,
                    "validation_split": None,
                    "fewshot_split": None,
                    "test_split": SPLIT,
                }
                | (shots if exemplars else {})
            )
    unknown = sorted(set(subsets) - set(manager.all_subtasks))
    if unknown:
        raise LowrankError(f"lm-eval has no task {unknown[0]!r} in {benchmark['task_folder']}")
    try:
        return manager.load([{"group": "lowrank", "task": specifications}]), subsets
    except Exception as error:  # of a template, or of the task's own code, on the first question
        columns = ", ".join(name for name in table.column_names if not name.startswith("_"))
        raise LowrankError(
            f"{benchmark['name']}: lm-eval's {', '.join(benchmark['tasks'])} cannot read the "
            f"questions ({type(error).__name__}: {one_line(error)[:200]}): have they labels, and "
            f"are all `columns` listed that the task reads? There are {columns}"
        ) from error


def task_manager(benchmark: Mapping[str, Any]) -> TaskManager:
    """Return lm-eval's manager of the tasks of a benchmark's `task_folder`, and no others."""
    folder = Path(lm_eval.tasks.__file__).parent / benchmark["task_folder"]
    return TaskManager(include_path=str(folder), include_defaults=False)


def read_exemplars(benchmark: Mapping[str, Any], manager: TaskManager) -> list[dict[str, str]]:
    """Return the solved questions that stand before each question: `question` and `answer`.

    They are those that a task of lm-eval carries with it; the end of their answers is rewritten as
    the benchmark's own task has it.

    Parameters
    ----------
    benchmark
        Its entry: `task_folder` and `exemplars` (`task`, `pattern`, `replacement`), or None.
    manager
        The `task_manager` of the benchmark.

    Raises
    ------
    LowrankError
        If lm-eval has no such exemplars, or one does not end as it should.
    """
    entry = benchmark.get("exemplars")
    if not entry:
        return []
    task = manager.task_index.get(entry["task"])
    config = task.cfg if task is not None and task.cfg else {}
    samples = config.get("fewshot_config", {}).get("samples", [])
    if not samples:
        raise LowrankError(
            f"lm-eval has no task {entry['task']!r} with exemplars in {benchmark['task_folder']}"
        )
    made = []
    for sample in samples:
        answer, count = re.subn(entry["pattern"], entry["replacement"], sample["target"])
        if count != 1:
            raise LowrankError(
                f"{entry['task']}: the exemplar {sample['question']!r} does not end with "
                f"{entry['pattern']!r}"
            )
        made.append({"question": sample["question"], "answer": answer})
    return made


def run_tasks(
    language_model: LM,
    tasks: TaskDict,
    benchmark: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Run lm-eval on loaded tasks.

    This is what `lm_eval.simple_evaluate` does for a model that is loaded already, without its
    survey of the machine, which takes longer than a small benchmark, and without its standard
    errors: they would be a bootstrap of 100,000 draws for a perplexity, and intervals are made from
    the answers (`lowrank.evaluate.result`).

    Parameters
    ----------
    language_model
        What answers the requests.
    tasks
        What `load_tasks` returned.
    benchmark
        Its entry: `generation`.
    settings
        `seed` and `max_new_tokens`.

    Returns
    -------
    What `lm_eval.evaluator.evaluate` returns.
    """
    for task in tasks["tasks"].values():
        if benchmark["generation"] and settings["max_new_tokens"]:
            capped = {"max_gen_toks": settings["max_new_tokens"]}
            task.set_config(key="generation_kwargs", value=capped, update=True)
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=settings["seed"])
    return dict(evaluate_tasks(language_model, tasks, bootstrap_iters=0))


class _Questions:
    """What lm-eval calls to get its data; survives the deep copies it makes of a task."""

    def __init__(self, table: pa.Table, subset: str) -> None:
        rows = table.filter(pyarrow.compute.equal(table[SUBSET], subset)).drop_columns(
            [name for name in table.column_names if name.startswith("_")]
        )
        self.dataset = datasets.DatasetDict({SPLIT: datasets.Dataset(rows)})

    def __call__(self, **_: Any) -> datasets.DatasetDict:
        return self.dataset

    def __deepcopy__(self, memo: dict[int, Any]) -> _Questions:
        return self
