"""What models take in bytes: compressed ones, and those of fewer bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lowrank.base.files import read_json
from lowrank.tables.typesetting import Table

HEADER = (
    *("Configuration", "Stored as", "Bits a weight", "Error of weights"),
    *("Size (MB)", "Of the dense model", "In memory (MB)"),
)

MEGABYTE = 1e6

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def table(
    label: str, subtitle: str, rows: Sequence[dict[str, Any]], manifests: Sequence[str], dtype: str
) -> Table:
    """Return the bytes of a study's configurations, from their manifests.

    Parameters
    ----------
    label, subtitle
        The model's name, and the study's title.
    rows
        Of each configuration its `series` and `label`.
    manifests
        The manifest of each.
    dtype
        The number type that models compute in.

    Raises
    ------
    LowrankError
        If a manifest cannot be read.
    """
    cells = []
    for row, path in zip(rows, manifests, strict=True):
        manifest = read_json(path)
        dense = 2 * manifest["parameters"]["dense"]
        facts = manifest.get("facts")
        if facts is None:
            size = 2 * manifest["parameters"]["compressed"]
            memory = size / 2 * DTYPE_BYTES[dtype]
            bits, error, stored = "16", "0", "16 bits"
        else:
            size, memory = manifest["bytes"]["model"]["16"], manifest["bytes"]["memory"]
            bits, error = f"{facts['bits_per_number']:.2f}", f"{facts['relative_error']:.3f}"
            stored = manifest["quantization"]["name"] + (" (fake)" if facts["fake"] else "")
        named = ", ".join(filter(None, (row["series"], row["label"])))
        share = f"{100 * size / dense:.1f}%"
        megabytes = (f"{number / MEGABYTE:,.1f}" for number in (size, memory))
        size_text, memory_text = megabytes
        cells.append((named, stored, bits, error, size_text, share, memory_text))
    notes = [
        f"{label}: {subtitle}.",
        "Size: codes, scales, zeros and outliers as stored; all other parameters have 16 bits.",
        f"In memory: parameters and buffers of a process that computes in {dtype}. Where a "
        "quantization is fake, they are floating-point numbers.",
        "Error of weights: the norm of their change over theirs, of those that are quantized.",
    ]
    kinds = ("left", "left", "right", "right", "right", "right", "right")
    return Table(f"Sizes, {label}", HEADER, cells, kinds, notes)
