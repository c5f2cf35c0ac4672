"""Whether lm-eval can ask a benchmark's questions and score the answers: before any is asked.

lm-eval itself takes a question without a label for one that is always answered wrongly, and a
question that stands among its own examples for any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.task import Task

from lowrank.base.errors import LowrankError, one_line
from lowrank.base.plain_text import plain


def require_askable(
    tasks: Mapping[str, Task], positions: Mapping[str, Sequence[int]], name: str
) -> None:
    """Check that each question can be asked, has an answer, and is no example of another.

    Parameters
    ----------
    tasks
        lm-eval's tasks by name, over the questions to ask.
    positions
        Where the questions of each task stand in the benchmark, for messages.
    name
        The benchmark's name.

    Raises
    ------
    LowrankError
        Of the first question that fails, or of a task that leaves some out.
    """
    for task_name, task in tasks.items():
        documents = task.eval_docs
        if len(documents) != len(positions[task_name]):
            raise LowrankError(
                f"{name}: {task_name} of lm-eval leaves out some of the questions "
                f"({len(documents)} of {len(positions[task_name])} stay); give it a file of those "
                "that it asks"
            )
        own = _examples(task)
        for position, document in zip(positions[task_name], documents, strict=True):
            what = f"{name}: question {position} of {task_name}"
            try:
                problem = _problem(task, document)
                text = _plain(task.doc_to_text(document)) if own else ""
            except Exception as error:  # of a template, or of the task's own code
                raise LowrankError(
                    f"{what} cannot be read ({type(error).__name__}: {one_line(error)[:200]}): has "
                    "it a label, and are all `columns` listed that the task reads?"
                ) from None
            if problem:
                raise LowrankError(f"{what} {problem}")
            if text and text in own:
                raise LowrankError(
                    f"{what} stands among the examples before it, with its answer: name other "
                    "`exemplars`, or a task without examples"
                )


def _problem(task: Task, document: Mapping[str, Any]) -> str:
    """Return why a question cannot be scored; empty where it can."""
    empty = {key: "" for key, value in document.items() if value is None}
    if empty and task.doc_to_text(document) != task.doc_to_text({**document, **empty}):
        return f"has no value in a column that is shown ({', '.join(empty)})"
    target = task.doc_to_target(document)
    if task.OUTPUT_TYPE != "multiple_choice":
        is_hidden = target in (None, "", []) or (target == "None" and None in document.values())
        if task.config.process_results is None and (is_hidden or not str(target).strip()):
            return "has no answer to score by: a test split may hide it"
        return ""
    choices = task.doc_to_choice(document)
    for number, choice in enumerate(choices, start=1):
        if not isinstance(choice, str) or not choice.strip():
            return f"has a choice {number} without text"
    if task.config.process_results is not None:
        return ""
    # A task with several inputs (WinoGrande) names the right one in place of its text.
    right = task.doc_to_text(document) if task.multiple_input else target
    for own in right if isinstance(right, list) and right else [right]:
        is_known = own in choices if isinstance(own, str) else _is_place(own, choices)
        if not is_known:
            return (
                f"has the label {own!r}, which is none of its {len(choices)} choices: a test "
                "split may hide it"
            )
    return ""


def _is_place(value: Any, choices: Sequence[str]) -> bool:
    return isinstance(value, int) and 0 <= value < len(choices)


def _examples(task: Task) -> set[str]:
    """Return the questions that a task shows with their answers before each question."""
    if not task.get_config("num_fewshot"):
        return set()
    shown = task.fewshot_cfg.doc_to_text
    return {_plain(task.doc_to_text(example, shown)) for example in task.fewshot_docs() or ()} - {
        ""
    }


def _plain(text: Any) -> str:
    """Return a question as it is compared; empty where a task has no text for it."""
    return plain(text) if isinstance(text, str) else ""
