# ruff: noqa: N802 (NVML's own names)
"""Energy meters against a simulated NVML and simulated RAPL files, healthy and broken."""

import time
from types import SimpleNamespace

import pytest
from lowrank.profiling import energy
from lowrank.profiling.energy import EnergyMeter, NvmlMeter, energy_meter


class FakeNvml:
    """GPUs that draw a set power; a counter in millijoules follows the clock.

    Faults: `no_counter`, `frozen`, `backwards`, `lost` (everything fails after the first window
    began), `denied` (nothing may be read), `scale` (the counter is wrong by this factor).
    """

    class NVMLError(Exception):
        pass

    def __init__(self, watts=100.0, fault=None, scale=1.0):
        self.watts, self.fault, self.scale = watts, fault, scale
        self.start, self.reads = time.perf_counter(), 0

    def nvmlInit(self):
        if self.fault == "missing":
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        self.reads += 1
        if self.fault in ("no_counter", "denied"):
            raise self.NVMLError("Not Supported" if self.fault == "no_counter" else "No Permission")
        if self.fault == "lost" and self.reads > 2:
            raise self.NVMLError("GPU is lost")
        if self.fault == "frozen":
            return 5
        if self.fault == "backwards":
            return 1000 - self.reads
        return 1000 * self.scale * self.watts * (time.perf_counter() - self.start)

    def nvmlDeviceGetFieldValues(self, handle, fields):
        assert fields == [186]
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetPowerUsage(self, handle):
        if self.fault == "denied":
            raise self.NVMLError("No Permission")
        if self.fault == "lost" and self.reads > 1:
            raise self.NVMLError("GPU is lost")
        return 1000 * self.watts


def measure(nvml, gpus=1, seconds=0.3):
    meter = NvmlMeter(nvml, [f"GPU-{index}" for index in range(gpus)])
    with meter.window() as window:
        time.sleep(seconds)
    return meter, window


def test_counter_and_integrated_power_agree_with_the_power_drawn():
    meter, window = measure(FakeNvml(watts=100))
    assert meter.source == "nvml-counter"
    assert window.joules == pytest.approx(100 * window.seconds, rel=0.05)
    assert window.cross_check == pytest.approx(100 * window.seconds, rel=0.2)
    assert window.disagreement is not None


def test_energy_is_summed_over_the_gpus_of_the_job():
    _, window = measure(FakeNvml(watts=50), gpus=4)
    assert window.joules == pytest.approx(200 * window.seconds, rel=0.05)


def test_a_counter_that_is_wrong_by_a_factor_is_flagged():
    _, window = measure(FakeNvml(scale=2.0))
    assert any("differ by" in flag for flag in window.flags)


@pytest.mark.parametrize(
    ("fault", "flag"),
    [("frozen", "stood still"), ("backwards", "ran backwards"), ("lost", "GPU is lost")],
)
def test_a_broken_counter_is_no_number_and_is_named(fault, flag):
    _, window = measure(FakeNvml(fault=fault))
    assert window.joules is None
    assert any(flag in text for text in window.flags)


def test_without_a_counter_power_is_sampled_and_that_is_said():
    meter, window = measure(FakeNvml(watts=80, fault="no_counter"))
    assert meter.source == "nvml-power"
    assert "no energy counter" in meter.reason
    assert window.joules == pytest.approx(80 * window.seconds, rel=0.2)
    assert window.cross_check is None


def test_permission_denied_measures_nothing_and_says_so():
    meter, window = measure(FakeNvml(fault="denied"))
    assert not meter.available
    assert "not measured on this machine: No Permission" in meter.reason
    assert window.joules is None
    assert meter.idle_watts(0.01) is None


def test_without_nvml_there_is_no_meter():
    meter = energy_meter("cuda", FakeNvml(fault="missing"), ["GPU-0"])
    assert not meter.available
    assert "NVML Shared Library Not Found" in meter.reason


def test_an_error_of_the_measured_work_ends_the_sampling():
    meter = NvmlMeter(FakeNvml(), ["GPU-0"])
    with pytest.raises(RuntimeError, match="out of memory"), meter.window():
        raise RuntimeError("out of memory")


def test_instant_power_is_used_where_the_card_tells_it():
    nvml = FakeNvml(watts=10, fault="no_counter")
    value = SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=70_000))
    nvml.nvmlDeviceGetFieldValues = lambda handle, fields: [value]
    _, window = measure(nvml)
    assert window.joules == pytest.approx(70 * window.seconds, rel=0.2)


def test_idle_power_is_what_the_device_draws():
    assert NvmlMeter(FakeNvml(watts=60), ["GPU-0"]).idle_watts(0.2) == pytest.approx(60, rel=0.05)


def rapl(root, *counters, span=10_000_000):
    for index, value in enumerate(counters):
        zone = root / f"intel-rapl:{index}"
        zone.mkdir()
        (zone / "energy_uj").write_text(f"{value}\n")
        (zone / "max_energy_range_uj").write_text(f"{span}\n")
    # A core's part of a package must not be counted beside the package.
    part = root / "intel-rapl:0:0"
    part.mkdir()
    (part / "energy_uj").write_text("0\n")
    return root


def test_rapl_sums_packages_and_unwraps_a_counter(tmp_path):
    meter = energy_meter("cpu", root=rapl(tmp_path, 1_000_000, 9_500_000))
    with meter.window() as window:
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("3000000\n")
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("500000\n")
    assert meter.source == "rapl"
    assert window.joules == pytest.approx(2.0 + 1.0)


def test_a_rapl_counter_that_stands_still_is_no_number(tmp_path):
    meter = energy_meter("cpu", root=rapl(tmp_path, 7))
    with meter.window() as window:
        pass
    assert window.joules is None
    assert window.flags == ["the energy counter stood still"]


def test_a_rapl_counter_that_vanishes_is_no_number(tmp_path):
    meter = energy_meter("cpu", root=rapl(tmp_path, 7))
    with meter.window() as window:
        (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert window.joules is None
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
    assert (meter.available, window.joules) == (False, None)
    assert meter.reason.startswith("not measured on this machine")
    assert EnergyMeter("why").reason == "why"
