"""The evaluation of a configuration on all its benchmarks, whoever answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lowrank.base.errors import about
from lowrank.evaluate.configuration import Configuration
from lowrank.evaluate.result import Answers, Scored, write_results


@dataclass(frozen=True)
class Asked:
    """What is asked of a configuration on one benchmark.

    Attributes
    ----------
    benchmark
        Its entry, as far as it shapes a score: `name`, `metric` and more.
    settings
        `limit` (None for all questions), `block`, `seed`, `sampling`, `max_new_tokens` and
        `batch_size`.
    questions
        The file of its questions: those to ask, from `prepare_requests`, or where lm-eval does not
        ask them all of them, from `fetch_benchmark`.
    requests
        Their tokenized requests; empty where lm-eval does not ask them.
    """

    benchmark: Mapping[str, Any]
    settings: Mapping[str, Any]
    questions: str
    requests: str = ""


class Answerer(Protocol):
    """Answers benchmarks for one configuration."""

    def __init__(self, configuration: Configuration) -> None: ...

    def answer(self, asked: Asked) -> tuple[Answers, dict[str, Any]]:
        """Return the answers, and what else the result says of the benchmark."""


def evaluate_with(
    answerer: Callable[[Configuration], Answerer],
    base: str | Path,
    compressed: str | Path,
    benchmarks: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    answers: str | Path,
    output: str | Path,
    samples_output: str | Path,
    scores_output: str | Path,
    questions: Sequence[str],
    requests: Sequence[str] = (),
) -> None:
    """Evaluate one configuration on its benchmarks and write the result.

    Parameters
    ----------
    answerer
        Who answers, made from the configuration.
    base, compressed
        Directories of the base model and of the compressed one.
    benchmarks
        Of each its `entry` and its `settings`; see `Asked`.
    settings
        `dtype`, `device`, `scorer`, `batch_size`, `seed` and `sampling`.
    answers
        The folder of all answers: see `lowrank.evaluate.store`.
    output, samples_output, scores_output
        See `lowrank.evaluate.result.write_results`.
    questions, requests
        Files, one a benchmark; see `Asked`.

    Raises
    ------
    LowrankError
        If the model or the questions cannot be read, or an answer is not finite.
    """
    configuration = Configuration(base, compressed, settings, answers)
    answering = answerer(configuration)
    scored = []
    for number, benchmark in enumerate(benchmarks):
        asked = Asked(
            benchmark["entry"],
            benchmark["settings"],
            questions[number],
            requests[number] if requests else "",
        )
        with about(f"benchmark {asked.benchmark['name']} ({asked.questions})"):
            found, details = answering.answer(asked)
        scored.append(Scored(asked.benchmark, asked.settings, found, details))
    write_results(output, samples_output, scores_output, scored, configuration.manifest, settings)
