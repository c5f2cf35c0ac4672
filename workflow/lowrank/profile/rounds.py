"""How two models are compared: warm up, take turns in random order, pair what was side by side.

A machine drifts (clocks, temperature, neighbours) by more than two configurations differ. Within
a round every model runs the same work once, in random order; the ratio of two models is taken
within rounds, and its interval says how much it varies from round to round.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import scipy.stats

from lowrank.base.errors import LowrankError
from lowrank.profile.energy import EnergyMeter
from lowrank.profile.watch import SLOWDOWNS

OURS = "configuration"
"""What a record calls the compressed model; the other one is the dense model."""

LEVEL = 0.05
"""Warm-up ends when the last three iterations differ by less than this share."""

LEAST_ROUNDS = 5
"""Rounds that make an interval."""


class InRound(Protocol):
    """A number, or several, that a model was measured at in a round."""

    @property
    def name(self) -> str:
        """Which model."""

    @property
    def round(self) -> int:
        """Which round."""


Timer = Callable[[Any, int], float]
"""Does work so many times and returns the seconds of all of them together."""


@dataclass(frozen=True)
class Trial:
    """One model's turn in a round: a pass that is timed, and where there is a meter one for energy.

    Attributes
    ----------
    name, round, turn
        Which model; which round; its place in the round.
    iterations
        How often the work was done in each pass.
    seconds
        Time of one iteration, undisturbed by any reading of the device.
    energy_seconds, watts, joules, cross_check_joules
        Time of one iteration in the energy pass, mean power during it, and the energy of one
        iteration by the meter's primary and secondary source; None if not measured.
    throttled, sm_megahertz, temperature_celsius
        What the device said during the energy pass; None if it is not known.
    flags
        What casts doubt on the energy of this trial.
    """

    name: str
    round: int
    turn: int
    iterations: int
    seconds: float
    energy_seconds: float | None = None
    watts: float | None = None
    joules: float | None = None
    cross_check_joules: float | None = None
    throttled: tuple[str, ...] | None = None
    sm_megahertz: float | None = None
    temperature_celsius: float | None = None
    flags: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return the trial as plain values."""
        throttled = None if self.throttled is None else list(self.throttled)
        return asdict(self) | {"flags": list(self.flags), "throttled": throttled}


def cpu_timer(work: Callable[[], None], iterations: int) -> float:
    """Time work by the monotonic clock."""
    start = time.perf_counter()
    for _ in range(iterations):
        work()
    return time.perf_counter() - start


def cuda_timer(work: Callable[[], None], iterations: int, device: str = "cuda:0") -> float:
    """Time work by CUDA events, from the first kernel to the last."""
    import torch

    with torch.cuda.device(device):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        for _ in range(iterations):
            work()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1000


def side_by_side(timers: Sequence[Timer]) -> Timer:
    """Return a timer of works that run at the same time, one a device, until the last is done.

    A thread a device: they start together, and share Python's lock, so that work which is bound by
    launching kernels takes longer than it would with a process a device.

    Parameters
    ----------
    timers
        A timer of one work, for each device. What is timed is a sequence of as many works.
    """
    if len(timers) == 1:
        return lambda works, iterations: timers[0](works[0], iterations)
    threads = ThreadPoolExecutor(len(timers))
    barrier = threading.Barrier(len(timers))

    def one(timer: Timer, work: Any, iterations: int) -> float:
        barrier.wait()
        return timer(work, iterations)

    def timer(works: Sequence[Any], iterations: int) -> float:
        return max(threads.map(one, timers, works, [iterations] * len(timers)))

    return timer


def compare(
    works: Mapping[str, Any],
    timer: Timer,
    meter: EnergyMeter,
    trials: int,
    seconds: float,
    seed: int,
    most_warm_up: int = 20,
) -> list[Trial]:
    """Run each model's work `trials` times in turns.

    Parameters
    ----------
    works
        From a model's name to what the timer takes, which does the work once.
    timer
        `cpu_timer` or `cuda_timer`, or several `side_by_side`.
    meter
        Reads energy around a second pass of each trial; without one there is no such pass.
    trials
        Number of rounds, at least 5.
    seconds
        Least duration of a pass; work is repeated until it lasts that long.
    seed
        Seed of the order within rounds.
    most_warm_up
        Most iterations of warm-up; a model that has not levelled off by then is measured all the
        same, and its spread shows.

    Raises
    ------
    LowrankError
        If there are fewer than 5 trials, since no interval could be trusted, or the clock says that
        a trial took no time.
    """
    if trials < LEAST_ROUNDS:
        raise LowrankError(f"profile: trials: {trials} is too few; at least 5 make an interval")
    iterations = {
        name: max(1, math.ceil(seconds / warm_up(work, timer, most_warm_up)))
        for name, work in works.items()
    }
    rng = np.random.default_rng(seed)
    done = []
    for number in range(trials):
        for turn, index in enumerate(rng.permutation(len(works))):
            name = list(works)[index]
            count = iterations[name]
            taken = _seconds(works[name], timer, count)
            energy = _energy_pass(works[name], timer, meter, count) if meter.available else {}
            done.append(Trial(name, number, turn, count, taken, **energy))
    return done


