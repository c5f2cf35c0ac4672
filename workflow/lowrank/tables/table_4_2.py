"""Table 4.2: decomposed layers and the parameter reduction that they bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.methods import METHODS
from lowrank.tables.meta_device import parameter_counts
from lowrank.tables.typesetting import render_table

HEADER = ("Label", "Thesis (%)", "Computed (%)", "Difference (%p)", "Layers", "Decomposed layers")


def render(
    model_label: str,
    subtitle: str,
    config: Mapping[str, Any],
    configurations: Sequence[Mapping[str, Any]],
    carried_over: bool,
    csv: str | Path,
    pdf: str | Path,
    png: str | Path,
    tex: str | Path,
) -> None:
    """Compute the parameter reductions from the architecture alone and write the table.

    Parameters are counted on the meta device, module by module, without weights; the closed
    form that the rest of the workflow uses must agree.

    Parameters
    ----------
    model_label
        The model's name.
    subtitle
        Method, rank and tensors.
    config
        Its Hugging Face configuration.
    configurations
        `label`, `name` and `modules` (of the decomposition) and `thesis_reduction` of each row.
    carried_over
        Whether the layer lists were carried over from a model of another depth; then the
        thesis's figures are no reference and no difference is printed.
    csv, pdf, png, tex
        The files to write.

    Raises
    ------
    LowrankError
        If the two counts differ.
    """
    architecture = Architecture.from_config(config)
    counts = parameter_counts(config)
    rows = []
    for configuration in configurations:
        decomposition = Decomposition.from_name(
            architecture, configuration["name"], configuration["modules"]
        )
        removed = _removed_on_meta_device(decomposition, architecture, counts)
        if removed != decomposition.removed_parameters(architecture) or (
            counts[""] != architecture.parameters()
        ):
            raise LowrankError(
                f"{model_label}: the closed form and the meta device count differently"
            )
        reduction = 100.0 * removed / counts[""]
        thesis = configuration["thesis_reduction"]
        rows.append(
            (
                configuration["label"],
                "" if thesis is None else f"{thesis:g}",
                f"{reduction:.2f}",
                "" if thesis is None or carried_over else f"{reduction - thesis:+.2f}",
                str(len(decomposition.layers)),
                ", ".join(map(str, decomposition.layers)),
            )
        )
    notes = [
        f"{model_label}: {architecture.parameters():,} parameters, {architecture.layers} layers of "
        f"{architecture.layer_parameters():,}; {subtitle}."
    ]
    if carried_over:
        notes.append("The thesis's layer lists for 32 layers, carried over by relative depth.")
    render_table(
        f"Table 4.2, {model_label}",
        HEADER,
        rows,
        ("left", "right", "right", "right", "right", "wide"),
        notes,
        csv,
        pdf,
        png,
        tex,
    )


def _removed_on_meta_device(
    decomposition: Decomposition, architecture: Architecture, counts: Mapping[str, int]
) -> int:
    method = METHODS[decomposition.method]
    return sum(
        counts[f"{architecture.module_path(layer, tensor)}.weight"]
        - method.parameters(
            *architecture.shape(tensor), decomposition.rank.rank_of(architecture, layer, tensor)
        )
        for layer in decomposition.layers
        for tensor in decomposition.tensors
    )
