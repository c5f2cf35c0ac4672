"""Kernels of an iteration: launched at once as a graph, and the time that they take together.

A decoder launches hundreds of small kernels for a token. A fast GPU waits for Python between them,
and what is timed then is the host. A graph is launched by one call (CUDA Programming Guide, "CUDA
Graphs"), as inference servers do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Captured:
    """An iteration as one graph.

    Attributes
    ----------
    graph
        Its kernels.
    work
        What was captured: it holds the inputs and the cache that the kernels read and write.
    """

    graph: torch.cuda.CUDAGraph
    work: Callable[[], None]

    def __call__(self) -> None:
        """Run the kernels."""
        self.graph.replay()


def captured(
    work: Callable[[], None], device: str = "cuda:0", beside: Captured | None = None
) -> Captured:
    """Return an iteration that runs the same kernels in the same order, launched by one call.

    Parameters
    ----------
    work
        Does the iteration on the device; it may not read anything back from it.
    device
        The GPU.
    beside
        One whose working memory this one shares, since the two never run at the same time.

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
        with torch.cuda.graph(graph, pool=None if beside is None else beside.graph.pool()):
            work()
    return Captured(graph, work)
