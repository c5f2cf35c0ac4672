"""Memory of one model: weights, keys and values, activations, allocator, process."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lowrank.profile.iteration import make_work
from lowrank.profile.workloads import Workload
from lowrank.quantize.sizes import tensor_bytes, weight_bytes


def release(device: str) -> None:
    """Empty a GPU's allocator, so that no measurement sees what was before it."""
    if device.startswith("cuda"):
        gc.collect()
        torch.cuda.empty_cache()


def beside(model: PreTrainedModel, others: Iterable[PreTrainedModel]) -> list[Tensor]:
    """Return the tensors that only `others` hold, each once; models may share weights."""
    own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    theirs = {
        id(tensor): tensor for other in others for tensor in (*other.parameters(), *other.buffers())
    }
    return [tensor for key, tensor in theirs.items() if key not in own]


def measure_memory(
    model: PreTrainedModel,
    others: Iterable[PreTrainedModel],
    workload: Workload,
    seed: int,
) -> dict[str, Any]:
    """Run a workload once on a model, and say what it took.

    Parameters
    ----------
    others
        Models that are in the process, too. What only they hold is taken off.

    Returns
    -------
    `weights`, `cache`, and what the device tells, in bytes: on a GPU the allocator's peak, what it
    reserved, and `activations` (the peak less weights and cache); on a CPU the process's resident
    set with what in it only the others hold (`others`), and no activations, which a resident set
    cannot tell apart.
    """
    on_gpu = model.device.type == "cuda"
    release(str(model.device))
    if on_gpu:
        torch.cuda.synchronize(model.device)
        torch.cuda.reset_peak_memory_stats(model.device)
        of_others = torch.cuda.memory_allocated(model.device) - weight_bytes(model)
    work = make_work(model, workload, seed)
    work.run()
    weights, cache = weight_bytes(model), work.cache_bytes()
    made: dict[str, Any] = {"weights": weights, "cache": cache}
    if on_gpu:
        torch.cuda.synchronize(model.device)
        peak = torch.cuda.max_memory_allocated(model.device) - of_others
        free, total = torch.cuda.mem_get_info(model.device)
        return made | {
            "allocated_peak": peak,
            "reserved_peak": torch.cuda.max_memory_reserved(model.device) - of_others,
            "activations": max(0, peak - weights - cache),
            "device_used": total - free - of_others,
        }
    return made | {
        "resident": resident_bytes(),
        "others": tensor_bytes(beside(model, others)),
        "activations": None,
    }


def resident_bytes(name: str = "VmRSS") -> int | None:
    """Return the resident set of this process, or None where the kernel does not say.

    Parameters
    ----------
    name
        `VmRSS` as it is, or `VmHWM` at its most.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return None
