"""The surroundings of a measurement: what a reader must know before believing it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lowrank.provenance import processor_name

BUSY_LOAD = 0.5
"""Load by others, in cores, above which a CPU measurement is flagged."""

_THROTTLE_REASONS = {
    0x0000000000000004: "software power cap",
    0x0000000000000008: "hardware slowdown",
    0x0000000000000020: "software thermal slowdown",
    0x0000000000000040: "hardware thermal slowdown",
    0x0000000000000080: "hardware power brake",
}
"""NVML's clocks-event reasons that slow a GPU down; idle and fixed clocks are none."""


def cpu_state() -> dict[str, Any]:
    """Return processor, cores, frequency, governor and load of this machine."""
    policy = Path("/sys/devices/system/cpu/cpu0/cpufreq")
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "governor": _text(policy / "scaling_governor"),
        "kilohertz": _text(policy / "scaling_cur_freq"),
        "busy_cores": _busy_cores(),
    }


def gpu_state(nvml: Any, uuids: Sequence[str]) -> list[dict[str, Any]]:
    """Return what NVML says of each GPU; what it cannot say is None.

    Parameters
    ----------
    nvml
        The `pynvml` module, initialised. Nothing of the card is changed.
    """
    states = []
    for uuid in uuids:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)

        def ask(name: str, *arguments: Any, handle: Any = handle) -> Any:
            with contextlib.suppress(nvml.NVMLError, AttributeError):
                return getattr(nvml, name)(handle, *arguments)
            return None

        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons") or 0
        memory = ask("nvmlDeviceGetMemoryInfo")
        processes = ask("nvmlDeviceGetComputeRunningProcesses") or []
        states.append(
            {
                "uuid": uuid,
                "name": ask("nvmlDeviceGetName"),
                "driver": _driver(nvml),
                "sm_megahertz": ask("nvmlDeviceGetClockInfo", 1),
                "memory_megahertz": ask("nvmlDeviceGetClockInfo", 2),
                "power_cap_watts": _scaled(ask("nvmlDeviceGetEnforcedPowerLimit"), 1000),
                "temperature_celsius": ask("nvmlDeviceGetTemperature", 0),
                "ecc": _first(ask("nvmlDeviceGetEccMode")),
                "mig": _first(ask("nvmlDeviceGetMigMode")),
                "used_bytes": None if memory is None else memory.used,
                "throttled": [
                    name for bit, name in _THROTTLE_REASONS.items() if int(reasons) & bit
                ],
                "other_processes": [
                    process.pid for process in processes if process.pid != os.getpid()
                ],
            }
        )
    return states


def doubts(before: Any, after: Any) -> list[str]:
    """Return what casts doubt on a measurement between two states, each as a few words."""
    found: list[str] = []
    states = [before, after]
    if isinstance(before, dict):
        # The load after is partly the measurement's own.
        if (before["busy_cores"] or 0) > BUSY_LOAD:
            found.append(f"busy: {before['busy_cores']:.1f} cores in use by others at the start")
        return found
    for state in states:
        for gpu in state:
            found += [f"throttled: {reason}" for reason in gpu["throttled"]]
            if gpu["other_processes"]:
                found.append(f"busy: {len(gpu['other_processes'])} other process(es) on the GPU")
    return sorted(set(found))


def _busy_cores(seconds: float = 0.5) -> float | None:
    """Return how many cores are at work while this process waits."""
    import time

    try:
        first = _jiffies()
        time.sleep(seconds)
        second = _jiffies()
    except (OSError, ValueError, IndexError):
        return None
    total = sum(second) - sum(first)
    idle = second[3] + second[4] - first[3] - first[4]
    return (os.cpu_count() or 1) * (1 - idle / total) if total else None


def _jiffies() -> list[int]:
    return [int(part) for part in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _driver(nvml: Any) -> str | None:
    with contextlib.suppress(nvml.NVMLError, AttributeError):
        return nvml.nvmlSystemGetDriverVersion()
    return None


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value / by


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, (list, tuple)) else value
