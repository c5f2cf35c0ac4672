"""Energy of a CPU by RAPL, the kernel's counters: the processor packages, not the whole machine.

The counters are read directly: they are two files a package, and the libraries for them neither
handle a counter that wraps more than once nor say why they cannot read it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from lowrank.profile.energy import NOT_MEASURED, EnergyMeter, Window

POWER_CAP = Path("/sys/class/powercap")
"""Where Linux offers RAPL."""


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


def rapl_meter(root: Path = POWER_CAP) -> EnergyMeter:
    """Return the meter of this machine's processors; one that measures nothing says why.

    Parameters
    ----------
    root
        Where the kernel offers RAPL.
    """
    try:
        # Whole packages only: `psys` and a package's parts would count the same energy again.
        zones = sorted(
            path
            for path in root.glob("intel-rapl:*")
            if path.name.count(":") == 1
            and (path / "name").read_text(encoding="utf-8").startswith("package")
        )
        if not zones:
            return EnergyMeter(f"{NOT_MEASURED}: the kernel offers no RAPL counters")
        for zone in zones:
            _read(zone / "energy_uj")
        return RaplMeter(zones)
    except PermissionError:
        return EnergyMeter(
            f"{NOT_MEASURED}: RAPL counters may be read by root only "
            f"(sudo chmod a+r {root}/intel-rapl:*/energy_uj)"
        )
    except (OSError, ValueError) as error:
        return EnergyMeter(f"{NOT_MEASURED}: RAPL cannot be read ({error})")


def _read(path: Path) -> int:
    return int(path.read_text())
