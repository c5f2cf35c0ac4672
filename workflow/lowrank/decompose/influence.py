"""Layers by their block influence: which of them a model misses least."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lowrank.base.files import read_json, write_text
from lowrank.base.provenance import provenance
from lowrank.decompose.moments import moments_file, read_influence

DECIMALS = 6

_HEAD = """\
# Block influence: 1 - the mean cosine of what goes into a layer and what comes out of it, before
# the last norm (ShortGPT, arXiv 2403.03853). The least influential layer stands first. Written by
# `snakemake results/models/{model}/influence/{calibration}.yaml`.
"""


def write_influence(
    moments: str | Path,
    layers: int,
    model: str,
    calibration: str,
    base_manifest: str | Path,
    output: str | Path,
) -> None:
    """Write the block influence of a model's layers as a file of `config/influence/`.

    All layers are measured in the dense model, so the least are to be left out at once, as ShortGPT
    does.

    Parameters
    ----------
    moments
        The folder of `lowrank.decompose.walk.gather_moments`.
    layers
        The number of the model's layers.
    model, calibration
        The names of the model and of the calibration set.
    base_manifest
        The manifest of the model directory, for the record.
    output
        The file to write.

    Raises
    ------
    LowrankError
        If the moments of a layer are missing or damaged.
    """
    found = {
        layer: round(read_influence(Path(moments, moments_file(layer)), layer), DECIMALS)
        for layer in range(1, layers + 1)
    }
    least_first = sorted(found, key=lambda layer: (found[layer], layer))
    base = read_json(base_manifest)
    content: dict[str, Any] = {
        "calibration": calibration,
        "influence": {layer: found[layer] for layer in least_first},
        "provenance": provenance(model_source=base["source"], base=base["files"]),
    }
    head = _HEAD.format(model=model, calibration=calibration)
    write_text(output, head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
