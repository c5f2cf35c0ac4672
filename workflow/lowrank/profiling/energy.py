"""Energy of a window of time: a counter where there is one, sampled power beside it, or nothing.

An NVIDIA GPU since Volta counts the energy it used (millijoules, about ten updates a second);
sampled power is integrated beside it as a cross-check. On a CPU the kernel offers RAPL counters.
What a machine does not measure is None with the reason, never zero and never an estimate. NVML
covers the GPU alone, and RAPL the processor package: neither is the whole machine.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

POWER_CAP = Path("/sys/class/powercap")
"""Where Linux offers RAPL. Read directly: it is two files a package, and the libraries for it
neither handle a counter that wraps more than once nor say why they cannot read it."""

DISAGREEMENT = 0.05
"""Counter and integrated power further apart than this are flagged."""

SAMPLE_SECONDS = 0.05
POWER_INSTANT = 186
"""NVML_FI_DEV_POWER_INSTANT: power now, in milliwatts, where the default is a one-second mean."""


@dataclass
class Window:
    """Energy between two moments.

    Attributes
    ----------
    joules
        The primary figure; None if there is none that can be trusted.
    cross_check
        The secondary figure, in joules, or None.
    seconds
        Duration.
    flags
        What casts doubt on it.
    """

    joules: float | None = None
    cross_check: float | None = None
    seconds: float = 0.0
    flags: list[str] = field(default_factory=list)

    @property
    def disagreement(self) -> float | None:
        """Relative distance of the two figures, or None where there are not two."""
        if self.joules is None or self.cross_check is None or self.joules <= 0:
            return None
        return abs(self.cross_check - self.joules) / self.joules


class EnergyMeter:
    """No meter: what a machine that measures nothing has.

    Attributes
    ----------
    source
        `nvml-counter`, `nvml-power`, `rapl`, or None.
    reason
        Why there is no meter; empty if there is.
    """

    source: str | None = None

    def __init__(self, reason: str = "") -> None:
        self.reason = reason

    @property
    def available(self) -> bool:
        """Whether energy is measured."""
        return self.source is not None

    @contextlib.contextmanager
    def window(self) -> Iterator[Window]:
        """Measure the block."""
        made = Window()
        start = time.perf_counter()
        yield made
        made.seconds = time.perf_counter() - start

    def idle_watts(self, seconds: float) -> float | None:
        """Return the mean power of the idle device, or None."""
        if not self.available:
            return None
        with self.window() as window:
            time.sleep(seconds)
        return None if window.joules is None else window.joules / window.seconds


class NvmlMeter(EnergyMeter):
    """The energy counter of GPUs, with sampled power beside it.

    Parameters
    ----------
    nvml
        The `pynvml` module, initialised.
    handles
        NVML handles of the job's GPUs; energies are summed over them.
    """

    def __init__(self, nvml: Any, handles: Sequence[Any]) -> None:
        super().__init__()
        self._nvml, self._handles = nvml, list(handles)
        self.source = "nvml-counter"
        try:
            self._counters()
        except nvml.NVMLError as error:
            # Without a counter (before Volta), sampled power is all there is.
            self.source, self.reason = "nvml-power", f"no energy counter ({error})"
            try:
                self._watts()
            except nvml.NVMLError as power_error:
                self.source = None
                self.reason = f"not measured on this machine: {power_error}"

    @contextlib.contextmanager
    def window(self) -> Iterator[Window]:
        """Measure the block."""
        if not self.available:
            with super().window() as made:
                yield made
            return
        made = Window()
        sampler = _Sampler(self._watts, self._nvml.NVMLError)
        before = self._counters_or_flag(made)
        start = time.perf_counter()
        sampler.start()
        try:
            yield made
        finally:
            made.seconds = time.perf_counter() - start
            sampled = sampler.stop()
            after = self._counters_or_flag(made)
            made.flags += sampler.flags
        counted = self._difference(before, after, sampled, made)
        if self.source == "nvml-power":
            made.joules = sampled
        else:
            made.joules, made.cross_check = counted, sampled
            if made.disagreement is not None and made.disagreement > DISAGREEMENT:
                made.flags.append(
                    f"counter and integrated power differ by {100 * made.disagreement:.0f}%"
                )

    def _counters(self) -> list[int]:
        return [self._nvml.nvmlDeviceGetTotalEnergyConsumption(h) for h in self._handles]

    def _counters_or_flag(self, window: Window) -> list[int] | None:
        if self.source != "nvml-counter":
            return None
        try:
            return self._counters()
        except self._nvml.NVMLError as error:
            window.flags.append(f"the energy counter could not be read: {error}")
            return None

    def _watts(self) -> float:
        return sum(self._watts_of(handle) for handle in self._handles)

    def _watts_of(self, handle: Any) -> float:
        with contextlib.suppress(self._nvml.NVMLError, AttributeError, IndexError):
            value = self._nvml.nvmlDeviceGetFieldValues(handle, [POWER_INSTANT])[0]
            if value.nvmlReturn == 0:
                return value.value.uiVal / 1000
        return self._nvml.nvmlDeviceGetPowerUsage(handle) / 1000

    @staticmethod
    def _difference(
        before: list[int] | None, after: list[int] | None, sampled: float | None, window: Window
    ) -> float | None:
        if before is None or after is None:
            return None
        steps = [late - early for early, late in zip(before, after, strict=True)]
        if any(step < 0 for step in steps):
            window.flags.append("the energy counter ran backwards")
            return None
        if any(step == 0 for step in steps):
            # It moves about every 0.1 s; a still one under power is broken or too short a window.
            if sampled is None or sampled > 0:
                window.flags.append("the energy counter stood still")
            return None
        return sum(steps) / 1000


class RaplMeter(EnergyMeter):
    """The energy counters of processor packages.

    Parameters
    ----------
    zones
        Folders of RAPL zones, one a package.
    """

    source = "rapl"

    def __init__(self, zones: Sequence[Path]) -> None:
        super().__init__()
        self._zones = list(zones)
        self._ranges = [_read(zone / "max_energy_range_uj") for zone in zones]

    @contextlib.contextmanager
    def window(self) -> Iterator[Window]:
        """Measure the block; a counter may wrap once."""
        made = Window()
        before = [_read(zone / "energy_uj") for zone in self._zones]
        start = time.perf_counter()
        yield made
        made.seconds = time.perf_counter() - start
        try:
            after = [_read(zone / "energy_uj") for zone in self._zones]
        except OSError as error:
            made.flags.append(f"RAPL could not be read: {error}")
            return
        steps = [
            late - early if late >= early else late - early + span
            for early, late, span in zip(before, after, self._ranges, strict=True)
        ]
        if any(step == 0 for step in steps):
            made.flags.append("the energy counter stood still")
            return
        made.joules = sum(steps) / 1e6


def energy_meter(
    device: str, nvml: Any = None, uuids: Sequence[str] = (), root: Path = POWER_CAP
) -> EnergyMeter:
    """Return the best meter of a device; one that measures nothing says why.

    Parameters
    ----------
    device
        `cuda` or `cpu`.
    nvml
        The `pynvml` module; imported if None.
    uuids
        UUIDs of the job's GPUs: NVML's own order is not that of `CUDA_VISIBLE_DEVICES`.
    root
        Where the kernel offers RAPL.
    """
    if device == "cpu":
        return _cpu_meter(root)
    try:
        if nvml is None:
            import pynvml as nvml
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in uuids]
    except Exception as error:
        return EnergyMeter(f"not measured on this machine: NVML cannot be used ({error})")
    return NvmlMeter(nvml, handles)


def _cpu_meter(root: Path) -> EnergyMeter:
    zones = sorted(path for path in root.glob("intel-rapl:*") if path.name.count(":") == 1)
    if not zones:
        return EnergyMeter("not measured on this machine: the kernel offers no RAPL counters")
    try:
        for zone in zones:
            _read(zone / "energy_uj")
        return RaplMeter(zones)
    except PermissionError:
        return EnergyMeter(
            "not measured on this machine: RAPL counters may be read by root only "
            f"(sudo chmod a+r {root}/intel-rapl:*/energy_uj)"
        )
    except (OSError, ValueError) as error:
        return EnergyMeter(f"not measured on this machine: RAPL cannot be read ({error})")


def _read(path: Path) -> int:
    return int(path.read_text())


class _Sampler(threading.Thread):
    """Samples power until it is stopped."""

    def __init__(self, watts: Any, error: type[Exception]) -> None:
        super().__init__(daemon=True)
        self._watts, self._error = watts, error
        self._ended = threading.Event()
        self._times: list[float] = []
        self._powers: list[float] = []
        self.flags: list[str] = []

    def run(self) -> None:
        while True:
            try:
                power = self._watts()
            except self._error as error:
                self.flags.append(f"power could not be read: {error}")
                return
            self._times.append(time.perf_counter())
            self._powers.append(power)
            if self._ended.wait(SAMPLE_SECONDS):
                return

    def stop(self) -> float | None:
        """Return the joules by the trapezoid rule; None with fewer than two samples."""
        self._ended.set()
        self.join()
        if self.flags or len(self._times) < 2:
            return None
        return float(np.trapezoid(self._powers, self._times))
