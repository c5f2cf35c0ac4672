"""How many rows a measurement has: a number of the configuration, or the most that fit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from lowrank.base.errors import is_out_of_memory
from lowrank.base.names import CAPPED_BATCH, FIXED_BATCH, LARGEST_BATCH
from lowrank.profile.iteration import make_work
from lowrank.profile.memory import release
from lowrank.profile.rounds import largest_batch
from lowrank.profile.workloads import Requests, Workload, distinct, fixed, of_benchmark

Models = Mapping[str, PreTrainedModel]
"""From `DENSE` and the names of configurations to models on one device, which share weights."""


def chosen_workloads(
    models: Models, requests: Sequence[tuple[str, Requests]], settings: Mapping[str, Any]
) -> tuple[list[Workload], int | None]:
    """Return what to measure, and the rows of fixed work that were searched for; None if none were.

    Each benchmark has a search of its own on a GPU, since its requests have lengths of their own.

    Parameters
    ----------
    models
        The models that are measured together.
    requests
        What figures call a benchmark, and its requests.
    settings
        See `lowrank.profile.job.measure`.

    Raises
    ------
    LowrankError
        If not even one row fits.
    """
    is_auto = settings["batch"] == "auto"
    found, made = None, []
    left_open = [entry for entry in settings["workloads"] if entry["batch"] is None]
    if is_auto and left_open:
        makers = [functools.partial(fixed, entry) for entry in left_open]
        found = _largest_batch(models, makers, settings)
    for entry in settings["workloads"]:
        if found is not None and entry["batch"] is None:
            made.append(fixed(entry, found, _rule(found, settings)))
        else:
            made.append(fixed(entry, entry["batch"] or settings["batch"]))
    is_searched = is_auto and settings["device"] == "cuda"
    for label, of_label in requests:
        make = functools.partial(of_benchmark, label, of_label)
        if is_searched:
            rows = _largest_batch(models, [make], settings)
            rule = _rule(rows, settings)
        else:
            rows = settings["rows"] if settings["device"] == "cpu" else settings["batch"]
            rule = FIXED_BATCH
        made.append(make(rows, rule))
    return distinct(made), found


def _rule(found: int, settings: Mapping[str, Any]) -> str:
    """Return whether a search ended at the most rows that fit, or at its limit, which fit too."""
    return LARGEST_BATCH if found < settings["largest_batch"] else CAPPED_BATCH


def _largest_batch(
    models: Models, makers: Sequence[Callable[[int], Workload]], settings: Mapping[str, Any]
) -> int:
    """Return the most rows with which all models run each of some workloads.

    What is tried is what is measured: the works of all models at once, each of them run.
    """

    def runs(workload: Workload) -> bool:
        try:
            works = [make_work(model, workload, settings["seed"]) for model in models.values()]
            for work in works:
                work.run()
            if settings["device"] == "cuda":
                torch.cuda.synchronize()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def fits(rows: int) -> bool:
        for make in makers:
            fitted = runs(make(rows))
            # Out of the handler, which keeps the tensors of a failed pass alive.
            release(settings["device"])
            if not fitted:
                return False
        return True

    return largest_batch(fits, settings["largest_batch"])
