"""What is asked of every configuration, prepared once, whoever scores the benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowrank.base.errors import about
from lowrank.base.names import CONTINUATIONS, PERPLEXITY, PROGRAMS
from lowrank.evaluate.problems import prepare_continuations, prepare_programs
from lowrank.evaluate.requests import prepare_requests
from lowrank.evaluate.windows import prepare_windows


def prepare(
    base: str | Path,
    questions: str | Path,
    benchmark: Mapping[str, Any],
    settings: Mapping[str, Any],
    questions_output: str | Path,
    requests_output: str | Path,
) -> None:
    """Choose what a benchmark asks, and write the tokens of its requests.

    Parameters
    ----------
    base, settings, questions_output, requests_output
        See `lowrank.evaluate.requests.prepare_requests`.
    questions
        The benchmark's questions, or the text whose windows it asks
        (`lowrank.evaluate.windows.prepare_windows`).
    benchmark
        Its entry; the `scorer` says what it asks.

    Raises
    ------
    LowrankError
        See there.
    """
    by_scorer = {
        CONTINUATIONS: prepare_continuations,
        PERPLEXITY: prepare_windows,
        PROGRAMS: prepare_programs,
    }
    own = by_scorer.get(benchmark.get("scorer", ""), prepare_requests)
    with about(f"benchmark {benchmark['name']}"):
        own(base, questions, benchmark, settings, questions_output, requests_output)
