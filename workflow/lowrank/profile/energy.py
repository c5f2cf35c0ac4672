"""Energy of a window of time: a counter where there is one, sampled power beside it, or nothing.

An NVIDIA GPU since Volta counts the energy it used (millijoules, about ten updates a second);
sampled power is a cross-check. On a CPU the kernel offers RAPL counters. What a machine does not
measure is None with the reason, never zero and never an estimate. NVML covers the GPU alone, and
RAPL the processor package: neither is the whole machine.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lowrank.profile.watch import ask, throttle_bits, throttle_names

POWER_CAP = Path("/sys/class/powercap")
"""Where Linux offers RAPL. Read directly: it is two files a package, and the libraries for it
neither handle a counter that wraps more than once nor say why they cannot read it."""

DISAGREEMENT = 0.05
"""Counter and sampled power further apart than this are flagged."""

POLL_SECONDS = 0.005
"""Between two reads of the counter: how well the moment of an update is known."""
SAMPLE_SECONDS = 0.05
"""Between two samples of power, clock, temperature and throttle reasons."""
STILL_SECONDS = 0.5
"""A counter without an update for so long stands still: about five updates are missing."""
LEAST_TICKS = 3
LEAST_SAMPLED_SECONDS = 5.0
"""Least window of sampled power alone: cards sample a part of the time, or report a mean."""
ANSWER_SECONDS = 5.0
"""How long NVML may take to answer; on a lost GPU it can hang."""

POWER_INSTANT = 186
"""NVML_FI_DEV_POWER_INSTANT: power now, in milliwatts, where the default is a one-second mean on
most cards."""


@dataclass
class Window:
    """Power between two moments.

    Attributes
    ----------
    watts
        Mean power by the primary source; None if there is none that can be trusted.
    cross_check_watts
        Mean power by the secondary source, or None.
    seconds
        Duration.
    throttled
        Reasons that slowed a GPU down at any moment of it; None if they are not known.
    sm_megahertz, temperature_celsius
        Median clock and highest temperature, or None.
    flags
        What casts doubt on the energy.
    """

    watts: float | None = None
    cross_check_watts: float | None = None
    seconds: float = 0.0
    throttled: list[str] | None = None
    sm_megahertz: float | None = None
    temperature_celsius: float | None = None
    flags: list[str] = field(default_factory=list)

    @property
    def disagreement(self) -> float | None:
        """Relative distance of the two sources, or None where there are not two."""
        if self.watts is None or self.cross_check_watts is None or self.watts <= 0:
            return None
        return abs(self.cross_check_watts - self.watts) / self.watts


class EnergyMeter:
    """No meter: what a machine that measures nothing has.

    Attributes
    ----------
    source
        `nvml-counter`, `nvml-power`, `rapl`, or None.
    reason
        Why there is no meter, or no better one; empty if there is.
    power_reading
        `instant` or `average`: what a sample of power is; None where none is taken.
    """

    source: str | None = None
    power_reading: str | None = None

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
        return window.watts

    def record(self) -> dict[str, Any]:
        """Return what a result says of it."""
        return {
            "source": self.source,
            "reason": self.reason,
            "power_reading": self.power_reading,
        }


class NvmlMeter(EnergyMeter):
    """The energy counter of GPUs, with sampled power beside it.

    Parameters
    ----------
    nvml
        The `pynvml` module, initialised.
    handles
        NVML handles of the job's GPUs; powers are summed over them.
    """

    def __init__(self, nvml: Any, handles: Sequence[Any]) -> None:
        super().__init__()
        self._nvml, self._handles = nvml, list(handles)
        self._is_lost = False
        is_instant = all(_instant_watts(nvml, handle) is not None for handle in self._handles)
        self.power_reading = "instant" if is_instant else "average"
        self.source = "nvml-counter"
        try:
            for handle in self._handles:
                nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        except Exception as error:
            # Without a counter (before Volta), sampled power is all there is.
            self.source, self.reason = "nvml-power", f"no energy counter ({error})"
            try:
                for handle in self._handles:
                    self._watts(handle)
            except Exception as power_error:
                self.source = self.power_reading = None
                self.reason = f"not measured on this machine: {power_error}"

    @contextlib.contextmanager
    def window(self) -> Iterator[Window]:
        """Measure the block."""
        if not self.available:
            with super().window() as made:
                yield made
            return
        made = Window()
        if self._is_lost:
            made.flags.append("NVML no longer answers")
            yield made
            return
        readings = [Readings() for _ in self._handles]
        sampler = _Sampler(lambda is_last: self._read(readings, is_last))
        start = time.perf_counter()
        sampler.start()
        try:
            yield made
        finally:
            end = time.perf_counter()
            made.seconds = end - start
            self._is_lost = not sampler.stop()
        if self._is_lost:
            made.flags.append("NVML no longer answers")
            return
        self._conclude(made, readings, end)

    def _read(self, readings: Sequence[Readings], is_last: bool) -> None:
        for handle, reading in zip(self._handles, readings, strict=True):
            if self.source == "nvml-counter":
                reading.read(
                    "the energy counter",
                    lambda handle=handle: self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle),
                    reading.count,
                )
            if reading.is_due(time.perf_counter()) or is_last:
                reading.read("power", lambda handle=handle: self._watts(handle), reading.sample)
                reading.bits.append(throttle_bits(self._nvml, handle))
                reading.clocks.append(ask(self._nvml, "nvmlDeviceGetClockInfo", handle, 1))
                reading.temperatures.append(ask(self._nvml, "nvmlDeviceGetTemperature", handle, 0))

    def _conclude(self, made: Window, readings: Sequence[Readings], end: float) -> None:
        flags = [flag for reading in readings for flag in reading.flags]
        sampled = _total([reading.sampled_watts() for reading in readings])
        if self.source == "nvml-power":
            made.watts = sampled
            if made.seconds < LEAST_SAMPLED_SECONDS:
                flags.append(f"window under {LEAST_SAMPLED_SECONDS:g} s: short for sampled power")
        else:
            counted = [reading.counted_watts(made.seconds, end) for reading in readings]
            flags += [flag for _, flag in counted if flag]
            made.watts = _total([watts for watts, _ in counted])
            made.cross_check_watts = sampled
            if made.disagreement is not None and made.disagreement > DISAGREEMENT:
                flags.append(
                    f"counter and sampled power differ by more than {100 * DISAGREEMENT:.0f}%"
                )
        made.flags += dict.fromkeys(flags)
        bits = [each for reading in readings for each in reading.bits]
        if bits and None not in bits:
            union = 0
            for each in bits:
                union |= each
            made.throttled = throttle_names(union)
        else:
            made.flags.append("throttle reasons could not be read")
        clocks = [each for reading in readings for each in reading.clocks if each is not None]
        made.sm_megahertz = statistics.median(clocks) if clocks else None
        made.temperature_celsius = max(
            (each for reading in readings for each in reading.temperatures if each is not None),
            default=None,
        )

    def _watts(self, handle: Any) -> float:
        if self.power_reading == "instant":
            watts = _instant_watts(self._nvml, handle)
            if watts is not None:
                return watts
        return self._nvml.nvmlDeviceGetPowerUsage(handle) / 1000


class Readings:
    """What one GPU said during a window.

    Attributes
    ----------
    bits, clocks, temperatures
        Throttle reasons, clock and temperature at each sample; None where it did not say.
    flags
        What could not be read.
    """

    def __init__(self) -> None:
        self.bits: list[int | None] = []
        self.clocks: list[float | None] = []
        self.temperatures: list[float | None] = []
        self.flags: list[str] = []
        self._first: float | None = None
        self._ticks: list[tuple[float, float]] = []
        self._samples: list[tuple[float, float]] = []
        self._sampled = -1e9

    def is_due(self, now: float) -> bool:
        """Whether the next sample is to be taken."""
        if now - self._sampled < SAMPLE_SECONDS:
            return False
        self._sampled = now
        return True

    def read(self, what: str, source: Any, keep: Any) -> None:
        """Keep what a source says with the time; a source that failed is asked no more."""
        if any(flag.startswith(what) for flag in self.flags):
            return
        try:
            value = source()
        except Exception as error:  # NVML's own error, or a library that lacks the function
            self.flags.append(f"{what} could not be read: {error}")
        else:
            keep(time.perf_counter(), value)

    def count(self, now: float, millijoules: float) -> None:
        """Note the counter; what is kept is when it changed."""
        if self._first is None:
            self._first = millijoules
        elif millijoules != (self._ticks[-1][1] if self._ticks else self._first):
            self._ticks.append((now, millijoules))

    def sample(self, now: float, watts: float) -> None:
        """Note power."""
        self._samples.append((now, watts))

    def counted_watts(self, seconds: float, end: float) -> tuple[float | None, str]:
        """Return the mean power between the first and the last update of the counter, and a flag.

        Updates are 0.1 s apart: a difference over the whole window would be off by up to two of
        them.
        """
        if self._first is None or any(flag.startswith("the energy counter") for flag in self.flags):
            return None, ""
        values = [self._first, *(value for _, value in self._ticks)]
        if any(late < early for early, late in itertools.pairwise(values)):
            return None, "the energy counter ran backwards"
        if seconds > STILL_SECONDS and (
            not self._ticks or end - self._ticks[-1][0] > STILL_SECONDS
        ):
            return None, "the energy counter stood still"
        short = "window too short for the energy counter" if len(values) <= LEAST_TICKS else ""
        if len(self._ticks) < 2:
            return None, short
        (began, first), (ended, last) = self._ticks[0], self._ticks[-1]
        return (last - first) / 1000 / (ended - began), short

    def sampled_watts(self) -> float | None:
        """Return the mean of the samples by the trapezoid rule, or None with fewer than two."""
        if len(self._samples) < 2 or any(flag.startswith("power") for flag in self.flags):
            return None
        joules = sum(
            (later - earlier) * (one + other) / 2
            for (earlier, one), (later, other) in itertools.pairwise(self._samples)
        )
        return joules / (self._samples[-1][0] - self._samples[0][0])


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
        before = self._counters(made)
        start = time.perf_counter()
        yield made
        made.seconds = time.perf_counter() - start
        after = self._counters(made)
        if before is None or after is None:
            return
        steps = [
            late - early if late >= early else late - early + span
            for early, late, span in zip(before, after, self._ranges, strict=True)
        ]
        if any(step == 0 for step in steps):
            made.flags.append("the energy counter stood still")
            return
        if any(2 * step > span for step, span in zip(steps, self._ranges, strict=True)):
            made.flags.append(
                "window over half of what the energy counter holds: it may wrap twice"
            )
        made.watts = sum(steps) / 1e6 / made.seconds

    def _counters(self, window: Window) -> list[int] | None:
        try:
            return [_read(zone / "energy_uj") for zone in self._zones]
        except (OSError, ValueError) as error:
            window.flags.append(f"RAPL could not be read: {error}")
            return None


def energy_meter(
    device: str,
    nvml: Any = None,
    reason: str = "",
    uuids: Sequence[str] = (),
    root: Path = POWER_CAP,
) -> EnergyMeter:
    """Return the best meter of a device; one that measures nothing says why.

    Parameters
    ----------
    device
        `cuda` or `cpu`.
    nvml, reason
        The `pynvml` module, initialised, or None and why.
    uuids
        UUIDs of the job's GPUs: NVML's own order is not that of `CUDA_VISIBLE_DEVICES`.
    root
        Where the kernel offers RAPL.
    """
    if device == "cpu":
        return _cpu_meter(root)
    if nvml is None:
        return EnergyMeter(f"not measured on this machine: {reason}")
    try:
        handles = [nvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in uuids]
    except Exception as error:
        return EnergyMeter(f"not measured on this machine: NVML cannot be used ({error})")
    return NvmlMeter(nvml, handles)


def _cpu_meter(root: Path) -> EnergyMeter:
    try:
        # Whole packages only: `psys` and a package's parts would count the same energy again.
        zones = sorted(
            path
            for path in root.glob("intel-rapl:*")
            if path.name.count(":") == 1
            and (path / "name").read_text(encoding="utf-8").startswith("package")
        )
        if not zones:
            return EnergyMeter("not measured on this machine: the kernel offers no RAPL counters")
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


def _instant_watts(nvml: Any, handle: Any) -> float | None:
    values = ask(nvml, "nvmlDeviceGetFieldValues", handle, [POWER_INSTANT])
    if values is None or values[0].nvmlReturn != 0:
        return None
    return values[0].value.uiVal / 1000


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


class _Sampler(threading.Thread):
    """Calls `read` again and again until it is stopped, and then once more, as the last time."""

    def __init__(self, read: Callable[[bool], None]) -> None:
        super().__init__(daemon=True)
        self._read_all = read
        self._ended = threading.Event()

    def run(self) -> None:
        while True:
            self._read_all(False)
            if self._ended.wait(POLL_SECONDS):
                break
        self._read_all(True)

    def stop(self) -> bool:
        """Return whether it ended: a call on a lost GPU may never return."""
        self._ended.set()
        self.join(ANSWER_SECONDS)
        return not self.is_alive()
