"""The comparison of two models by a simulated clock, with drift and noise that are known."""

import contextlib
import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lowrank.base.errors import LowrankError
from lowrank.profile.energy import EnergyMeter, Window
from lowrank.profile.rounds import (
    Trial,
    compare,
    cpu_timer,
    largest_batch,
    paired_ratio,
    side_by_side,
    summarise,
    warm_up,
)
from statsmodels.stats.weightstats import DescrStatsW


def trials_of(pairs, value="seconds"):
    """Trials of two models, a round a pair."""
    return [
        Trial(name, number, turn, 1, **{"seconds": 1.0, value: time})
        for number, pair in enumerate(pairs)
        for turn, (name, time) in enumerate(zip(("ours", "dense"), pair, strict=True))
    ]


class SimulatedMachine:
    """Work that takes a set time, on a machine that slows down with every call."""

    def __init__(self, times, drift=1.0):
        self.times, self.drift, self.calls = times, drift, []

    def works(self):
        return {name: lambda name=name: self.calls.append(name) for name in self.times}

    def timer(self, work, iterations):
        before = len(self.calls)
        for _ in range(iterations):
            work()
        return sum(
            self.times[name] * self.drift ** (before + index)
            for index, name in enumerate(self.calls[before:])
        )


def test_every_model_takes_one_turn_a_round_in_changing_order():
    machine = SimulatedMachine({"ours": 1.0, "dense": 2.0})
    done = compare(machine.works(), machine.timer, EnergyMeter(), 8, 0, seed=0)
    rounds = [[trial.name for trial in done if trial.round == number] for number in range(8)]
    assert all(sorted(names) == ["dense", "ours"] for names in rounds)
    assert {names[0] for names in rounds} == {"ours", "dense"}
    assert {trial.seconds for trial in done if trial.name == "dense"} == {2.0}


def test_a_trial_lasts_as_long_as_asked():
    machine = SimulatedMachine({"ours": 0.3, "dense": 1.0})
    done = compare(machine.works(), machine.timer, EnergyMeter(), 5, 2.0, seed=0)
    assert {trial.name: trial.iterations for trial in done} == {"ours": 7, "dense": 2}


class Meter(EnergyMeter):
    """50 W by a counter, and whether a window is open."""

    source = "nvml-counter"

    def __init__(self):
        super().__init__()
        self.is_open = False

    @contextlib.contextmanager
    def window(self):
        made = Window(watts=50.0, cross_check_watts=51.0, throttled=[], flags=["a doubt"])
        self.is_open = True
        yield made
        self.is_open = False


def test_time_is_taken_while_nothing_is_read_and_energy_in_the_same_turn():
    """Reading the device slows this work down by half: the latency must not show it."""
    meter = Meter()
    order = []

    def timer(work, iterations):
        order.append((work, meter.is_open))
        return iterations * (1.5 if meter.is_open else 1.0)

    done = compare({"ours": "o", "dense": "d"}, timer, meter, 5, 2.0, seed=0)
    assert {trial.seconds for trial in done} == {1.0}
    assert {(trial.energy_seconds, trial.joules, trial.flags) for trial in done} == {
        (1.5, 75.0, ("a doubt",))
    }
    turns = order[-20:]
    assert [is_open for _, is_open in turns] == [False, True] * 10
    assert all(one[0] == other[0] for one, other in zip(turns[::2], turns[1::2], strict=True))


@pytest.mark.parametrize("said", [0.0, -1.0, math.nan, math.inf])
def test_power_that_no_device_draws_is_not_measured(said):
    class Liar(Meter):
        @contextlib.contextmanager
        def window(self):
            yield Window(watts=said, cross_check_watts=50.0, throttled=[])

    done = compare({"ours": "o", "dense": "d"}, lambda work, n: 1.0 * n, Liar(), 5, 0, seed=0)
    assert {(trial.watts, trial.joules, trial.cross_check_joules) for trial in done} == {
        (None, None, 50.0)
    }
    assert {trial.flags for trial in done} == {(f"the meter says {said:g} W",)}
    assert summarise(done, "ours", "joules") is None
    assert paired_ratio(done, "ours", "dense", "watts") is None
    assert Liar().idle_watts(0) is None


@pytest.mark.parametrize("taken", [0.0, math.nan, math.inf])
def test_a_clock_that_stands_is_no_latency(taken):
    with pytest.raises(LowrankError, match=f"an iteration took {taken} s by the device's cl"):
        compare({"ours": "o", "dense": "d"}, lambda work, n: taken, EnergyMeter(), 5, 0, seed=0)


def test_without_a_meter_there_is_no_pass_for_energy():
    machine = SimulatedMachine({"ours": 1.0, "dense": 2.0})
    done = compare(machine.works(), machine.timer, EnergyMeter(), 5, 0, seed=0, most_warm_up=3)
    assert len(machine.calls) == 2 * (3 + 5)
    assert {(trial.joules, trial.throttled) for trial in done} == {(None, None)}


def test_works_of_several_devices_run_at_once_until_the_last_is_done():
    meeting = threading.Barrier(2, timeout=20)

    def timer_of(seconds):
        def timer(work, iterations):
            work()
            meeting.wait()  # never passed if one ran after the other
            return seconds * iterations

        return timer

    done = []
    timer = side_by_side([timer_of(1.0), timer_of(3.0)])
    assert timer([lambda: done.append("a"), lambda: done.append("b")], 2) == 6.0
    assert sorted(done) == ["a", "b"]


