# ruff: noqa: N802 (NVML's own names)
"""A simulated NVML: GPUs that draw a set power, healthy and broken."""

import os
import time
from types import SimpleNamespace


class FakeNvml:
    """GPUs that draw a set power; a counter in millijoules follows the clock.

    Faults: `missing` (no library), `no_counter`, `frozen`, `backwards`, `lost` (nothing answers
    after the first reads), `denied` (nothing may be read), `hanging` (power never returns).

    Parameters
    ----------
    watts
        What each GPU draws: a number, or a number by UUID.
    scale
        The counter is wrong by this factor.
    tick
        Seconds between two updates of the counter; 0 for a counter that is always up to date.
    """

    class NVMLError(Exception):
        pass

    def __init__(self, watts=100.0, fault=None, scale=1.0, tick=0.0, uuids=("GPU-0",)):
        self.watts, self.fault, self.scale, self.tick = watts, fault, scale, tick
        self.uuids = list(uuids)
        self.start, self.reads = time.perf_counter(), 0
        self.frozen_at = None
        self.bits, self.clock, self.temperature = 0, 1500, 50
        self.pids = {uuid: [] for uuid in self.uuids}
        self.asked = []

    def nvmlInit(self):
        if self.fault == "missing":
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlDeviceGetCount(self):
        return len(self.uuids)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.uuids[index]

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid not in self.uuids:
            raise self.NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetUUID(self, handle):
        return handle

    def nvmlDeviceGetName(self, handle):
        return "A GPU"

    def nvmlSystemGetDriverVersion(self):
        return "580.1"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        self.reads += 1
        self.asked.append(handle)
        if self.fault in ("no_counter", "denied"):
            raise self.NVMLError("Not Supported" if self.fault == "no_counter" else "No Permission")
        if self.fault == "lost" and self.reads > 2:
            raise self.NVMLError("GPU is lost")
        if self.fault == "frozen":
            return 5
        if self.fault == "backwards":
            return 1000 - self.reads
        now = time.perf_counter() - self.start if self.frozen_at is None else self.frozen_at
        if self.tick:
            now = self.tick * (now // self.tick)
        return 1000 * self.scale * self._watts(handle) * now

    def nvmlDeviceGetFieldValues(self, handle, fields):
        assert fields == [186]
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetPowerUsage(self, handle):
        if self.fault == "denied":
            raise self.NVMLError("No Permission")
        if self.fault == "lost" and self.reads > 1:
            raise self.NVMLError("GPU is lost")
        if self.fault == "hanging":
            time.sleep(60)
        return 1000 * self._watts(handle)

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):
        return self.bits

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return self.clock

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return self.temperature

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(pid=pid) for pid in self.pids[handle]]

    def freeze(self):
        """Stop the counter."""
        self.frozen_at = time.perf_counter() - self.start

    def join(self, uuid, pid=None):
        """A process starts to use a GPU: this one if none is named."""
        self.pids[uuid].append(os.getpid() if pid is None else pid)

    def _watts(self, handle):
        return self.watts[handle] if isinstance(self.watts, dict) else self.watts
