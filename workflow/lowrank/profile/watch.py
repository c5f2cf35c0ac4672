"""The surroundings of a measurement: what a reader must know before believing it.

What cannot be read is None and is doubted; it never passes for "nothing found".
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowrank.base.provenance import processor_name
from lowrank.running.nvml import Gpu, Nvml, NvmlError

BUSY_LOAD = 0.5
"""Load by others, in cores, above which a CPU measurement is flagged."""

POWER_CAP = "software power cap"
THROTTLE_REASONS: Mapping[int, str] = {
    0x0000000000000004: POWER_CAP,
    0x0000000000000008: "hardware slowdown",
    0x0000000000000020: "software thermal slowdown",
    0x0000000000000040: "hardware thermal slowdown",
    0x0000000000000080: "hardware power brake",
}
"""NVML's clocks-event reasons that slow a GPU down; idle and fixed clocks are none."""

SLOWDOWNS = frozenset(THROTTLE_REASONS.values()) - {POWER_CAP}
"""Reasons that say something is wrong. At full load a card is often at its power cap."""


def throttle_bits(gpu: Gpu) -> int | None:
    """Return the clocks-event reasons of this moment as bits, or None if they cannot be read."""
    bits = gpu.ask("nvmlDeviceGetCurrentClocksEventReasons")
    if bits is None:  # its name before driver 535
        bits = gpu.ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    return None if bits is None else int(bits)


def throttle_names(bits: int | None) -> list[str] | None:
    """Return the names of the reasons that slow a GPU down."""
    return None if bits is None else [name for bit, name in THROTTLE_REASONS.items() if bits & bit]


def throttle_flag(name: str) -> str:
    """Return what a figure says of a reason."""
    return f"throttled: {name}" + (" (normal at full load)" if name == POWER_CAP else "")


class CpuWatch:
    """The processor around a measurement; made when it begins."""

    def __init__(self) -> None:
        self._clocks = _clocks()

    def before(self, uuids: Sequence[str] = ()) -> dict[str, Any]:
        """Return processor, cores, frequency and governor."""
        policy = Path("/sys/devices/system/cpu/cpu0/cpufreq")
        return {
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "governor": _text(policy / "scaling_governor"),
            "kilohertz": _text(policy / "scaling_cur_freq"),
        }

    def after(self, uuids: Sequence[str] = ()) -> dict[str, Any]:
        """Return the same, and how many cores others kept busy since this was made."""
        return self.before() | {"busy_cores_of_others": self._busy_cores()}

    def _busy_cores(self) -> float | None:
        clocks = _clocks()
        if self._clocks is None or clocks is None:
            return None
        elapsed, everyone, own = (
            late - early for late, early in zip(clocks, self._clocks, strict=True)
        )
        return max(0.0, (everyone - own) / elapsed) if elapsed > 0 else None


class GpuWatch:
    """The GPUs around a measurement; made before CUDA starts."""

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self._earlier = {gpu.ask("nvmlDeviceGetUUID"): _processes(gpu) for gpu in nvml.gpus()}

    def before(self, uuids: Sequence[str]) -> list[dict[str, Any]]:
        """Return what NVML says of the GPUs; what was there before, but this process, is others."""
        return [self._state(uuid) | {"other_processes": self._before(uuid)} for uuid in uuids]

    def after(self, uuids: Sequence[str]) -> list[dict[str, Any]]:
        """Return the same at the end, without this process among the others."""
        return [self._state(uuid) | {"other_processes": self._others(uuid)} for uuid in uuids]

    def _state(self, uuid: str) -> dict[str, Any]:
        try:
            gpu = self._nvml.gpu(uuid)
        except NvmlError as error:
            return {"uuid": uuid, "throttled": None, "reason": str(error)}
        memory = gpu.ask("nvmlDeviceGetMemoryInfo")
        return {
            "uuid": uuid,
            "name": gpu.ask("nvmlDeviceGetName"),
            "driver": self._nvml.ask("nvmlSystemGetDriverVersion"),
            "sm_megahertz": gpu.ask("nvmlDeviceGetClockInfo", 1),
            "memory_megahertz": gpu.ask("nvmlDeviceGetClockInfo", 2),
            "power_cap_watts": _scaled(gpu.ask("nvmlDeviceGetEnforcedPowerLimit"), 1000),
            "temperature_celsius": gpu.ask("nvmlDeviceGetTemperature", 0),
            "ecc": _first(gpu.ask("nvmlDeviceGetEccMode")),
            "mig": _first(gpu.ask("nvmlDeviceGetMigMode")),
            "used_bytes": None if memory is None else memory.used,
            "throttled": throttle_names(throttle_bits(gpu)),
        }

    def _before(self, uuid: str) -> list[int] | None:
        earlier = self._earlier.get(uuid)
        return None if earlier is None else [pid for pid in earlier if pid != os.getpid()]

    def _others(self, uuid: str) -> list[int] | None:
        try:
            now = _processes(self._nvml.gpu(uuid))
        except NvmlError:
            return None
        earlier = self._earlier.get(uuid)
        if now is None or earlier is None:
            return None
        if os.getpid() in now:
            return [pid for pid in now if pid != os.getpid()]
        # In a container this process has another number for NVML: it is the first new one. A list
        # without any new one does not show this process, and so may hide others.
        new = [pid for pid in now if pid not in earlier]
        if not new:
            return None
        return [pid for pid in now if pid != new[0]]


def doubts(before: Any, after: Any) -> list[str]:
    """Return what casts doubt on a measurement between two states, each as a few words."""
    if isinstance(after, dict):
        busy = after["busy_cores_of_others"]
        if busy is None:
            return ["the load of other processes could not be read"]
        return [f"busy: more than {BUSY_LOAD} cores in use by others"] if busy > BUSY_LOAD else []
    found: list[str] = []
    for gpu in (*before, *after):
        if gpu.get("reason"):
            found.append(f"{gpu['reason']}: clocks and throttling are unknown")
        elif gpu["throttled"] is None:
            found.append("throttle reasons could not be read")
        if gpu.get("mig"):
            found.append("a slice of a GPU (MIG): clocks and energy are those of the whole card")
        found += [throttle_flag(reason) for reason in gpu["throttled"] or ()]
        if gpu["other_processes"] is None:
            found.append("other processes on the GPU could not be listed")
        elif gpu["other_processes"]:
            found.append(f"busy: {len(gpu['other_processes'])} other process(es) on the GPU")
    return sorted(set(found))


def _processes(gpu: Gpu) -> list[int] | None:
    found = gpu.ask("nvmlDeviceGetComputeRunningProcesses")
    return None if found is None else [process.pid for process in found]


def _clocks() -> tuple[float, float, float] | None:
    """Return the time, and the seconds that all processes and that this one were at work."""
    try:
        ticks = [int(x) for x in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        everyone = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf(
            "SC_CLK_TCK"
        )  # but idle, waiting
    except (OSError, ValueError, IndexError):
        return None
    own = os.times()
    return time.monotonic(), everyone, sum(own[:4])


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value / by


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, (list, tuple)) else value