def test_an_error_on_one_device_ends_the_turn():
    def fail():
        raise RuntimeError("CUDA error")

    timer = side_by_side([cpu_timer, cpu_timer])
    with pytest.raises(RuntimeError, match="CUDA error"):
        timer([lambda: None, fail], 1)


def test_turns_cancel_a_drift_that_medians_keep():
    machine = SimulatedMachine({"ours": 1.0, "dense": 2.0}, drift=1.02)
    done = compare(machine.works(), machine.timer, EnergyMeter(), 40, 0, seed=1, most_warm_up=3)
    ratio = paired_ratio(done, "ours", "dense", "seconds")
    assert ratio["value"] == pytest.approx(0.5, rel=0.01)
    assert ratio["interval_95"][0] < 0.5 < ratio["interval_95"][1]
    by_time = [trial.seconds for trial in done if trial.name == "ours"]
    assert max(by_time) > 3 * min(by_time)


def test_warm_up_ends_when_it_is_level_and_not_before():
    times = iter([9.0, 5.0, 3.0, 2.0, 2.0, 2.02, 7.0, 7.0])
    assert warm_up(lambda: None, lambda work, n: next(times), most=20) == pytest.approx(2.0)
    assert next(times) == 7.0


def test_warm_up_gives_up_on_a_machine_that_never_levels_off():
    times = iter(range(1, 100))
    assert warm_up(lambda: None, lambda work, n: float(next(times)) ** 3, most=6) == 5.0**3


def test_fewer_than_five_trials_are_refused():
    with pytest.raises(LowrankError, match="trials: 4 is too few"):
        compare({}, lambda work, n: 1.0, EnergyMeter(), 4, 0, seed=0)


def test_the_ratio_is_the_geometric_mean_of_rounds():
    ratio = paired_ratio(trials_of([(1, 2), (4, 2), (3, 3)]), "ours", "dense", "seconds")
    assert ratio["value"] == pytest.approx((0.5 * 2 * 1) ** (1 / 3))
    assert ratio["rounds"] == 3


def test_a_ratio_without_noise_has_an_interval_of_no_width():
    ratio = paired_ratio(trials_of([(1, 4)] * 5), "ours", "dense", "seconds")
    assert ratio["interval_95"] == [0.25, 0.25]


def test_an_interval_that_noise_makes_endless_has_ends_that_can_be_written():
    rounds = [(1e-300, 1), (1e300, 1)]
    low, high = paired_ratio(trials_of(rounds), "ours", "dense", "seconds")["interval_95"]
    assert low == pytest.approx(math.exp(-700)) and high == pytest.approx(math.exp(700))


def test_one_round_that_is_off_does_not_make_the_interval_endless():
    rounds = [(1, 1), (1.001, 1), (0.999, 1), (1, 1.001), (1.2, 1)]
    low, high = paired_ratio(trials_of(rounds), "ours", "dense", "seconds")["interval_95"]
    assert 0.9 < low < 1 < high < 1.2


def test_one_round_has_no_interval():
    with pytest.raises(LowrankError, match="one round of ours has no interval"):
        paired_ratio(trials_of([(1, 2)]), *NAMES)


@given(logs=st.lists(st.floats(-1, 1), min_size=2, max_size=9))
def test_the_interval_of_a_ratio_is_student_s(logs):
    """As statsmodels has it for a mean, of the logarithms."""
    made = paired_ratio(trials_of([(math.exp(log), 1) for log in logs]), *NAMES)
    low, high = DescrStatsW(np.log(np.exp(logs))).tconfint_mean()
    assert np.log(made["interval_95"]) == pytest.approx([low, high], abs=1e-9)


def test_energy_that_one_trial_lacks_makes_no_ratio_and_no_summary():
    trials = trials_of([(1, 2)] * 5, "joules")
    trials[3] = Trial("dense", 1, 1, 1, 1.0, None)
    assert paired_ratio(trials, "ours", "dense", "joules") is None
    assert summarise(trials, "dense", "joules") is None
    assert summarise(trials, "ours", "joules")["median"] == 1


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = 0
    for logs in rng.normal(math.log(0.7), 0.05, (1000, 5)):
        ratio = paired_ratio(trials_of(np.exp(logs)[:, None] * [1, 0] + [0, 1]), *NAMES)
        low, high = ratio["interval_95"]
        covered += low <= 0.7 <= high
    assert covered / 1000 == pytest.approx(0.95, abs=0.02)


NAMES = ("ours", "dense", "seconds")


def test_quartiles_are_numpy_s():
    values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0]
    made = summarise(trials_of([(value, 1) for value in values]), "ours", "seconds")
    assert list(made.values()) == [np.median(values), *np.percentile(values, [25, 75])]


@given(limit=st.integers(1, 3000), most=st.integers(1, 2048))
def test_the_batch_search_ends_close_below_the_limit(limit, most):
    asked = []

    def fits(rows):
        asked.append(rows)
        return rows <= limit

    found = largest_batch(fits, most)
    reachable = min(limit, most)
    assert found <= reachable
    assert found >= reachable - max(1, reachable // 16)
    assert max(asked) <= most
    assert len(asked) <= 2 * math.ceil(math.log2(reachable + 1)) + 2


def test_a_device_on_which_nothing_fits_is_an_error():
    with pytest.raises(LowrankError, match="not even a batch of one row"):
        largest_batch(lambda rows: False, 8)
