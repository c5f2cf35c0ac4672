import multiprocessing
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
from lowrank.base.errors import LowrankError
from lowrank.running import devices


@pytest.fixture(autouse=True)
def four_fake_devices(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.setenv("LOWRANK_LEASES", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def hold(count, seconds, queue):
    with devices.lease("cuda", count, poll_seconds=0.01) as held:
        begin = time.monotonic()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(held)
        time.sleep(seconds)
        queue.put((held, begin, time.monotonic()))


def test_no_device_is_held_by_two_jobs_at_once():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    counts = [1, 2, 1, 3, 1, 2, 1, 1, 4, 1, 2, 1]
    jobs = [context.Process(target=hold, args=(count, 0.05, queue)) for count in counts]
    for job in jobs:
        job.start()
    leases = [queue.get(timeout=60) for _ in jobs]
    for job in jobs:
        job.join()
    assert sorted(len(held) for held, _, _ in leases) == sorted(counts)
    for index, (held, begin, end) in enumerate(leases):
        for other, other_begin, other_end in leases[:index]:
            overlap = begin < other_end and other_begin < end
            assert not (overlap and set(held) & set(other))


def test_a_killed_job_frees_its_device():
    context = multiprocessing.get_context("fork")
    job = context.Process(target=hold, args=(4, 60, context.Queue()))
    job.start()
    while (free := devices._try_lock("3")) is not None:
        os.close(free)
        time.sleep(0.01)
    os.kill(job.pid, signal.SIGKILL)
    job.join()
    with devices.lease("cuda", 4, poll_seconds=0.01) as held:
        assert held == ["0", "1", "2", "3"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"


def test_more_devices_than_there_are_fail_at_once():
    message = r"asks for 5 GPU\(s\), but 4 can be used here"
    with pytest.raises(LowrankError, match=message), devices.lease("cuda", 5):
        pass


def test_a_run_that_is_allowed_or_asks_for_more_than_there_are():
    devices.require_devices(4, {"evaluate": 1})
    devices.require_devices(None, {"evaluate": 4})
    devices.require_devices(0, {"evaluate": 0})
    refusals = [
        (5, {"evaluate": 1}, r"gpu=5` allows more GPUs than the 4 .* run with gpu=4"),
        (0, {"evaluate": 1}, r"rule evaluate asks for 1 GPU\(s\), .* allows none: allow 1 or more"),
        (1, {"evaluate": 2, "profile": 1}, r"rule evaluate asks for 2 GPU.* allows 1: allow 2"),
        (None, {"evaluate": 5}, r"asks for 5 GPUs, but 4 can be used .*-resources evaluate:gpu=4"),
    ]
    for allowed, requests, message in refusals:
        with pytest.raises(LowrankError, match=message):
            devices.require_devices(allowed, requests)


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles"])
def test_no_visible_device_is_said_and_no_number_is_advised(monkeypatch, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert devices.device_pool() == []
    with pytest.raises(LowrankError, match="no GPU can be used here") as caught:
        devices.require_devices(1, {"evaluate": 1})
    assert "gpu=" not in str(caught.value)


def test_a_device_that_is_named_twice_is_one(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,0")
    assert devices.device_pool() == ["0"]
    with pytest.raises(LowrankError, match="asks for 2"), devices.lease("cuda", 2):
        pass


def test_names_of_partitions_hold_slashes(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-8f/1/0,MIG-GPU-8f/2/0")
    with devices.lease("cuda", 2) as held:
        assert held == ["MIG-GPU-8f/1/0", "MIG-GPU-8f/2/0"]


def test_without_the_package_that_counts_devices(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(LowrankError, match="GPU can be used: NVML cannot be used .*pynvml"):
        devices.device_pool()


def test_a_scheduler_s_allocation_is_shared_out(monkeypatch):
    """An allocation of four GPUs in which a whole run goes on: no two jobs get the same."""
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with devices.lease("cuda") as one:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")  # as a job beside it starts out
        with devices.lease("cuda") as other:
            assert one == ["0"] and other == ["1"]
    # Another allocation's device 0 is another device.
    with devices.lease("cuda", 4):
        monkeypatch.setenv("SLURM_JOB_ID", "2")
        with devices.lease("cuda", 4) as held:
            assert held == ["0", "1", "2", "3"]


def test_four_jobs_run_side_by_side_on_four_devices(tmp_path):
    """Each waits until all four hold a device: one lease at a time would never end."""
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(4), context.Queue()

    def meet():
        with devices.lease("cuda", poll_seconds=0.01) as held:
            barrier.wait(timeout=60)
            queue.put(held[0])

    jobs = [context.Process(target=meet) for _ in range(4)]
    for job in jobs:
        job.start()
    assert sorted(queue.get(timeout=60) for _ in jobs) == ["0", "1", "2", "3"]
    for job in jobs:
        job.join()
        assert job.exitcode == 0


def lease_as_nobody(queue):
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    os.environ["CUDA_VISIBLE_DEVICES"] = "0,1,2,3"
    with devices.lease("cuda", poll_seconds=0.01) as held:
        queue.put(held)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
def test_two_users_share_the_locks_whatever_the_umask(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        monkeypatch.setenv("LOWRANK_LEASES", folder)
        mask = os.umask(0o077)
        try:
            context = multiprocessing.get_context("fork")
            queue = context.Queue()
            with devices.lease("cuda") as held:
                job = context.Process(target=lease_as_nobody, args=(queue,))
                job.start()
                assert queue.get(timeout=30) == ["1"]
                assert held == ["0"]
                job.join()
        finally:
            os.umask(mask)


def test_a_lock_that_cannot_be_taken_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LOWRANK_LEASES", str(tmp_path / "file"))
    with pytest.raises(LowrankError, match="cannot take a lock on a GPU in .*LOWRANK_LEASES"):
        devices._try_lock("0")


def test_a_cpu_needs_no_lease():
    with devices.lease("cpu") as held:
        assert held == []
