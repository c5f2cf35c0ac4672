"""Table 4.2: decomposed layers and the parameter reduction that they bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lowrank.base.errors import LowrankError
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.tables.meta_device import parameter_counts
from lowrank.tables.typesetting import Table

HEADER = ("Label", "Thesis (%)", "Computed (%)", "Difference (%p)", "Layers", "Decomposed layers")


def table(
    label: str,
    subtitle: str,
    architecture: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    carried_over: bool,
) -> Table:
    """Compute the parameter reductions from the architecture alone.

    Parameters are counted on the meta device, module by module, without weights; the closed
    form that the rest of the workflow uses must agree.

    Parameters
    ----------
    label
        The model's name.
    subtitle
        Method, rank and tensors.
    architecture
        Its Hugging Face configuration.
    rows
        `label`, `name` and `modules` (of the decomposition) and `thesis_reduction` of each row.
    carried_over
        Whether the layer lists were carried over from a model of another depth; then the
        thesis's figures are no reference and no difference is printed.

    Raises
    ------
    LowrankError
        If the two counts differ.
    """
    shapes = Architecture.from_config(architecture)
    counts = parameter_counts(architecture)
    cells = []
    for row in rows:
        decomposition = Decomposition.from_name(shapes, row["name"], row["modules"])
        removed = _removed_on_meta_device(decomposition, shapes, counts)
        if removed != decomposition.removed_parameters(shapes) or (
            counts[""] != shapes.parameters()
        ):
            raise LowrankError(f"{label}: the closed form and the meta device count differently")
        reduction = 100.0 * removed / counts[""]
        thesis = row["thesis_reduction"]
        cells.append(
            (
                row["label"],
                "" if thesis is None else f"{thesis:g}",
                f"{reduction:.2f}",
                "" if thesis is None or carried_over else f"{reduction - thesis:+.2f}",
                str(len(decomposition.layers)),
                ", ".join(map(str, decomposition.layers)),
            )
        )
    notes = [
        f"{label}: {shapes.parameters():,} parameters, {shapes.layers} layers of "
        f"{shapes.layer_parameters():,}; {subtitle}."
    ]
    if carried_over:
        notes.append("The thesis's layer lists for 32 layers, carried over by relative depth.")
    return Table(
        f"Table 4.2, {label}",
        HEADER,
        cells,
        ("left", "right", "right", "right", "right", "wide"),
        notes,
    )


def _removed_on_meta_device(
    decomposition: Decomposition, architecture: Architecture, counts: Mapping[str, int]
) -> int:
    return sum(
        counts[f"{architecture.module_path(layer, tensor)}.weight"]
        - decomposition.stored_parameters(architecture, layer, tensor)
        for layer in decomposition.layers
        for tensor in decomposition.tensors
    )
