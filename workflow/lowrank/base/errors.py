"""The one exception that a user is meant to read, and what messages are made with."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


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


def known(entries: Mapping[str, T], name: str, what: str) -> T:
    """Return an entry by its name.

    Raises
    ------
    LowrankError
        If there is none of this name; the message says that it is no `what`.
    """
    if name not in entries:
        raise LowrankError(f"{name!r} is no {what}{suggestion(name, entries)}")
    return entries[name]


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Let an error that nobody foresaw say what it is about: `lowrank.base.cli.run` prints it."""
    try:
        yield
    except LowrankError:  # which says it by itself
        raise
    except Exception as error:
        error.add_note(what)
        raise


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line."""
    return " ".join(str(error).split())


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out: Python's, a GPU's, or what torch asked of the system.

    torch has an exception of its own for a GPU's allocator only; a CPU's, and CUDA's libraries,
    raise plain runtime errors.
    """
    texts = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
    )
