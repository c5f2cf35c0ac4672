"""Check a value by its JSON schema: it gets its defaults, or one line says what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jsonschema
from jsonschema.exceptions import ValidationError, best_match, by_relevance

from lowrank.base.errors import LowrankError, suggestion

LONGEST_MESSAGE = 200
"""Characters of a message of the schema's."""

KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}
"""What the schema's types are called in messages."""

# A misspelled key is both unknown and missing: the first says what to do.
RELEVANCE = by_relevance(strong=frozenset({"additionalProperties"}))


def _is_whole(_: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(_: Any, value: Any) -> bool:
    return _is_whole(_, value) or (isinstance(value, float) and math.isfinite(value))


_DRAFT = jsonschema.Draft202012Validator
VALIDATOR = jsonschema.validators.extend(
    _DRAFT,
    type_checker=_DRAFT.TYPE_CHECKER.redefine_many({"integer": _is_whole, "number": _is_finite}),
)
"""What checks: `5.0` is no whole number here, since names and counts would have the point; and
YAML's `.nan` and `.inf`, which JSON has not, are no numbers."""


def checked(schema: Mapping[str, Any], value: Any, where: str) -> dict[str, Any]:
    """Return a value with the schema's defaults for the keys that it lacks, at every depth.

    Parameters
    ----------
    schema
        The JSON schema of the whole file.
    value
        What to check.
    where
        The file that it is from, for messages.

    Raises
    ------
    LowrankError
        If it does not fit; of several mistakes the message names the one that says most.
    """
    value = with_text_keys(value)
    error = _most_telling(VALIDATOR(schema).iter_errors(value))
    if error is not None:
        raise LowrankError(_explain(error, where))
    return filled_in(schema, value)


def with_text_keys(value: Any) -> Any:
    """Return a value whose keys are text, at every depth: Snakemake reads `9:` as a number."""
    if isinstance(value, Mapping):
        return {_as_text(key): with_text_keys(own) for key, own in value.items()}
    return [with_text_keys(own) for own in value] if isinstance(value, list) else value


def _as_text(key: Any) -> str:
    if key is None or isinstance(key, bool):
        return json.dumps(key)
    return str(key)


def filled_in(schema: Mapping[str, Any], value: Any) -> Any:
    """Return a value with the defaults of the keys that its objects lack.

    Where null or an object may stand, null is the object of all defaults.
    """
    if value is None and "object" in schema.get("type", ()):
        value = {}
    if not isinstance(value, Mapping):
        return value
    parts = schema.get("properties", {})
    others = schema.get("additionalProperties")
    defaults = {key: part["default"] for key, part in parts.items() if "default" in part}
    return {
        key: filled_in(parts.get(key, others if isinstance(others, Mapping) else {}), own)
        for key, own in {**defaults, **value}.items()
    }


def _most_telling(errors: Iterable[ValidationError]) -> ValidationError | None:
    """Return the mistake that says most; in the form that is meant, where an object has several."""
    error = max(errors, key=RELEVANCE, default=None)
    if error is not None and _has_forms(error):
        forms = [form.get("required", []) for form in error.validator_value]
        shares = [sum(key in error.instance for key in keys) / max(len(keys), 1) for keys in forms]
        meant = shares.index(max(shares))
        of_it = [own for own in error.context or () if own.schema_path[0] == meant]
        if shares[meant] and of_it:
            return _most_telling(of_it)
    return best_match([error] if error and not _titles(error) else [], RELEVANCE) or error


def _has_forms(error: ValidationError) -> bool:
    return error.validator in ("oneOf", "anyOf") and isinstance(error.instance, Mapping)


def _titles(error: ValidationError) -> list[str]:
    """Return what the forms are called that an object has none of, where they have titles."""
    forms = error.validator_value if _has_forms(error) else []
    return [form["title"] for form in forms if "title" in form]


def _explain(error: ValidationError, where: str) -> str:
    place = ".".join(map(str, error.absolute_path))
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        known = list(error.schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in known)
        key = f"{place}.{unknown}" if place else str(unknown)
        return f"{where}: {key}: unknown key{suggestion(str(unknown), known)}"
    titles = "; ".join(_titles(error))
    message = " ".join(error.message.split())
    if titles:
        message = f"{error.instance} is none of these: {titles}"
    elif error.validator == "type":
        message = _of_another_kind(error.instance, error.validator_value)
    if len(message) > LONGEST_MESSAGE:
        message = message[:LONGEST_MESSAGE] + "…"
    return f"{where}: {place or 'top level'}: {message}"


def _of_another_kind(value: Any, expected: str | list[str]) -> str:
    kinds = [expected] if isinstance(expected, str) else expected
    message = f"{value!r} is not {' or '.join(KINDS[kind] for kind in kinds)}"
    is_alone = "array" in kinds and isinstance(value, str)
    return f"{message}: write [{value}]" if is_alone else message
