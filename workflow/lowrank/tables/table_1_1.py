"""Table 1.1: model size, computations, and the ratio between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowrank.base.thesis import quantity, read_thesis
from lowrank.tables.macs import Cost, count
from lowrank.tables.typesetting import Table, difference_percent, mathematics

BATCH = 1
SEQUENCE = 128

COLUMNS = ("Thesis", "Computed", "Difference")
DATA_HEADER = (
    "model",
    "parameters",
    "size_bytes_fp16",
    "thesis_size_bytes",
    "macs",
    "thesis_macs",
    "macs_per_byte",
    "thesis_macs_per_byte",
)
MARKS: Mapping[tuple[str, str], str] = {
    ("resnet-50", "macs"): "*",
    ("resnet-50", "ratio"): "*",
    ("llama-2-7b", "size"): "†",
}
"""Marks of the thesis's values that a note explains."""


def table(models: Sequence[Mapping[str, Any]], thesis: str | Path) -> Table:
    """Count every model from its configuration; the CSV holds exact counts.

    Parameters
    ----------
    models
        `name`, `label` and `architecture` (a Hugging Face configuration) of each row.
    thesis
        The file that holds what the thesis prints.

    Raises
    ------
    LowrankError
        If a configuration is wrong or a model cannot be counted exactly.
    """
    printed = read_thesis(thesis, "table_1_1")
    costs = {model["name"]: count(model["architecture"], BATCH, SEQUENCE) for model in models}
    rows, data = [], [DATA_HEADER]
    for model in models:
        name, cost = model["name"], costs[model["name"]]
        values = {"size": cost.fp16_bytes, "macs": cost.macs, "ratio": cost.macs_per_byte}
        texts = {
            "size": _size(cost.fp16_bytes),
            "macs": f"{cost.macs / 1e9:,.2f} B",
            "ratio": f"{cost.macs_per_byte:.1f}",
        }
        reference = printed.get(name, {})
        row = [model["label"], f"{cost.parameters:,}"]
        for column, value in values.items():
            theirs = reference.get(column)
            row += [
                "–" if theirs is None else f"{theirs}{MARKS.get((name, column), '')}",
                texts[column],
                "–" if theirs is None else difference_percent(value, quantity(theirs)),
            ]
        rows.append(row)
        exact = [f"{quantity(reference[key]):.12g}" if key in reference else "" for key in values]
        data.append(
            (
                name,
                str(cost.parameters),
                str(cost.fp16_bytes),
                exact[0],
                str(cost.macs),
                exact[1],
                f"{cost.macs_per_byte:.6g}",
                exact[2],
            )
        )
    return Table(
        "Table 1.1",
        ("Model", "Parameters", *COLUMNS * 3),
        rows,
        ("left", *["right"] * 10),
        _notes(costs, printed, read_thesis(thesis, "section_1")),
        note_width="66em",
        groups=[("", 2), ("Model size (FP16)", 3), ("MACs", 3), ("MACs per byte of model", 3)],
        data=data,
    )


def _size(size: int) -> str:
    unit, factor = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6)
    return f"{size / factor:.2f} {unit}"


def _notes(
    costs: Mapping[str, Cost],
    printed: Mapping[str, Mapping[str, Any]],
    section_1: Mapping[str, float],
) -> list[str]:
    notes = [
        mathematics(
            f"Batch {BATCH}; {SEQUENCE} tokens (BERT: encoder and pooler; Llama: with its LM head) "
            "or one image of 224 × 224 pixels. Size: two bytes a parameter; MB and GB are $10^6$ "
            "and $10^9$ bytes, as in the thesis."
        ),
        "MACs: products of linear layers, convolutions and attention (scores and values, over all "
        "pairs of positions), equal to half the FLOPs that PyTorch's own counter finds. "
        "Differences are relative to the thesis's value.",
    ]
    resnet, llama = costs.get("resnet-50"), costs.get("llama-2-7b")
    if resnet:
        notes.append(
            f"* FLOPs, not MACs: two for each MAC make {2 * resnet.macs / 1e9:.2f} B, and batch "
            "normalization (two an element) and ReLU (one) bring them to 8.21 B. The language "
            "models' values are MACs."
        )
    if resnet and llama:
        gap = resnet.macs_per_byte / llama.macs_per_byte
        theirs = printed["resnet-50"]["ratio"] / printed["llama-2-7b"]["ratio"]
        notes += [
            f"In MACs throughout, the ratio of ResNet50 is {gap:.2f} times that of Llama-2-7B, "
            f"not {theirs:.2f} times.",
            f"† {llama.fp16_bytes / 1e9:.3f} GB, cut off rather than rounded. Section 1 gives "
            f"Llama-2-7B {section_1['llama_to_resnet_parameters']} times the parameters of "
            f"ResNet50; it has {llama.parameters / resnet.parameters:.1f} times as many.",
        ]
    return notes
