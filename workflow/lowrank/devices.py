"""Lease a GPU of this machine: jobs that run side by side get distinct devices.

A workflow engine that allows four GPU jobs at once does not say which of the four devices each
may use. A job takes an advisory lock on a free device and sees only that one; the kernel frees
the lock when the job ends, however it ends. Under a cluster scheduler, which assigns devices
itself, nothing is leased.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lowrank.errors import LowrankError

VISIBLE = "CUDA_VISIBLE_DEVICES"


def device_pool() -> list[str]:
    """Return the devices that may be leased: CUDA_VISIBLE_DEVICES if it is set, else all.

    Raises
    ------
    LowrankError
        If there is no NVIDIA driver.
    """
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip()]
    import pynvml

    try:
        pynvml.nvmlInit()
        return [str(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        raise LowrankError(
            f"no NVIDIA GPU can be used ({error}); run with `device: cpu` or config/laptop.yaml"
        ) from None


def require_devices(count: int) -> None:
    """Check that this machine has as many devices as a run may use at once.

    Parameters
    ----------
    count
        What the run was allowed, `--resources gpu=<count>`.

    Raises
    ------
    LowrankError
        If there are fewer: jobs would wait for each other where the user expects none to.
    """
    pool = device_pool()
    if count > len(pool):
        raise LowrankError(
            f"`--resources gpu={count}` allows more GPUs than the {len(pool)} that can be used "
            f"here ({VISIBLE}={os.environ.get(VISIBLE, 'unset')}); run with gpu={len(pool)}"
        )
    if count < 1:
        raise LowrankError("`--resources gpu=0` leaves none to the jobs: allow 1 or more")


@contextlib.contextmanager
def lease(device: str, count: int = 1, poll_seconds: float = 0.5) -> Iterator[list[str]]:
    """Hold `count` devices for the block and make them the only visible ones.

    Parameters
    ----------
    device
        `cuda`, or `cpu`, for which nothing is leased.
    count
        How many devices.
    poll_seconds
        How often to look for a free device while all are taken.

    Raises
    ------
    LowrankError
        If the machine has fewer devices than asked for.
    """
    if device == "cpu" or "SLURM_JOB_ID" in os.environ:
        yield []
        return
    pool = device_pool()
    if count > len(pool):
        raise LowrankError(
            f"the job asks for {count} GPU(s), but {len(pool)} can be used here "
            f"({VISIBLE}={os.environ.get(VISIBLE, 'unset')})"
        )
    held: dict[str, IO[str]] = {}
    before = os.environ.get(VISIBLE)
    try:
        while len(held) < count:
            for name in pool:
                if len(held) < count and name not in held:
                    handle = _try_lock(name)
                    if handle is not None:
                        held[name] = handle
            if len(held) < count:
                # Give back what was taken, or two jobs could wait for each other's devices.
                while held:
                    held.popitem()[1].close()
                time.sleep(poll_seconds)
        os.environ[VISIBLE] = ",".join(held)
        yield list(held)
    finally:
        for handle in held.values():
            handle.close()
        os.environ.pop(VISIBLE, None)
        if before is not None:
            os.environ[VISIBLE] = before


def _try_lock(name: str) -> IO[str] | None:
    folder = Path(os.environ.get("LOWRANK_LEASES", tempfile.gettempdir())) / "lowrank-gpu-leases"
    folder.mkdir(mode=0o1777, exist_ok=True)
    handle = open(folder / name, "a")  # noqa: SIM115 - held open for as long as the lease
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return None
    return handle
