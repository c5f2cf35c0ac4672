"""Whether the sizes and switches of a Hugging Face configuration can be counted with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lowrank.base.errors import LowrankError

OPTIONAL_SIZES = ("num_key_value_heads", "head_dim", "max_position_embeddings")
"""Sizes that may be left out, or null: they follow from others."""

SWITCHES = ("tie_word_embeddings", "attention_bias", "mlp_bias", "add_pooling_layer")
"""Keys that are true or false, and that change what is counted."""

MOST = {"num_hidden_layers": 10_000}
MOST_OF_OTHERS = 10**8
"""More than any model has. A mistyped size would take all the time and memory there is."""


def require_sizes(config: Mapping[str, Any], required: Sequence[str]) -> None:
    """Check that sizes are whole numbers that fit each other, and switches are on or off.

    Parameters
    ----------
    config
        A Hugging Face configuration.
    required
        The sizes that it must have.

    Raises
    ------
    LowrankError
        Naming the first key that is missing or wrong, and its value.
    """
    missing = [key for key in required if key not in config]
    if missing:
        raise LowrankError(f"the architecture lacks {', '.join(missing)}")
    for key in (*required, *OPTIONAL_SIZES):
        value = config.get(key)
        if value is None and key not in required:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise LowrankError(f"{key}: {value!r} is not a whole number of at least 1")
        if value > (most := MOST.get(key, MOST_OF_OTHERS)):
            raise LowrankError(f"{key}: no model has more than {most:,}")
    for key in SWITCHES:
        if not isinstance(config.get(key), bool | None):
            raise LowrankError(f"{key}: {config[key]!r} is neither true nor false")
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    if not config.get("head_dim") and hidden % heads:
        raise LowrankError(f"num_attention_heads: {heads} does not divide hidden_size, {hidden}")
    shared = config.get("num_key_value_heads") or heads
    if heads % shared:
        raise LowrankError(
            f"num_key_value_heads: {shared} does not divide num_attention_heads, {heads}"
        )
