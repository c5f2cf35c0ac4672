"""How long a GPU computes during an iteration: the rest of its time it waits for the host."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

LAUNCH_BOUND = "launch-bound: the GPU waits for the host between kernels"
LEAST_SHARE = 0.8
"""Share of an iteration's time in kernels below which it is called launch-bound."""


def kernel_seconds(work: Callable[[], None]) -> float:
    """Return the time that an iteration spends in kernels and copies on the GPU.

    Kernels take as long under the profiler as without it; only launching them takes longer. So the
    sum over the time of an undisturbed iteration is the share in which the GPU computes.

    Parameters
    ----------
    work
        Does the iteration once, on one GPU and one stream.
    """
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as seen:
        work()
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in seen.key_averages()) / 1e6
