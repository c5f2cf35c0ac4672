"""What models take in bytes and in time: compressed ones, and those of fewer bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lowrank.base.csv_table import read_table
from lowrank.base.files import read_json
from lowrank.base.names import row_name
from lowrank.tables.typesetting import Table

HEADER = (
    *("Configuration", "Stored as", "Bits a weight", "Error of weights"),
    *("Size (MB)", "Of the dense model", "In memory (MB)"),
)

MEGABYTE = 1e6

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}

MISSING = "–"


def table(
    label: str,
    subtitle: str,
    rows: Sequence[dict[str, Any]],
    manifests: Sequence[str],
    dtype: str,
    profiles: Sequence[str] = (),
) -> Table:
    """Return the bytes of a study's configurations, from their manifests, and their latency.

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
    profiles
        The table of `lowrank.analyse.efficiency.collect_profiles`, where the study is measured.

    Raises
    ------
    LowrankError
        If a manifest cannot be read.
    """
    measured = _Measured.read(profiles[0]) if profiles else _Measured()
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
        named = row_name(row["series"], row["label"])
        share = f"{100 * size / dense:.1f}%"
        size_text, memory_text = (f"{number / MEGABYTE:,.1f}" for number in (size, memory))
        own = (named, stored, bits, error, size_text, share, memory_text)
        cells.append((*own, *measured.cells(manifest["decomposition"]["name"])))
    notes = [
        f"{label}: {subtitle}.",
        "Size: codes, scales, zeros and outliers as stored; all other parameters have 16 bits.",
        f"In memory: parameters and buffers of a process that computes in {dtype}. Where a "
        "quantization is fake, they are floating-point numbers.",
        "Error of weights: the norm of their change over theirs, of those that are quantized.",
        *measured.notes(),
    ]
    header = (*HEADER, *measured.header())
    kinds = ("left", "left", *["right"] * (len(header) - 2))
    width = "60em" if profiles else "36em"
    return Table(f"Sizes, {label}", header, cells, kinds, notes, width)


@dataclass(frozen=True)
class _Measured:
    """What was measured of a study: its rows of latency and of memory, by workload."""

    latency: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    memory: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    device: str = ""

    @classmethod
    def read(cls, path: str | Path) -> _Measured:
        """Read the table of a study's measurements."""
        table = read_table(path)
        parts = (
            {
                name: part.set_index("decomposition")
                for name, part in table[table["metric"] == metric].groupby("workload", sort=False)
            }
            for metric in ("latency", "memory")
        )
        return cls(*parts, " and ".join(dict.fromkeys(table["device"])))

    def header(self) -> list[str]:
        """Return the names of the columns."""
        columns = [f"{part}, {name}" for name in self.latency for part in ("ms", "of dense")]
        return columns + [f"With cache (MB), {name}" for name in self.memory]

    def cells(self, decomposition: str) -> list[str]:
        """Return what a configuration has in them."""
        made = []
        for part in self.latency.values():
            if decomposition not in part.index or pd.isna(part.loc[decomposition, "ratio"]):
                made += [MISSING, MISSING]
                continue
            row = part.loc[decomposition]
            ends = f"[{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]"
            made += [f"{1000 * row['value']:,.1f}", f"{row['ratio']:.2f} {ends}"]
        for part in self.memory.values():
            known = decomposition in part.index
            made.append(f"{part.loc[decomposition, 'value'] / MEGABYTE:,.1f}" if known else MISSING)
        return made

    def notes(self) -> list[str]:
        """Return what the columns are."""
        if not self.latency:
            return []
        return [
            f"Latency on {self.device}: the median of one iteration in milliseconds, and its ratio "
            "to the dense model's in the same rounds with its 95% interval. A quantized weight is "
            "computed from its codes at each use, in the number type of the computation.",
            "With cache: weights, keys and values, counted; on a GPU the allocator's peak. A fake "
            "quantization is not measured: it computes with floating-point numbers.",
        ]
