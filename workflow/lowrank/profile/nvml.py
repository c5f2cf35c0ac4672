"""Energy of GPUs by NVML: a counter where there is one, with sampled power beside it.

An NVIDIA GPU since Volta counts the energy it used (millijoules, about ten updates a second);
sampled power is a cross-check. Both cover the GPU alone, not the whole machine.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from lowrank.profile.energy import NOT_MEASURED, EnergyMeter, Window
from lowrank.profile.watch import throttle_bits, throttle_names
from lowrank.running.nvml import Gpu, Nvml, NvmlError

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

COUNTER = "nvmlDeviceGetTotalEnergyConsumption"
"""Millijoules since the driver was loaded."""
POWER_INSTANT = 186
"""NVML_FI_DEV_POWER_INSTANT: power now, in milliwatts, where the default is a one-second mean on
most cards."""


class NvmlMeter(EnergyMeter):
    """The energy counter of GPUs, with sampled power beside it.

    Parameters
    ----------
    gpus
        The job's GPUs; powers are summed over them.
    """

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        super().__init__()
        self._gpus = list(gpus)
        self._is_lost = False
        is_instant = all(_instant_watts(gpu) is not None for gpu in self._gpus)
        self.power_reading = "instant" if is_instant else "average"
        self.source = "nvml-counter"
        try:
            for gpu in self._gpus:
                gpu.read(COUNTER)
        except NvmlError as error:
            # Without a counter (before Volta), sampled power is all there is.
            self.source, self.reason = "nvml-power", f"no energy counter ({error})"
            try:
                for gpu in self._gpus:
                    self._watts(gpu)
            except NvmlError as power_error:
                self.source = self.power_reading = None
                self.reason = f"{NOT_MEASURED}: {power_error}"

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
        readings = [Readings() for _ in self._gpus]
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
        for gpu, reading in zip(self._gpus, readings, strict=True):
            if self.source == "nvml-counter":
                reading.read("the energy counter", lambda gpu=gpu: gpu.read(COUNTER), reading.count)
            if reading.is_due(time.perf_counter()) or is_last:
                reading.read("power", lambda gpu=gpu: self._watts(gpu), reading.sample)
                reading.bits.append(throttle_bits(gpu))
                reading.clocks.append(gpu.ask("nvmlDeviceGetClockInfo", 1))
                reading.temperatures.append(gpu.ask("nvmlDeviceGetTemperature", 0))

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

    def _watts(self, gpu: Gpu) -> float:
        if self.power_reading == "instant":
            watts = _instant_watts(gpu)
            if watts is not None:
                return watts
        return gpu.read("nvmlDeviceGetPowerUsage") / 1000


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

    def read(
        self, what: str, source: Callable[[], float], keep: Callable[[float, float], None]
    ) -> None:
        """Keep what a source says with the time; a source that failed is asked no more."""
        if any(flag.startswith(what) for flag in self.flags):
            return
        try:
            value = source()
        except NvmlError as error:
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


def nvml_meter(nvml: Nvml, uuids: Sequence[str]) -> EnergyMeter:
    """Return the meter of a job's GPUs; one that measures nothing says why.

    Parameters
    ----------
    nvml
        NVML, opened.
    uuids
        UUIDs of the GPUs: NVML's own order is not that of `CUDA_VISIBLE_DEVICES`.
    """
    try:
        return NvmlMeter([nvml.gpu(uuid) for uuid in uuids])
    except NvmlError as error:
        return EnergyMeter(f"{NOT_MEASURED}: {error}")


def _instant_watts(gpu: Gpu) -> float | None:
    values = gpu.ask("nvmlDeviceGetFieldValues", [POWER_INSTANT])
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
