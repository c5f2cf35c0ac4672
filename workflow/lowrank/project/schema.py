"""Check a value by its JSON schema: it gets its defaults, or one line says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema
from jsonschema.exceptions import ValidationError, best_match, by_relevance

from lowrank.base.errors import LowrankError, suggestion


def checked(
    schema: Mapping[str, Any], value: Any, where: str, path: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return a value with the schema's defaults for the keys that it lacks.

    Parameters
    ----------
    schema
        The JSON schema of the whole file.
    value
        What to check.
    where
        The file that it is from, for messages.
    path
        Where in the file it stands, if it is a part of it.

    Raises
    ------
    LowrankError
        If it does not fit; of several mistakes the message names the one that says most.
    """
    if path:
        schema = schema["properties"][path[0]]
        # One entry of `benchmarks`, or the whole of `profile`.
        schema = schema["additionalProperties"] or schema
    # A misspelled key is both unknown and missing: the first says what to do.
    key = by_relevance(strong=frozenset({"additionalProperties"}))
    error = best_match(jsonschema.Draft202012Validator(schema).iter_errors(value), key)
    if error is not None:
        raise LowrankError(_explain(error, where, path))
    return defaults(schema) | value


def defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of an object's keys, by its JSON schema."""
    parts = schema.get("properties", {})
    return {key: part["default"] for key, part in parts.items() if "default" in part}


def _explain(error: ValidationError, where: str, path: tuple[str, ...]) -> str:
    place = ".".join(str(part) for part in (*path, *error.absolute_path))
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        known = list(error.schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in known)
        key = f"{place}.{unknown}" if place else str(unknown)
        return f"{where}: {key}: unknown key{suggestion(str(unknown), known)}"
    message = " ".join(error.message.split())
    if len(message) > 200:
        message = message[:200] + "…"
    return f"{where}: {place or 'top level'}: {message}"
