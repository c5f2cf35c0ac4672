"""Compressed models: a small file of factors and a manifest, put together from layer factors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowrank.base.files import atomic_path, read_json, sha256_file, write_json
from lowrank.base.provenance import provenance
from lowrank.base.tensor_file import write_tensors
from lowrank.decompose.compressed_format import FACTORS, FORMAT, MANIFEST
from lowrank.decompose.layer_factors import LayerFactors
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.methods import METHODS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def compress(
    architecture: Architecture,
    model: str,
    base_manifest: str | Path,
    decomposition: Decomposition,
    layer_files: Mapping[int, str | Path],
    output: str | Path,
) -> None:
    """Write the compressed model of one configuration, by cutting stored factors.

    The directory `output` gets `factors.safetensors`, with `{module}.left` (out × rank),
    `{module}.core` (rank × rank, Tucker only) and `{module}.right` (rank × in) for every
    decomposed module, and `manifest.json`, which says what they are. It holds neither a
    configuration nor the remaining weights, so no other loader can take it for a model.

    Parameters
    ----------
    architecture
        The model's architecture.
    model
        The model's name.
    base_manifest
        The manifest of the model directory that the factors go on top of.
    decomposition
        The configuration.
    layer_files
        From layer number to the factor file of `factorize_layer`.
    output
        The directory to write.
    """
    arrays: dict[str, NDArray] = {}
    modules: dict[str, dict[str, Any]] = {}
    if not decomposition.is_dense and METHODS[decomposition.method].scope == "tensor":
        for layer in decomposition.layers:
            factors = LayerFactors(layer_files[layer], decomposition.method, layer)
            for tensor in decomposition.tensors:
                path = architecture.module_path(layer, tensor)
                rank = decomposition.rank.rank_of(architecture, layer, tensor)
                left, values, right, error = factors.cut(tensor, rank)
                if METHODS[decomposition.method].has_core:
                    arrays[f"{path}.core"] = np.diag(values)
                else:
                    left = left * values
                arrays[f"{path}.left"] = np.ascontiguousarray(left)
                arrays[f"{path}.right"] = np.ascontiguousarray(right)
                modules[path] = {
                    "layer": layer,
                    "tensor": tensor,
                    "shape": list(architecture.shape(tensor)),
                    "rank": rank,
                    "relative_error": error,
                }
    total, removed = architecture.parameters(), decomposition.removed_parameters(architecture)
    base = read_json(base_manifest)
    with atomic_path(output) as directory:
        directory.mkdir()
        write_tensors(directory / FACTORS, arrays, {"format": FORMAT})
        manifest = {
            "format": FORMAT,
            "model": model,
            "decomposition": {
                "name": decomposition.name(architecture),
                "method": decomposition.method,
                "rank": decomposition.rank.label,
                "layers": list(decomposition.layers),
                "tensors": list(decomposition.tensors),
            },
            "parameters": {"dense": total, "compressed": total - removed},
            "parameter_reduction_percent": decomposition.parameter_reduction(architecture),
            "modules": modules,
            "factors_sha256": sha256_file(directory / FACTORS),
            "base": base["files"],
            "provenance": provenance(model_source=base["source"]),
        }
        write_json(directory / MANIFEST, manifest)
