"""Programs: which of those that a model wrote pass their tests, and pass@k."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lowrank.assets.choice import read_questions
from lowrank.base.metric import programs_of
from lowrank.base.names import PLACE
from lowrank.evaluate.evaluation import Asked
from lowrank.evaluate.pass_at_k import pass_at_k
from lowrank.evaluate.requests import (
    asked_facts,
    first_questions,
    original_positions,
    places_of_questions,
)
from lowrank.evaluate.result import Answers
from lowrank.evaluate.scores import quantities
from lowrank.evaluate.store import AnswerStore
from lowrank.sandbox.outcomes import PASSED
from lowrank.sandbox.programs import Limits, Program, described, run_programs, sandbox_kind

AT_ONCE = 8
"""Most programs that run at the same time, however many threads there are: each may take memory."""


def require(asked: Asked) -> None:
    """Check that programs can be run here, before any is asked for.

    Raises
    ------
    LowrankError
        If they cannot, and the risk is not accepted.
    """
    sandbox_kind(asked.settings["sandbox"]["accept_risk"])


def score(
    asked: Asked, requests: Sequence[Mapping[str, Any]], store: AnswerStore, dtype: str
) -> tuple[Answers, dict[str, Any]]:
    """Run the programs that answer a benchmark's problems, and return what they are worth.

    Equal programs of a problem are run once. A program that takes nearly as long as it may can end
    otherwise on a busier machine; whatever else becomes of one is the same again.

    Parameters
    ----------
    asked
        What was asked. Its entry has `name`, `protocol`, `metric` and `beside`; its settings have
        `sandbox`.
    requests
        Those of `lowrank.evaluate.problems.prepare_programs`.
    store
        The configuration's answers, those of `requests` among them.
    dtype
        What the model computed in.

    Returns
    -------
    The answers, and what else the result says: the `protocol`, the `sandbox`, and how many programs
    had which of the `outcomes`.

    Raises
    ------
    LowrankError
        If a sandbox cannot be made, or a metric is none of programs.
    """
    benchmark, table = asked.benchmark, read_questions(asked.questions)
    wanted = first_questions(table, asked.settings["limit"])
    positions, places = original_positions(wanted)[""], places_of_questions(wanted)
    problems = dict(zip(positions, wanted.to_pylist(), strict=True))
    written = [
        (row["question"], row["context"], store[row["key"]])
        for row in requests
        if row["question"] in problems
    ]
    programs = list(dict.fromkeys((question, own + text) for question, own, text in written))
    own = asked.settings["sandbox"]
    limits = Limits(seconds=own["seconds"], memory_mib=own["memory_mib"])
    kind = sandbox_kind(own["accept_risk"])
    found = run_programs(
        [_program(problems[question], text) for question, text in programs],
        limits,
        kind,
        min(AT_ONCE, torch.get_num_threads()),
    )
    outcomes = dict(zip(programs, found, strict=True))
    samples: list[dict[str, Any]] = []
    counts: Counter[int] = Counter()
    for question, context, text in written:
        outcome = outcomes[question, context + text]
        samples.append(
            {
                "task": benchmark["name"],
                "doc_id": question,
                "sample": counts[question],
                "completion": text,
                "passed": outcome == PASSED,
                "outcome": outcome,
            }
        )
        counts[question] += 1
    passed = Counter(sample["doc_id"] for sample in samples if sample["passed"])

    def worth(metric: str) -> list[dict[str, Any]]:
        return [
            {
                "task": benchmark["name"],
                "question": question,
                "value": pass_at_k(counts[question], passed[question], programs_of(metric)),
            }
            for question in positions
        ]

    headline, others = quantities(benchmark)
    answers = Answers(
        samples,
        [each | {PLACE: places["", each["question"]]} for each in worth(headline.metric.name)],
        **asked_facts(table, asked.questions),
        dtype=dtype,
        beside={name: (other.metric, worth(other.metric.name)) for name, other in others.items()},
    )
    return answers, {
        "protocol": benchmark["protocol"],
        "sandbox": described(limits, kind),
        "outcomes": dict(sorted(Counter(sample["outcome"] for sample in samples).items())),
    }


def _program(problem: Mapping[str, Any], text: str) -> Program:
    """Return a program with the tests of its problem, as HumanEval's own harness joins them."""
    entry_point = problem["entry_point"]
    tests = f"{problem['test']}\ncheck({entry_point})\n"
    return Program(text, entry_point, tests, before=problem["prompt"])
