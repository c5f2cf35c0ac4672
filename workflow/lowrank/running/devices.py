"""Lease a GPU of this machine: jobs that run side by side get distinct devices.

A workflow engine that allows four GPU jobs at once does not say which of the four devices each
may use. A job takes an advisory lock on a free device and sees only that one; the kernel frees
the lock when the job ends, however it ends. A cluster scheduler's choice is the pool: the jobs
that run side by side in one allocation share it out among them in the same way.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from lowrank.base.errors import LowrankError
from lowrank.running.nvml import NvmlError, open_nvml

VISIBLE = "CUDA_VISIBLE_DEVICES"
NO_DEVICE = ("", "-1", "NoDevFiles")
"""What the variable says where there is none; CUDA ignores what stands behind it."""


def device_pool() -> list[str]:
    """Return the devices that may be leased: CUDA_VISIBLE_DEVICES if it is set, else all.

    Raises
    ------
    LowrankError
        If there is no NVIDIA driver.
    """
    if VISIBLE in os.environ:
        pool: dict[str, None] = {}
        for name in os.environ[VISIBLE].split(","):
            if name.strip() in NO_DEVICE:
                break
            pool[name.strip()] = None
        return list(pool)
    try:
        return [str(index) for index in range(open_nvml().count())]
    except NvmlError as error:
        raise LowrankError(
            f"no NVIDIA GPU can be used: {error}; run with `device: cpu` or config/laptop.yaml"
        ) from None


def require_devices(allowed: int | None, requests: Mapping[str, int]) -> None:
    """Check that this machine has the devices that a run asks for, before any job runs.

    Parameters
    ----------
    allowed
        What the run was allowed at once, `--resources gpu=<allowed>`; None for no limit.
    requests
        From a rule to the devices that one of its jobs asks for. A limit below it would be
        obeyed without a word: the job would get fewer.

    Raises
    ------
    LowrankError
        If a job asks for more than is allowed or there, or more is allowed than is there: jobs
        would wait for each other where the user expects none to.
    """
    rule = max(requests, key=lambda name: requests[name], default="")
    largest = requests.get(rule, 0)
    if largest < 1:
        return
    pool = device_pool()
    here = f"can be used here ({VISIBLE}={os.environ.get(VISIBLE, 'unset')})"
    if not pool:
        raise LowrankError(f"no GPU {here}; name some in it, or run with `device: cpu`")
    if allowed is not None and allowed > len(pool):
        raise LowrankError(
            f"`--resources gpu={allowed}` allows more GPUs than the {len(pool)} that {here}; "
            f"run with gpu={len(pool)}"
        )
    if allowed is not None and allowed < largest:
        raise LowrankError(
            f"a job of rule {rule} asks for {largest} GPU(s), but `--resources gpu={allowed}` "
            f"allows {allowed or 'none'}: allow {largest} or more"
        )
    if largest > len(pool):
        raise LowrankError(
            f"a job of rule {rule} asks for {largest} GPUs, but {len(pool)} {here}: ask for fewer "
            f"by `--set-resources {rule}:gpu={len(pool)}`"
        )


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
        If the machine has fewer devices than asked for, or no lock can be taken on one.
    """
    if device == "cpu":
        yield []
        return
    pool = device_pool()
    if not 1 <= count <= len(pool):
        raise LowrankError(
            f"the job asks for {count} GPU(s), but {len(pool)} can be used here "
            f"({VISIBLE}={os.environ.get(VISIBLE, 'unset')})"
        )
    held: dict[str, int] = {}
    before = os.environ.get(VISIBLE)
    try:
        while len(held) < count:
            for name in pool:
                if len(held) < count and name not in held:
                    handle = _try_lock(name)
                    if handle is not None:
                        held[name] = handle
            if len(held) < count:
                # Give back what was taken, or two jobs could wait for each other's devices; and
                # look again at different times, or they could take turns at it for ever.
                while held:
                    os.close(held.popitem()[1])
                time.sleep(poll_seconds * random.uniform(0.5, 1.5))
        os.environ[VISIBLE] = ",".join(held)
        yield list(held)
    finally:
        for handle in held.values():
            os.close(handle)
        os.environ.pop(VISIBLE, None)
        if before is not None:
            os.environ[VISIBLE] = before


def _lock_folder() -> Path:
    """Return the folder of the locks: one for the machine, or one for a SLURM allocation.

    Two allocations on a node may both call their device 0 and mean different ones.
    """
    allocation = os.environ.get("SLURM_JOB_ID")
    name = "lowrank-gpu-leases" + (f"-slurm-{quote(allocation, safe='')}" if allocation else "")
    return Path(os.environ.get("LOWRANK_LEASES", tempfile.gettempdir())) / name


def _try_lock(name: str) -> int | None:
    """Return the descriptor that holds a device's lock, or None if another job has it.

    Users share the locks: the folder is open to all, whatever the umask, and a lock that another
    user made needs only be readable.
    """
    folder = _lock_folder()
    path = folder / quote(name, safe="")
    handle = None
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            folder.chmod(0o1777)
        with contextlib.suppress(FileExistsError):
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.fchmod(made, 0o644)
            os.close(made)
        handle = os.open(path, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if handle is not None:
            os.close(handle)
        if isinstance(error, BlockingIOError):
            return None
        raise LowrankError(
            f"cannot take a lock on a GPU in {folder}: {error.strerror}; let LOWRANK_LEASES name "
            "a folder that all its users may write to"
        ) from None
    return handle
