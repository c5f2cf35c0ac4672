"""The job that evaluates a configuration: its arguments, its device, and its warm start.

Nothing here imports torch before it must: on a CPU the work is done in a fork of a process that has
it, and the job itself only waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lowrank.base import cli
from lowrank.running.devices import lease
from lowrank.running.warm_start import run_warm


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
