"""The meter of GPUs against a simulated NVML, healthy and broken."""

import time
from types import SimpleNamespace

import pytest
from fake_nvml import FakeNvml
from lowrank.profile import nvml as module
from lowrank.profile.nvml import Readings, nvml_meter
from lowrank.running.nvml import Nvml


def meter_of(nvml, gpus=1):
    return nvml_meter(Nvml(nvml), [f"GPU-{index}" for index in range(gpus)])


def measure(nvml, gpus=1, seconds=0.3):
    meter = meter_of(nvml, gpus)
    with meter.window() as window:
        time.sleep(seconds)
    return meter, window


def test_counter_and_sampled_power_agree_with_the_power_drawn():
    meter, window = measure(FakeNvml(watts=100))
    assert meter.source == "nvml-counter"
    assert window.watts == pytest.approx(100, rel=0.05)
    assert window.cross_check_watts == pytest.approx(100)
    assert window.disagreement == pytest.approx(abs(window.watts - 100) / window.watts)
    assert window.flags == []


def test_power_is_summed_over_the_gpus_of_the_job():
    _, window = measure(FakeNvml(watts=50, uuids=[f"GPU-{n}" for n in range(4)]), gpus=4)
    assert window.watts == pytest.approx(200, rel=0.05)


def test_only_the_gpus_of_the_job_are_measured():
    nvml = FakeNvml(watts={"GPU-0": 900, "GPU-1": 100}, uuids=("GPU-0", "GPU-1"))
    meter = nvml_meter(Nvml(nvml), ["GPU-1"])
    with meter.window() as window:
        time.sleep(0.2)
    assert window.watts == pytest.approx(100, rel=0.05)
    assert set(nvml.asked) == {"GPU-1"}


def test_a_counter_that_is_wrong_by_a_factor_is_flagged():
    _, window = measure(FakeNvml(scale=2.0))
    assert "counter and sampled power differ by more than 5%" in window.flags


@pytest.mark.parametrize("phase", [0.0, 0.03, 0.099])
def test_a_counter_that_ticks_ten_times_a_second_is_read_to_two_percent(phase):
    """A second at 300 W, polled; a plain difference over the window would be off by up to 10%."""
    reading = Readings()
    for poll in range(201):
        now = poll * module.POLL_SECONDS
        reading.count(now, 300_000 * 0.1 * ((now + phase + 1e-9) // 0.1))
    watts, flag = reading.counted_watts(1.0, 1.0)
    assert watts == pytest.approx(300, rel=0.02)
    assert flag == ""


def test_a_window_of_two_ticks_is_flagged_and_of_one_is_no_number():
    two, one = Readings(), Readings()
    for now, value in ((0.0, 5), (0.1, 10_005), (0.2, 20_005)):
        two.count(now, value)
    for now, value in ((0.0, 5), (0.1, 10_005)):
        one.count(now, value)
    assert two.counted_watts(0.25, 0.25) == (100, "window too short for the energy counter")
    assert one.counted_watts(0.15, 0.15) == (None, "window too short for the energy counter")


def test_a_counter_that_stops_within_a_window_is_no_number():
    reading = Readings()
    for tick in range(5):
        reading.count(0.1 * tick, 10_000 * tick)
    assert reading.counted_watts(2.0, 2.0) == (None, "the energy counter stood still")


def test_the_mean_of_samples_is_the_trapezoid_rule_s():
    reading = Readings()
    for now, watts in ((0.0, 100), (1.0, 200), (3.0, 400)):
        reading.sample(now, watts)
    assert reading.sampled_watts() == pytest.approx((150 * 1 + 300 * 2) / 3)


@pytest.mark.parametrize(
    ("fault", "flag"),
    [("frozen", "stood still"), ("backwards", "ran backwards"), ("lost", "GPU is lost")],
)
def test_a_broken_counter_is_no_number_and_is_named(fault, flag):
    _, window = measure(FakeNvml(fault=fault), seconds=0.6)
    assert window.watts is None
    assert any(flag in text for text in window.flags)


def test_an_nvml_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)
    nvml = FakeNvml()
    meter = meter_of(nvml)
    nvml.fault = "hanging"
    for _ in range(2):
        with meter.window() as window:
            time.sleep(0.05)
        assert window.watts is None
        assert window.flags == ["NVML no longer answers"]


def test_throttling_within_a_window_is_seen_and_before_and_after_is_not():
    nvml = FakeNvml()
    meter = meter_of(nvml)
    nvml.bits = 0x8
    nvml.bits = 0
    with meter.window() as calm:
        time.sleep(0.2)
    with meter.window() as window:
        time.sleep(0.1)
        nvml.bits, nvml.clock, nvml.temperature = 0x40 | 0x1, 900, 88
        time.sleep(0.15)
        nvml.bits = 0
        time.sleep(0.1)
    assert calm.throttled == []
    assert (calm.sm_megahertz, calm.temperature_celsius) == (1500, 50)
    assert window.throttled == ["hardware thermal slowdown"]
    assert window.temperature_celsius == 88


def test_throttle_reasons_that_cannot_be_read_are_not_none_at_all():
    nvml = FakeNvml()
    nvml.nvmlDeviceGetCurrentClocksEventReasons = None
    _, window = measure(nvml)
    assert window.throttled is None
    assert "throttle reasons could not be read" in window.flags


def test_without_a_counter_power_is_sampled_and_that_is_said():
    meter, window = measure(FakeNvml(watts=80, fault="no_counter"))
    assert (meter.source, meter.power_reading) == ("nvml-power", "average")
    assert "no energy counter" in meter.reason
    assert window.watts == pytest.approx(80)
    assert window.cross_check_watts is None
    assert window.flags == ["window under 5 s: short for sampled power"]


def test_permission_denied_measures_nothing_and_says_so():
    meter, window = measure(FakeNvml(fault="denied"))
    assert not meter.available
    assert "not measured on this machine: No Permission" in meter.reason
    assert window.watts is None
    assert meter.idle_watts(0.01) is None


def test_without_nvml_there_is_no_meter():
    meter = nvml_meter(Nvml(None, "NVML cannot be used (Not Found)"), ["GPU-0"])
    assert not meter.available
    assert meter.reason == "not measured on this machine: NVML cannot be used (Not Found)"


def test_a_gpu_that_nvml_does_not_know_has_no_meter():
    meter = nvml_meter(Nvml(FakeNvml()), ["GPU-0", "GPU-9"])
    assert not meter.available
    assert meter.reason.startswith("not measured on this machine: NVML does not know this GPU (")


def test_an_error_of_the_measured_work_ends_the_sampling():
    meter = meter_of(FakeNvml())
    with pytest.raises(RuntimeError, match="out of memory"), meter.window():
        raise RuntimeError("out of memory")


def test_instant_power_is_used_where_the_card_tells_it():
    nvml = FakeNvml(watts=10, fault="no_counter")
    value = SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=70_000))
    nvml.nvmlDeviceGetFieldValues = lambda handle, fields: [value]
    meter, window = measure(nvml)
    assert meter.power_reading == "instant"
    assert window.watts == pytest.approx(70)


def test_idle_power_is_what_the_device_draws():
    assert meter_of(FakeNvml(watts=60)).idle_watts(0.2) == pytest.approx(60, rel=0.05)
