"""The one exception that a user is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LowrankError(Exception):
    """A problem that the user can act on.

    The message is one line: what is wrong, where, and what to do about it.
    """


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the tail of a message on an unknown name: the nearest known one, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""
