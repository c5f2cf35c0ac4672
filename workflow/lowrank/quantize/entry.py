"""What a file of `config/quantizations/` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lowrank.base.errors import LowrankError

SPQR_LIKE = "spqr_like"
KEYS = {
    "int8": ("block",),
    "nf4": ("block", "nested"),
    "fp4": ("block", "nested"),
    SPQR_LIKE: ("bits", "group", "statistics_bits", "statistics_group", "outlier_threshold"),
}
"""From a method to the settings that it needs, and no others."""

FAKE = (SPQR_LIKE,)
"""Methods whose weights stay floating-point numbers in memory: their bytes are counted."""

LINEAR, HEAD, EMBEDDINGS = "linear", "head", "embeddings"
PARTS = (LINEAR, HEAD, EMBEDDINGS)


@dataclass(frozen=True)
class Quantization:
    """How weights become fewer bits.

    Attributes
    ----------
    method
        `int8`, `nf4`, `fp4` or `spqr_like`.
    parts
        Of `PARTS`: `linear` are the linear layers of the decoder or encoder.
    block
        Numbers that share a scale; of the methods that are the library's.
    nested
        Whether scales are quantized to 8 bits, in blocks of 256 (QLoRA, arXiv 2305.14314).
    bits
        Of a weight; 0 where the method says it.
    group, statistics_bits, statistics_group, outlier_threshold
        Of `spqr_like`; `lowrank.quantize.spqr` explains them.
    """

    method: str
    parts: tuple[str, ...] = (LINEAR,)
    block: int = 0
    nested: bool = False
    bits: int = 0
    group: int = 0
    statistics_bits: int = 0
    statistics_group: int = 0
    outlier_threshold: float = 0.0

    @property
    def is_fake(self) -> bool:
        """Whether memory and speed are those of floating-point weights."""
        return self.method in FAKE

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any], where: str = "quantization") -> Quantization:
        """Return what an entry says that fits `config/schemas/quantization.schema.yaml`.

        Raises
        ------
        LowrankError
            If its settings are not those of its method, or it does not say that it is fake.
        """
        method = entry["method"]
        wanted = KEYS[method]
        known = {key for keys in KEYS.values() for key in keys}
        for key in sorted(known & set(entry) - set(wanted)):
            raise LowrankError(
                f"{where}: {key}: {method} has no such setting; its own: {', '.join(wanted)}"
            )
        for key in wanted:
            if key not in entry:
                raise LowrankError(f"{where}: {method} needs {key}: give it a value")
        if bool(entry.get("fake", False)) != (method in FAKE):
            said = "true" if method in FAKE else "false"
            raise LowrankError(f"{where}: fake: {method} has fake: {said}; write that")
        parts = tuple(entry.get("parts", (LINEAR,)))
        return cls(method, parts, **{key: entry[key] for key in wanted})
