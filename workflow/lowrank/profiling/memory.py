"""Memory of one model alone: weights, keys and values, activations, allocator, process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from lowrank.profiling.works import Work


def weight_bytes(model: PreTrainedModel) -> int:
    """Return the bytes of a model's parameters and buffers; tied ones count once."""
    tensors = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in (*model.parameters(), *model.buffers())
    }
    return sum(tensors.values())


def measure_memory(model: PreTrainedModel, work: Work) -> dict[str, Any]:
    """Run a workload once on a model that is alone in the process, and say what it took.

    Returns
    -------
    `weights`, `cache`, and what the device tells, in bytes: on a GPU the allocator's peak, what it
    reserved, and `activations` (the peak less weights and cache); on a CPU the process's resident
    set, and no activations, which a resident set cannot tell apart.
    """
    on_gpu = model.device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    work.run()
    weights, cache = weight_bytes(model), work.cache_bytes()
    made: dict[str, Any] = {"weights": weights, "cache": cache}
    if on_gpu:
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated()
        free, total = torch.cuda.mem_get_info()
        return made | {
            "allocated_peak": peak,
            "reserved_peak": torch.cuda.max_memory_reserved(),
            "activations": max(0, peak - weights - cache),
            "device_used": total - free,
        }
    return made | {"resident": resident_bytes(), "activations": None}


def resident_bytes() -> int | None:
    """Return the resident set of this process, or None where the kernel does not say."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return None
