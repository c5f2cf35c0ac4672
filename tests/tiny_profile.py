"""What profiles of the tiny model are measured with, and work that fails."""

import itertools
from types import SimpleNamespace

from lowrank.project.studies import Model
from lowrank.space.architecture import Architecture
from tiny import ARCHITECTURE

SETTINGS = {
    "dtype": "float32",
    "device": "cpu",
    "seed": 3,
    "workloads": [
        {"phase": "prefill", "prompt": 12, "new_tokens": 0, "batch": None},
        {"phase": "decode", "prompt": 6, "new_tokens": 3, "batch": 1},
    ],
    "rows": 2,
    "batch": 2,
    "largest_batch": 8,
    "trials": 5,
    "seconds": 0,
    "warm_up": 3,
    "cuda_graphs": True,
    "gpus": 1,
}
TINY = Model("tiny", "Tiny", [], Architecture.from_config(ARCHITECTURE))


def failing(message, after):
    """A work whose run fails from a call on."""
    calls = itertools.count()

    def make(model, workload, seed):
        def run():
            if next(calls) >= after:
                raise RuntimeError(message)

        return SimpleNamespace(run=run, cache_bytes=lambda: 0)

    return make
