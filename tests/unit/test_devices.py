import multiprocessing
import os
import signal
import time

import pytest
from lowrank import devices
from lowrank.errors import LowrankError


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
    while devices._try_lock("3") is not None:
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


def test_a_run_that_is_allowed_more_than_there_are():
    devices.require_devices(4)
    with pytest.raises(LowrankError, match=r"gpu=5` allows more GPUs than the 4 .* run with gpu=4"):
        devices.require_devices(5)
    with pytest.raises(LowrankError, match="gpu=0` leaves none"):
        devices.require_devices(0)


def test_a_scheduler_assigns_its_own(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with devices.lease("cuda") as held:
        assert held == [] and os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"


def test_a_cpu_needs_no_lease():
    with devices.lease("cpu") as held:
        assert held == []
