"""Names of entries: what they may be, since folders, files and rules are called by them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lowrank.base.errors import LowrankError
from lowrank.base.names import AGGREGATE, AUTHORS

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
STUDY_NAME = rf"{NAME}(?<!\.profiles)"
PART_NAME = "[a-z0-9_]+"
"""Names that are part of a configuration's own name, in which `-`, `.` and `+` mean something."""

LONGEST = 100
"""Characters of a name: it is a part of names of files, which have 255 bytes at most."""

NAMES = f"letters, digits, `_`, `-` and `.`, and begins with a letter or a digit: {NAME}"
PART_NAMES = f"small letters, digits and `_`: {PART_NAME}"

RULES: Mapping[str, tuple[str, str]] = {
    "model": (NAME, NAMES),
    "architecture": (NAME, NAMES),
    "benchmark": (NAME, NAMES),
    "study": (STUDY_NAME, f"{NAMES}; it does not end in `.profiles`"),
}
"""From a kind of entry to the pattern of its names and what it says; others have `PART_NAME`."""

RESERVED = {"model": (AUTHORS, "thesis"), "benchmark": (AGGREGATE,)}
"""Names that folders and rows of results have for something else."""


def require_name(kind: str, name: str, where: object) -> None:
    """Check the name of an entry.

    Parameters
    ----------
    kind
        What it names, such as `model`.
    name
        The name.
    where
        Where it stands, for the message.

    Raises
    ------
    LowrankError
        Saying the rule.
    """
    pattern, rule = RULES.get(kind, (PART_NAME, PART_NAMES))
    if len(name) > LONGEST:
        raise LowrankError(f"{where}: the name of a {kind} has at most {LONGEST} characters")
    if not re.fullmatch(pattern, name):
        raise LowrankError(f"{where}: the name of a {kind} has {rule}")
    if name in RESERVED.get(kind, ()):
        raise LowrankError(f"{where}: {name!r} is taken: give the {kind} another name")
