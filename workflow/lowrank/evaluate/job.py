"""The job that evaluates a configuration on all its benchmarks, whoever answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lowrank.base import cli
from lowrank.evaluate.configuration import Configuration
from lowrank.evaluate.result import Answers, Scored, write_results
from lowrank.running.devices import lease
from lowrank.running.warm_start import run_warm


@dataclass(frozen=True)
class Asked:
    """What is asked of a configuration on one benchmark.

    Attributes
    ----------
    benchmark
        Its entry, as far as it shapes a score: `name`, `metric` and more.
    settings
        `limit` (None for all questions), `block`, `seed`, `sampling` and `max_new_tokens`.
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
        found, details = answering.answer(asked)
        scored.append(Scored(asked.benchmark, asked.settings, found, details))
    write_results(output, samples_output, scores_output, scored, configuration.manifest, settings)


def run(description: str | None, target: str, load: Callable[[], Callable[..., None]]) -> None:
    """Parse an evaluating script's arguments and do its work, warm where the run has a server.

    Parameters
    ----------
    description
        The script's docstring.
    target
        `module:function` of what evaluates, for the server.
    load
        Imports the same function; the import is heavy and is done only without a server.
    """
    names = ("weights", "compressed", "answers", "output", "samples", "scores")
    parser = cli.parser(description, *names, benchmarks="JSON", settings="JSON")
    parser.add_argument("--questions", nargs="+", required=True, help="files, one a benchmark")
    parser.add_argument("--requests", nargs="*", default=[], help="files of tokenized requests")
    parser.add_argument("--gpus", type=int, default=1, help="how many to lease on `cuda`")
    arguments = parser.parse_args()
    device = arguments.settings["device"]
    call = [arguments.weights, arguments.compressed, arguments.benchmarks, arguments.settings]
    call += [getattr(arguments, name) for name in names[2:]]
    call += [arguments.questions, arguments.requests]
    if device == "cpu" and run_warm(target, call):
        return
    evaluate = load()
    with lease(device, arguments.gpus):
        evaluate(*call)


def prepare(base: str, compressed: str, benchmarks: Any, settings: Any, *_: Any) -> None:
    """Load what every job of a model needs; takes what is evaluated with (see `warm_start`)."""
    from lowrank.decompose.loading import preload

    preload(base, settings["dtype"])
