"""What is asked of every configuration, prepared once, whoever scores the benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowrank.base.names import PERPLEXITY
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
        Its entry; the `scorer` says which of the two.

    Raises
    ------
    LowrankError
        See there.
    """
    own = prepare_windows if benchmark.get("scorer") == PERPLEXITY else prepare_requests
    own(base, questions, benchmark, settings, questions_output, requests_output)
