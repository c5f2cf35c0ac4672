"""Energy of a window of time: what every meter gives, and the meter of a machine without one.

What a machine does not measure is None with the reason, never zero and never an estimate.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

NOT_MEASURED = "not measured on this machine"
"""How the reason of a meter begins that measures nothing."""


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

    def settle(self) -> None:
        """Take back power that is no number above zero: no device that works draws that."""
        for name in ("watts", "cross_check_watts"):
            said = getattr(self, name)
            if said is not None and not 0 < said < math.inf:
                setattr(self, name, None)
                self.flags.append(f"the meter says {said:g} W")

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
        window.settle()
        return window.watts

    def record(self) -> dict[str, Any]:
        """Return what a result says of it."""
        return {
            "source": self.source,
            "reason": self.reason,
            "power_reading": self.power_reading,
        }