def _energy_pass(work: Any, timer: Timer, meter: EnergyMeter, count: int) -> dict[str, Any]:
    with meter.window() as window:
        seconds = _seconds(work, timer, count)
    window.settle()
    watts, other = window.watts, window.cross_check_watts
    return {
        "energy_seconds": seconds,
        "watts": watts,
        "joules": None if watts is None else watts * seconds,
        "cross_check_joules": None if other is None else other * seconds,
        "throttled": None if window.throttled is None else tuple(window.throttled),
        "sm_megahertz": window.sm_megahertz,
        "temperature_celsius": window.temperature_celsius,
        "flags": tuple(window.flags),
    }


def _seconds(work: Any, timer: Timer, count: int) -> float:
    """Return the time of one of so many iterations."""
    taken = timer(work, count) / count
    if not 0 < taken < math.inf:
        raise LowrankError(f"an iteration took {taken} s by the device's clock")
    return taken


def without_slowdowns(trials: Sequence[Trial], least: int = LEAST_ROUNDS) -> list[Trial]:
    """Return the trials without rounds in which hardware or heat slowed a model down.

    All of them if fewer than `least` rounds would remain.
    """
    slowed = {trial.round for trial in trials if SLOWDOWNS & set(trial.throttled or ())}
    kept = [trial for trial in trials if trial.round not in slowed]
    return kept if len({trial.round for trial in kept}) >= least else list(trials)


def warm_up(work: Any, timer: Timer, most: int) -> float:
    """Repeat work until its time levels off; return the seconds of an iteration."""
    times: list[float] = []
    while len(times) < most:
        times.append(_seconds(work, timer, 1))
        last = times[-3:]
        if len(last) == 3 and max(last) - min(last) < LEVEL * min(last):
            break
    return float(np.median(times[-3:]))


def summarise(trials: Sequence[InRound], name: str, value: str) -> dict[str, float] | None:
    """Return the median and the quartiles of one model's trials, or None if not measured.

    Parameters
    ----------
    value
        `seconds`, `joules` or another attribute of what was measured.
    """
    values = [getattr(trial, value) for trial in trials if trial.name == name]
    if not values or None in values:
        return None
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median": float(middle), "quartile_1": float(low), "quartile_3": float(high)}


def paired_ratio(
    trials: Sequence[InRound], name: str, reference: str, value: str
) -> dict[str, Any] | None:
    """Return the ratio of two models, paired within rounds, with its 95% interval.

    The estimate is the geometric mean of the rounds' ratios. The interval is Student's t of the
    mean of their logarithms. Rounds that are all equal have an interval of no width.

    Returns
    -------
    `value`, `interval_95`, `rounds`; None if not measured. An end of the interval that no float
    holds is cut to about 1e±304.

    Raises
    ------
    LowrankError
        If there is one round only: it does not say how much rounds vary.
    """
    by_round: dict[int, dict[str, float | None]] = {}
    for trial in trials:
        by_round.setdefault(trial.round, {})[trial.name] = getattr(trial, value)
    pairs = [(row.get(name), row.get(reference)) for row in by_round.values()]
    if not pairs or any(one is None or other is None for one, other in pairs):
        return None
    if len(pairs) < 2:
        raise LowrankError(f"one round of {name} has no interval; measure at least {LEAST_ROUNDS}")
    logs = np.log([one / other for one, other in pairs])
    reach = scipy.stats.t.ppf(0.975, len(logs) - 1) * scipy.stats.sem(logs)
    ends = np.clip([logs.mean() - reach, logs.mean() + reach], -700, 700)
    return {
        "value": float(np.exp(logs.mean())),
        "interval_95": [float(end) for end in np.exp(ends)],
        "rounds": len(logs),
    }


def largest_batch(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest batch that fits, by doubling and then halving the gap.

    Parameters
    ----------
    fits
        Runs a batch of so many rows; False if memory ran out.
    most
        Where to stop.

    Raises
    ------
    LowrankError
        If not even one row fits.
    """
    if not fits(1):
        raise LowrankError("not even a batch of one row fits into the device's memory")
    good, bad = 1, None
    while good < most and bad is None:
        tried = min(2 * good, most)
        if fits(tried):
            good = tried
        else:
            bad = tried
    while bad is not None and bad - good > max(1, good // 16):
        tried = (good + bad) // 2
        if fits(tried):
            good = tried
        else:
            bad = tried
    return good
