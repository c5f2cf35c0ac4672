"""What the thesis prints, to be put beside what is computed here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml

UNITS: Mapping[str, float] = {"": 1, "K": 1e3, "MB": 1e6, "B": 1e9, "GB": 1e9}
"""Factor of each unit of the thesis's tables; B is a billion operations, MB and GB are bytes."""


def read_thesis(path: str | Path, place: str) -> dict[str, Any]:
    """Return the values of one place of the thesis, e.g. `table_1_1`.

    Parameters
    ----------
    path
        The file that holds what the thesis prints.
    place
        Its key there.

    Raises
    ------
    LowrankError
        If the file cannot be read or has no such place.
    """
    values = read_yaml(path)
    if not isinstance(values, Mapping) or not isinstance(values.get(place), Mapping):
        raise LowrankError(f"{path}: {place} is missing")
    return dict(values[place])


def quantity(printed: str | float) -> float:
    """Return the number that a printed quantity stands for: `"13.4 GB"` is 13.4 · 10⁹.

    Raises
    ------
    LowrankError
        If it is not a number with one of `UNITS`.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([A-Z]*)", str(printed))
    if match is None or match[2] not in UNITS:
        raise LowrankError(f"{printed!r} is not a number with a unit of {', '.join(UNITS)[2:]}")
    return float(match[1]) * UNITS[match[2]]
