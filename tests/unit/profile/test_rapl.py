"""The meter of processors against simulated RAPL files, healthy and broken."""

import pytest
from lowrank.profile import rapl as module
from lowrank.profile.energy import EnergyMeter
from lowrank.profile.rapl import rapl_meter


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
    meter = rapl_meter(rapl(tmp_path, 1_000_000, 9_500_000))
    with meter.window() as window:
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("3000000\n")
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("500000\n")
        (tmp_path / "intel-rapl:9" / "energy_uj").write_text("9000000\n")
    assert meter.source == "rapl"
    assert window.watts * window.seconds == pytest.approx(2.0 + 1.0)
    assert window.flags == []


def test_a_window_that_fills_half_of_a_rapl_counter_is_flagged(tmp_path):
    meter = rapl_meter(rapl(tmp_path, 0))
    with meter.window() as window:
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("6000000\n")
    assert "may wrap twice" in window.flags[0]


def test_a_rapl_counter_that_stands_still_is_no_number(tmp_path):
    meter = rapl_meter(rapl(tmp_path, 7))
    with meter.window() as window:
        pass
    assert window.watts is None
    assert window.flags == ["the energy counter stood still"]


@pytest.mark.parametrize("is_earlier", [True, False])
def test_a_rapl_counter_that_vanishes_is_no_number(tmp_path, is_earlier):
    meter = rapl_meter(rapl(tmp_path, 7))
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

    monkeypatch.setattr(module, "_read", denied)
    meter = rapl_meter(rapl(tmp_path, 7))
    assert not meter.available
    assert "chmod a+r" in meter.reason


def test_a_machine_without_rapl_says_so_and_measures_nothing(tmp_path):
    meter = rapl_meter(tmp_path)
    with meter.window() as window:
        pass
    assert (meter.available, window.watts) == (False, None)
    assert meter.reason.startswith("not measured on this machine")
    assert EnergyMeter("why").reason == "why"
