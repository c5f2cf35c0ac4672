"""Compressed models: a small file of factors and a manifest, put together from layer factors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowrank.base.files import atomic_path, read_json, sha256_file, write_json
from lowrank.base.provenance import provenance
from lowrank.base.tensor_file import write_tensors
from lowrank.decompose.channels import channel_axes, kept_channels, read_importance
from lowrank.decompose.compressed_format import FACTORS, FORMAT, MANIFEST
from lowrank.decompose.forms import stored
from lowrank.decompose.layer_factors import Cut, LayerFactors
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.methods import METHODS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def stored_cuts(
    architecture: Architecture,
    decomposition: Decomposition,
    layer_files: Mapping[int, str | Path],
) -> Iterator[Cut]:
    """Yield the factors of a configuration, cut from stored ones.

    Parameters
    ----------
    architecture
        The model's architecture.
    decomposition
        The configuration.
    layer_files
        From layer number to the factor file of `factorize_layer`.
    """
    if decomposition.is_dense or METHODS[decomposition.method].scope != "tensor":
        return
    for layer in decomposition.layers:
        factors = LayerFactors(layer_files[layer], decomposition.method, layer)
        for tensor in decomposition.tensors:
            rank = decomposition.rank.rank_of(architecture, layer, tensor)
            yield factors.cut(tensor, rank)


def stored_channels(
    architecture: Architecture,
    decomposition: Decomposition,
    layer_files: Mapping[int, str | Path],
) -> Iterator[tuple[int, NDArray, float]]:
    """Yield of each layer the channels that a configuration keeps, and what it leaves out.

    What it leaves out is a share of all that matters. The parameters are those of `stored_cuts`.
    """
    for layer in decomposition.layers:
        importance_C = read_importance(layer_files[layer], decomposition.method, layer)
        count = decomposition.rank.rank_of(architecture, layer, decomposition.tensors[0])
        kept = kept_channels(importance_C, count)
        total = float(importance_C.sum())
        yield layer, kept, 1 - float(importance_C[kept].sum()) / total if total else 0.0


def compress(
    architecture: Architecture,
    model: str,
    base_manifest: str | Path,
    decomposition: Decomposition,
    cuts: Iterable[Cut],
    output: str | Path,
    channels: Iterable[tuple[int, NDArray, float]] = (),
) -> None:
    """Write the compressed model of one configuration.

    The directory `output` gets `factors.safetensors`, with what `lowrank.decompose.forms.stored`
    returns, as `{module}.{array}`, for every decomposed module, and `manifest.json`, which says
    what they are. It holds neither a configuration nor the remaining weights, so no other loader
    can take it for a model.

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
    cuts
        The factors of its tensors: `stored_cuts`, or what
        `lowrank.decompose.sequential.sequential_cuts` yields.
    output
        The directory to write.
    channels
        For a method of channels, what `stored_channels` yields.
    """
    arrays: dict[str, NDArray] = {}
    modules: dict[str, dict[str, Any]] = {}
    for layer, kept, error in channels:
        for tensor, axis in channel_axes(decomposition.tensors):
            path = architecture.module_path(layer, tensor)
            arrays[f"{path}.kept"] = kept
            modules[path] = {
                "layer": layer,
                "tensor": tensor,
                "shape": list(architecture.shape(tensor)),
                "rank": len(kept),
                "relative_error": error,
                "axis": axis,
            }
    for cut in cuts:
        path = architecture.module_path(cut.layer, cut.tensor)
        made = stored(cut, decomposition.form, METHODS[decomposition.method].has_core)
        arrays |= {f"{path}.{name}": array for name, array in made.items()}
        modules[path] = {
            "layer": cut.layer,
            "tensor": cut.tensor,
            "shape": list(architecture.shape(cut.tensor)),
            "rank": len(cut.scales_R),
            "relative_error": cut.error,
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
                "calibration": decomposition.calibration,
                "form": decomposition.form,
            },
            "parameters": {"dense": total, "compressed": total - removed},
            "parameter_reduction_percent": decomposition.parameter_reduction(architecture),
            "modules": modules,
            "factors_sha256": sha256_file(directory / FACTORS),
            "base": base["files"],
            "provenance": provenance(model_source=base["source"]),
        }
        write_json(directory / MANIFEST, manifest)
