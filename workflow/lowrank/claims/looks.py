"""Planned looks: a test is judged at fixed numbers of questions, and stops where it is decided.

A plan says how many questions of each benchmark a look has. Each look asks twice as many as the one
before, of a fixed order, so that a look's questions are a part of every later one's. A test is
judged at each look by itself, on the questions of that look alone. So a verdict follows from the
answers and the plan, whatever else was asked, in whatever order, and however often one looked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats

from lowrank.base.errors import LowrankError
from lowrank.base.sequential import critical_values
from lowrank.claims.estimate import Estimate
from lowrank.claims.verdict_names import CONTRADICTED, SUPPORTED, UNDECIDED
from lowrank.claims.verdicts import LEVEL

BLOCK = 8
"""Looks end with a whole block of questions that are asked together."""

LOOKS = 5
"""Looks of a plan: the last one has sixteen times the questions of the first."""

POWER = 0.8
"""How likely a test finds the effect that is called the smallest it can detect."""

FIRST_TO_GIVE_UP = 3
"""No test is given up before this look: until then its number is mostly noise."""

ENDLESS = 1000.0
"""A test that needs more than so many times the plan's information is never decided."""

PLAN_METHOD = (
    "Questions are asked in planned looks. Each look has twice the questions of the one before, up "
    "to those that exist. A test is judged at each look, on the questions of that look alone. It "
    "stops at the first look that decides it. Who looks several times errs more often than who "
    "looks once. So the interval on questions like these is wider at each look by a factor: the "
    "bound of O'Brien and Fleming over the bound of one look. These repeated confidence intervals "
    "hold the truth at all looks together in 95% of the cases (Jennison and Turnbull, 1989). They "
    "do so whatever makes one stop, and running again at the same look adds nothing. The share of "
    "the information at a look is that of its questions, 1/Σ(1/n) over the benchmarks of the test. "
    "A test needs the number of questions at which its interval would leave the edge of its range, "
    "if its number stayed the same; where noise adds to the number, that part shrinks as noise "
    f"does. From look {FIRST_TO_GIVE_UP} on it is given up if it needs more than the last look has "
    "even where its number is one standard error further from the edge and no guess. The smallest "
    "effect that a test can detect is what it finds at the last look with a probability of 0.8. "
    "Figures and tables of scores have the plain intervals of all that was asked."
)


