"""What the jobs that score a configuration share, whoever scores it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lowrank.base import cli
from lowrank.running.devices import lease
from lowrank.running.warm_start import run_warm


def run(description: str | None, target: str, load: Callable[[], Callable[..., None]]) -> None:
    """Parse a scoring script's arguments and do its work, warm where the run has a server.

    Parameters
    ----------
    description
        The script's docstring.
    target
        `module:function` of what scores, for the server.
    load
        Imports the same function; the import is heavy and is done only without a server.
    """
    names = ("weights", "compressed", "questions", "output", "samples", "scores")
    parser = cli.parser(description, *names, benchmark="JSON", settings="JSON")
    parser.add_argument("--requests", nargs="?", help="tokenized requests, where there are any")
    parser.add_argument("--gpus", type=int, default=1, help="how many to lease on `cuda`")
    arguments = parser.parse_args()
    device = arguments.settings["device"]
    call = [getattr(arguments, name) for name in names[:3]]
    call += [arguments.benchmark, arguments.settings]
    call += [getattr(arguments, name) for name in names[3:]]
    call += [arguments.requests] if arguments.requests else []
    if device == "cpu" and run_warm(target, call):
        return
    evaluate = load()
    with lease(device, arguments.gpus):
        evaluate(*call)


def prepare(
    base: str, compressed: str, questions: str, benchmark: Any, settings: Any, *_: Any
) -> None:
    """Load what every job of a model needs; takes what is scored with (see `warm_start`)."""
    from lowrank.decompose.loading import preload

    preload(base, settings["dtype"])
