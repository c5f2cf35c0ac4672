"""What is seen around a measurement, and what it casts doubt on."""

import sys

import pytest
from fake_nvml import FakeNvml
from lowrank.profile import watch
from lowrank.running.nvml import Nvml, open_nvml


def state_around(nvml, joins=()):
    """The doubts of a measurement on GPU-0, which processes join while it lasts."""
    gpus = watch.GpuWatch(Nvml(nvml))
    before = gpus.before(["GPU-0"])
    for pid in joins:
        nvml.join("GPU-0", pid)
    return watch.doubts(before, gpus.after(["GPU-0"]))


def test_a_gpu_of_this_process_alone_is_not_doubted():
    assert state_around(FakeNvml(), [None]) == []


def test_in_a_container_the_first_new_process_is_this_one():
    assert state_around(FakeNvml(), [4711]) == []
    assert state_around(FakeNvml(), [4711, 4712]) == ["busy: 1 other process(es) on the GPU"]


def test_a_process_that_was_there_before_is_another_whatever_its_number():
    nvml = FakeNvml()
    nvml.join("GPU-0")  # this process's number, in another namespace
    assert state_around(nvml, [4711]) == ["busy: 1 other process(es) on the GPU"]


def test_a_list_of_processes_that_lacks_this_one_is_not_believed():
    assert state_around(FakeNvml()) == ["other processes on the GPU could not be listed"]


def test_a_list_of_processes_that_is_denied_is_no_empty_list():
    nvml = FakeNvml()

    def denied(handle):
        raise nvml.NVMLError("No Permission")

    nvml.nvmlDeviceGetComputeRunningProcesses = denied
    assert state_around(nvml) == ["other processes on the GPU could not be listed"]


def test_a_busy_process_on_another_gpu_does_not_matter():
    nvml = FakeNvml(uuids=("GPU-0", "GPU-1"))
    nvml.join("GPU-1", 99)
    assert state_around(nvml, [None]) == []


def test_a_throttled_gpu_is_doubted_by_its_old_name_too():
    nvml = FakeNvml()
    nvml.nvmlDeviceGetCurrentClocksEventReasons = None  # a driver before 535
    assert state_around(nvml, [None]) == ["throttle reasons could not be read"]
    nvml.pids["GPU-0"].clear()
    nvml.nvmlDeviceGetCurrentClocksThrottleReasons = lambda handle: 0x40 | 0x4 | 0x1
    assert state_around(nvml, [4711]) == [
        "throttled: hardware thermal slowdown",
        "throttled: software power cap (normal at full load)",
    ]


def test_without_nvml_nothing_is_taken_for_clean(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as where it is not installed
    gpus = watch.GpuWatch(open_nvml())
    found = watch.doubts(gpus.before(["GPU-0"]), gpus.after(["GPU-0"]))
    assert found[0].startswith("NVML cannot be used (")
    assert found[0].endswith("clocks and throttling are unknown")
    assert found[1] == "other processes on the GPU could not be listed"


def test_what_nvml_cannot_say_is_null():
    nvml = FakeNvml()

    class MismatchError(Exception):  # as of a library that does not fit: no NVMLError
        pass

    def fail(*arguments):
        raise MismatchError("Unversioned function called")

    nvml.nvmlDeviceGetTemperature = fail
    nvml.nvmlDeviceGetEnforcedPowerLimit = lambda handle: 400_000
    (state,) = watch.GpuWatch(Nvml(nvml)).before(["GPU-0"])
    assert (state["name"], state["power_cap_watts"]) == ("A GPU", 400)
    assert state["temperature_celsius"] is None and state["ecc"] is None


def test_a_processor_that_others_use_is_doubted(monkeypatch):
    def load(everyone, own):
        """Ten seconds in which this process and everyone worked so many."""
        clocks = iter([(100.0, 50.0, 7.0), (110.0, 50.0 + everyone, 7.0 + own)])
        monkeypatch.setattr(watch, "_clocks", lambda: next(clocks))
        cpu = watch.CpuWatch()
        after = cpu.after()
        return after["busy_cores_of_others"], watch.doubts(cpu.before(), after)

    assert load(everyone=20, own=18) == (pytest.approx(0.2), [])
    assert load(everyone=20, own=5) == (1.5, ["busy: more than 0.5 cores in use by others"])
    monkeypatch.setattr(watch, "_clocks", lambda: None)
    after = watch.CpuWatch().after()
    assert watch.doubts({}, after) == ["the load of other processes could not be read"]