@dataclass(frozen=True)
class Looks:
    """How many questions of each benchmark each look has.

    Attributes
    ----------
    numbers
        From a benchmark to its numbers, one a look, never fewer than at the look before.

    Raises
    ------
    LowrankError
        If the numbers of a benchmark shrink, or benchmarks have different numbers of looks.
    """

    numbers: Mapping[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        if len({len(own) for own in self.numbers.values()}) != 1:
            raise LowrankError("looks: every benchmark has one number of questions a look")
        for benchmark, own in self.numbers.items():
            if not own or own[0] < 1 or list(own) != sorted(own):
                raise LowrankError(f"looks: the questions of {benchmark} must grow: {list(own)}")

    @classmethod
    def doubling(
        cls, first: Mapping[str, int | None], available: Mapping[str, int], count: int = LOOKS
    ) -> Looks:
        """Return looks that double.

        Parameters
        ----------
        first
            From a benchmark to the questions of the first look; None for all that exist. They are
            rounded up to whole blocks.
        available
            How many questions each benchmark has: no look has more.
        count
            How many looks.
        """
        numbers = {}
        for benchmark, limit in first.items():
            exist = available[benchmark]
            start = exist if limit is None else math.ceil(limit / BLOCK) * BLOCK
            numbers[benchmark] = tuple(min(start * 2**look, exist) for look in range(count))
        return cls(numbers)

    @property
    def count(self) -> int:
        """How many looks there are."""
        return len(next(iter(self.numbers.values())))

    def at(self, look: int) -> dict[str, int]:
        """Return the questions of each benchmark at a look, counted from 1."""
        return {benchmark: own[look - 1] for benchmark, own in self.numbers.items()}

    def questions(self, benchmarks: Sequence[str]) -> list[int]:
        """Return the questions of a test at each look, summed over its benchmarks."""
        return [sum(own) for own in zip(*(self.numbers[b] for b in benchmarks), strict=True)]

    def fractions(self, benchmarks: Sequence[str]) -> tuple[float, ...]:
        """Return the share of the last look's information that a test has at each look.

        The variance of a mean over benchmarks is a sum of parts that go as 1/n.
        """
        numbers_KB = np.array([self.numbers[b] for b in benchmarks], dtype=float).T
        information_K = 1 / (1 / numbers_KB).sum(axis=1)
        return tuple(float(share) for share in information_K / information_K[-1])

    def reached(self, asked: Mapping[str, int]) -> int:
        """Return the last look whose questions were all asked; 0 if not even the first.

        Parameters
        ----------
        asked
            From each benchmark of a test to the questions that were asked of all that it compares.
        """
        looks = [look for look in range(self.count) if self._is_reached(asked, look)]
        return looks[-1] + 1 if looks else 0

    def _is_reached(self, asked: Mapping[str, int], look: int) -> bool:
        return all(count >= self.numbers[benchmark][look] for benchmark, count in asked.items())


@dataclass(frozen=True)
class Outlook:
    """What more questions would do for a test.

    Attributes
    ----------
    share
        Share of the plan's information that decides it, if its number stays; above 1 it is more
        than the plan has, and infinite if the number lies on the edge of the range.
    least_share
        The same if the number were one standard error further from the edge, and no guess.
    verdict
        The verdict at `share`: supported or contradicted, or undecided if that is infinite.
    detects
        The smallest distance from the edge that the last look can detect, in the test's unit.
    """

    share: float
    least_share: float
    verdict: str
    detects: float


def outlook(
    single: Estimate,
    limits: Sequence[float | None],
    fractions: Sequence[float],
    look: int,
    tests: int = 1,
    can_contradict: bool = True,
) -> Outlook:
    """Return what more questions would do for a test that was judged at a look.

    The half-width of its interval goes as 1/t with the share t: the standard error as 1/√t, and
    the bound of the look as well. What noise adds to the number goes as 1/√t.

    Parameters
    ----------
    single
        Its estimate at the look, not stretched.
    limits
        The ends of its range; None for an open one.
    fractions, look
        As `Estimate.at_look` takes them.
    tests
        How many tests of the claim can be judged (see `lowrank.claims.verdicts.judge`).
    can_contradict
        Whether a number outside the range would contradict: guesses do not.
    """
    low, high = limits
    value, share = single.value, fractions[look - 1]
    settled = value if single.settled is None else single.settled
    whole = single.readings[-1]
    stretched = whole.at_look(value, fractions, look)
    (below, above), (far_below, far_above) = (
        (value - ends[0], ends[1] - value)
        for ends in (stretched.interval(1 - LEVEL), stretched.interval(1 - LEVEL / tests))
    )
    ends, z = whole.interval(1 - LEVEL), float(scipy.stats.norm.ppf(1 - LEVEL / 2))
    error_below, error_above = (value - ends[0]) / z, (ends[1] - value) / z
    widest = math.inf if low is None or high is None else (high - low) / 2

    def is_supported(share_N: np.ndarray, optimism: float) -> np.ndarray:
        value_N, narrower_N = later(share_N)
        inside_N = np.ones(len(share_N), dtype=bool)
        if low is not None:
            room_N = np.minimum(value_N - low + optimism * error_below, widest)
            inside_N &= below * narrower_N < room_N
        if high is not None:
            room_N = np.minimum(high - value_N + optimism * error_above, widest)
            inside_N &= above * narrower_N < room_N
        return inside_N

    def is_contradicted(share_N: np.ndarray, optimism: float) -> np.ndarray:
        # More questions may tell from chance what fewer cannot.
        if not (can_contradict or optimism):
            return np.zeros(len(share_N), dtype=bool)
        value_N, narrower_N = later(share_N)
        outside_N = np.zeros(len(share_N), dtype=bool)
        if low is not None:
            outside_N |= far_above * narrower_N < low - value_N + optimism * error_above
        if high is not None:
            outside_N |= far_below * narrower_N < value_N - high + optimism * error_below
        return outside_N

    def later(share_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the number to expect at shares, and by how much its interval is narrower."""
        less_N = share / share_N
        return settled + (value - settled) * np.sqrt(less_N), less_N

    def needed(optimism: float) -> tuple[float, str]:
        """Return the share that decides, if the number were so many errors further out."""
        ways = {SUPPORTED: is_supported, CONTRADICTED: is_contradicted}
        shares = {
            verdict: _first(lambda share_N, way=way: way(share_N, optimism), share)
            for verdict, way in ways.items()
        }
        verdict = min(shares, key=shares.__getitem__)
        return shares[verdict], verdict if math.isfinite(shares[verdict]) else UNDECIDED

    at_end = (error_below + error_above) / 2 * math.sqrt(share)
    bound = float(critical_values(fractions, 1 - LEVEL)[-1])
    detects = (bound + float(scipy.stats.norm.ppf(POWER))) * at_end
    needs, verdict = needed(0.0)
    return Outlook(needs, needed(1.0)[0], verdict, detects)


def _first(holds: Callable[[np.ndarray], np.ndarray], start: float) -> float:
    """Return the least number from `start` to `ENDLESS` at which something holds, or infinity."""
    low, high = start, ENDLESS
    for _ in range(4):  # each search is a thousand times finer than the one before
        number_N = np.geomspace(low, high, 1000)
        holds_N = holds(number_N)
        if not holds_N.any():
            return math.inf
        first = int(holds_N.argmax())
        if first == 0:
            return low
        low, high = float(number_N[first - 1]), float(number_N[first])
    return high


def described(
    looks: Looks,
    benchmarks: Sequence[str],
    look: int,
    found: Outlook | None,
    exist: int,
    is_open: bool,
    is_foretold: bool = True,
) -> dict[str, Any]:
    """Return what the ledger says of a test's place in the plan.

    Parameters
    ----------
    benchmarks
        Those of the test.
    look
        The look that its verdict is of; 0 before the first.
    found
        Its `outlook`; None where nothing is known.
    exist
        How many questions its benchmarks have.
    is_open
        Whether it is undecided.
    is_foretold
        Whether its interval alone leaves it open; otherwise nothing foretells when it is decided.

    Returns
    -------
    `look`, `looks` (how many are planned), `share` (of the plan's information), `bound` (in
    standard errors), `stretch` (the bound over that of one look), `planned` (questions at each
    look), `exist`, `needs` (the questions that decide it; None where it is decided or nothing can
    be said), `endless` (whether no number of questions decides it, while its number stays),
    `decides_at` (the look that has what it needs; None where none has), `expects` (the verdict
    there, or None), `given_up` and `detects` (None where unknown).
    """
    fractions, planned = looks.fractions(benchmarks), looks.questions(benchmarks)
    bound = float(critical_values(fractions, 1 - LEVEL)[look - 1]) if look else None
    made: dict[str, Any] = {
        "look": look,
        "looks": looks.count,
        "share": fractions[look - 1] if look else 0.0,
        "bound": bound,
        "stretch": bound and bound / float(scipy.stats.norm.ppf(1 - LEVEL / 2)),
        "planned": planned,
        "exist": exist,
        "needs": None,
        "endless": False,
        "decides_at": None,
        "expects": None,
        "given_up": False,
        "detects": found.detects if found else None,
    }
    if not (found and is_open):
        return made
    is_late, is_hopeless = look >= FIRST_TO_GIVE_UP, found.least_share > 1
    made["given_up"] = look == looks.count or (is_foretold and is_late and is_hopeless)
    if not is_foretold:
        return made
    made["endless"] = math.isinf(found.share)
    if found.share <= 1:
        later = [at for at in range(look, looks.count) if fractions[at] >= found.share - 1e-12]
        made["decides_at"] = (later or [looks.count - 1])[0] + 1
        made["needs"] = planned[made["decides_at"] - 1]
        made["expects"] = found.verdict
    elif math.isfinite(found.share):
        # A longer plan is decided at its last look: there the half-width goes as 1/√n.
        made["needs"] = math.ceil(planned[-1] * found.share**2)
    return made
