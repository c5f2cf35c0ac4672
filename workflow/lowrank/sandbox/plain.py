"""Plain values as JSON, and messages of a known length: all that passes between two processes.

A value of a class that a program made up arrives as the plain value that it is built on, or not at
all. So what is compared here is a number, a text or a collection of them, and never something whose
`==` says what it likes. Nothing is executed to read a message.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

LENGTH_BYTES = 4
"""Bytes before a message that say how long it is."""

_LARGE = 2**63


class NotPlainError(Exception):
    """A value cannot pass."""


class TooLongError(Exception):
    """A message is longer than it may be."""


class EndedError(Exception):
    """There is no more to read, or nobody reads."""


def encode(value: Any) -> Any:
    """Return a plain value as JSON values.

    Raises
    ------
    NotPlainError
        If it is none: neither a number, a text, nothing, nor a collection of such.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -_LARGE < value < _LARGE else ["int", hex(value)]
    for kind in (float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return [kind.__name__, *(encode(item) for item in value)]
    if isinstance(value, dict):
        return ["dict", *([encode(key), encode(own)] for key, own in value.items())]
    if type(value).__name__ in ("Decimal", "Fraction"):
        return [type(value).__name__, str(value)]
    raise NotPlainError(type(value).__name__)


def decode(value: Any) -> Any:
    """Return the plain value that `encode` described.

    Raises
    ------
    NotPlainError
        If the description is none.
    """
    if not isinstance(value, list | dict):
        return value
    try:
        kind, *rest = value
        if kind in ("list", "tuple", "set", "frozenset"):
            made = (decode(item) for item in rest)
            return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind](made)
        if kind == "dict":
            return {decode(key): decode(own) for key, own in rest}
        if kind == "int":
            return int(rest[0], 16)
        if kind == "complex":
            return complex(*rest)
        if kind == "bytes":
            return bytes.fromhex(rest[0])
        if kind == "Decimal":
            from decimal import Decimal

            return Decimal(rest[0])
        if kind == "Fraction":
            from fractions import Fraction

            return Fraction(rest[0])
    except (ValueError, TypeError, IndexError, ArithmeticError, RecursionError) as error:
        raise NotPlainError(str(error)) from None
    raise NotPlainError("it has no kind")


def send(descriptor: int, message: Mapping[str, Any]) -> None:
    """Write one message.

    Raises
    ------
    EndedError
        If nobody reads.
    """
    content = json.dumps(message).encode("ascii")
    data = len(content).to_bytes(LENGTH_BYTES, "big") + content
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except BrokenPipeError:
        raise EndedError from None


def receive(descriptor: int, longest: int) -> dict[str, Any]:
    """Read one message.

    Parameters
    ----------
    descriptor
        Where from.
    longest
        Most bytes that it may have.

    Raises
    ------
    EndedError
        If there is none.
    TooLongError
        If it is longer.
    NotPlainError
        If it is no JSON object.
    """
    length = int.from_bytes(_read(descriptor, LENGTH_BYTES), "big")
    if length > longest:
        raise TooLongError(f"{length} bytes")
    try:
        message = json.loads(_read(descriptor, length))
    except (ValueError, RecursionError) as error:
        raise NotPlainError(str(error)) from None
    if not isinstance(message, dict):
        raise NotPlainError("no object")
    return message


def _read(descriptor: int, count: int) -> bytes:
    parts = []
    while count:
        part = os.read(descriptor, min(count, 1 << 16))
        if not part:
            raise EndedError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
