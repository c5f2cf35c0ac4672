"""Kernels of an iteration: launched at once as a graph, and the time that they take together.

A decoder launches hundreds of small kernels for a token. A fast GPU waits for Python between them,
and what is timed then is the host. A graph is launched by one call (CUDA Programming Guide, "CUDA
Graphs"), as inference servers do.
"""

from __future__ import annotations

import functools
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


def captured(work: Callable[[], None], device: str = "cuda:0") -> Callable[[], None]:
    """Return an iteration whose kernels are launched at once, the same ones in the same order.

    Parameters
    ----------
    work
        Does the iteration on the device; it may not read anything back from it.
    device
        The GPU.

    Raises
    ------
    RuntimeError
        If the iteration cannot be captured, or memory runs out.
    """
    with torch.cuda.device(device):
        # Libraries set themselves up outside a capture, on a stream like its own.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            work()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=_pool(device)):
            work()
    return graph.replay


@functools.cache
def _pool(device: str) -> tuple[int, int]:
    """Return the memory that all graphs of a device share: they run one after the other."""
    return torch.cuda.graph_pool_handle()
