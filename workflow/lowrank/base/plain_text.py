"""When two texts ask the same."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return a text without what does not tell it from another: case, and kinds of white space."""
    return " ".join(text.split()).casefold()
