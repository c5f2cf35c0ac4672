"""Energy meters against a simulated NVML and simulated RAPL files, healthy and broken."""

import time
from types import SimpleNamespace

import pytest
from fake_nvml import FakeNvml
from lowrank.profile import energy
from lowrank.profile.energy import EnergyMeter, NvmlMeter, Readings, energy_meter


def measure(nvml, gpus=1, seconds=0.3):
    meter = NvmlMeter(nvml, [f"GPU-{index}" for index in range(gpus)])
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
    _, window = measure(FakeNvml(watts=50), gpus=4)
    assert window.watts == pytest.approx(200, rel=0.05)


def test_only_the_gpus_of_the_job_are_measured():
    nvml = FakeNvml(watts={"GPU-0": 900, "GPU-1": 100}, uuids=("GPU-0", "GPU-1"))
    meter = energy_meter("cuda", nvml, uuids=["GPU-1"])
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
        now = poll * energy.POLL_SECONDS
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
    monkeypatch.setattr(energy, "ANSWER_SECONDS", 0.1)
    nvml = FakeNvml()
    meter = NvmlMeter(nvml, ["GPU-0"])
    nvml.fault = "hanging"
    for _ in range(2):
        with meter.window() as window:
            time.sleep(0.05)
        assert window.watts is None
        assert window.flags == ["NVML no longer answers"]


def test_throttling_within_a_window_is_seen_and_before_and_after_is_not():
    nvml = FakeNvml()
    meter = NvmlMeter(nvml, ["GPU-0"])
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
    meter = energy_meter("cuda", None, "NVML cannot be used (Not Found)", ["GPU-0"])
    assert not meter.available
    assert meter.reason == "not measured on this machine: NVML cannot be used (Not Found)"


def test_an_error_of_the_measured_work_ends_the_sampling():
    meter = NvmlMeter(FakeNvml(), ["GPU-0"])
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
    assert NvmlMeter(FakeNvml(watts=60), ["GPU-0"]).idle_watts(0.2) == pytest.approx(60, rel=0.05)


def rapl(root, *counters, span=10_000_000):
    for index, value in enumerate(counters):
        zone(root, f"intel-rapl:{index}", f"package-{index}", value, span)
    # Neither a package's part nor the whole platform must be counted beside the packages.
    zone(root, "intel-rapl:0:0", "core", 0, span)
    zone(root, "intel-rapl:9", "psys", 0, span)
    return root


def zone(root, folder, name, value, span):
    path = root / folder
    path.mkdir()
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{value}\n")
    (path / "max_energy_range_uj").write_text(f"{span}\n")


def test_rapl_sums_packages_alone_and_unwraps_a_counter(tmp_path):
    meter = energy_meter("cpu", root=rapl(tmp_path, 1_000_000, 9_500_000))
    with meter.window() as window:
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("3000000\n")
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("500000\n")
        (tmp_path / "intel-rapl:9" / "energy_uj").write_text("9000000\n")
    assert meter.source == "rapl"
    assert window.watts * window.seconds == pytest.approx(2.0 + 1.0)
    assert window.flags == []


def test_a_window_that_fills_half_of_a_rapl_counter_is_flagged(tmp_path):
    meter = energy_meter("cpu", root=rapl(tmp_path, 0))
    with meter.window() as window:
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("6000000\n")
    assert "may wrap twice" in window.flags[0]


def test_a_rapl_counter_that_stands_still_is_no_number(tmp_path):
    meter = energy_meter("cpu", root=rapl(tmp_path, 7))
    with meter.window() as window:
        pass
    assert window.watts is None
    assert window.flags == ["the energy counter stood still"]


@pytest.mark.parametrize("is_earlier", [True, False])
def test_a_rapl_counter_that_vanishes_is_no_number(tmp_path, is_earlier):
    meter = energy_meter("cpu", root=rapl(tmp_path, 7))
    path = tmp_path / "intel-rapl:0" / "energy_uj"
    if is_earlier:
        path.unlink()
    with meter.window() as window:
        path.unlink(missing_ok=True)
    assert window.watts is None
    assert "RAPL could not be read" in window.flags[0]


def test_rapl_that_may_not_be_read_names_the_remedy(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(energy, "_read", denied)
    meter = energy_meter("cpu", root=rapl(tmp_path, 7))
    assert not meter.available
    assert "chmod a+r" in meter.reason


def test_a_machine_without_rapl_says_so_and_measures_nothing(tmp_path):
    meter = energy_meter("cpu", root=tmp_path)
    with meter.window() as window:
        pass
    assert (meter.available, window.watts) == (False, None)
    assert meter.reason.startswith("not measured on this machine")
    assert EnergyMeter("why").reason == "why"
