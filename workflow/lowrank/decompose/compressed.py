"""Compressed models: a small file of factors and a manifest, put together from layer factors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowrank.base.files import atomic_path, read_json, sha256_file, write_json
from lowrank.base.provenance import provenance
from lowrank.base.tensor_file import write_tensors
from lowrank.decompose.channels import kept_parts, kept_places, read_importance
from lowrank.decompose.compressed_format import FACTORS, FORMAT, MANIFEST
from lowrank.decompose.forms import stored
from lowrank.decompose.layer_factors import Cut, LayerFactors
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from lowrank.space.methods import CHANNELS, METHODS
from lowrank.space.rank_rule import ChannelShare

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kept = tuple[int, str, "NDArray", float]
"""A layer, a group of its tensors, the parts of it that are kept, and the share of all that matters
that is not."""


def compress(
    architecture: Architecture,
    model: str,
    base_manifest: str | Path,
    decomposition: Decomposition,
    layer_files: Mapping[int, str | Path],
    output: str | Path,
) -> None:
    """Write the compressed model of one configuration, by cutting stored factors.

    Parameters
    ----------
    architecture, model, base_manifest, decomposition, output
        As `write_compressed` takes them.
    layer_files
        From layer number to the file of `factorize_layer`.
    """
    cuts: Iterable[Cut] = ()
    channels: Iterable[Kept] = ()
    if decomposition.form == CHANNELS:
        channels = _stored_channels(architecture, decomposition, layer_files)
    elif not decomposition.is_dense and METHODS[decomposition.method].scope == "tensor":
        cuts = _stored_cuts(architecture, decomposition, layer_files)
    write_compressed(
        architecture, model, base_manifest, decomposition, output, cuts=cuts, channels=channels
    )


def write_compressed(
    architecture: Architecture,
    model: str,
    base_manifest: str | Path,
    decomposition: Decomposition,
    output: str | Path,
    cuts: Iterable[Cut] = (),
    channels: Iterable[Kept] = (),
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
    output
        The directory to write.
    cuts
        The factors of its tensors, such as `lowrank.decompose.sequential.sequential_cuts` yields.
    channels
        For a method of channels: of each layer and group of tensors the parts that are kept.
    """
    arrays: dict[str, NDArray] = {}
    modules: dict[str, dict[str, Any]] = {}
    for layer, group, kept_K, error in channels:
        for tensor, axis, kept in kept_places(architecture, group, kept_K):
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


def _stored_cuts(
    architecture: Architecture,
    decomposition: Decomposition,
    layer_files: Mapping[int, str | Path],
) -> Iterator[Cut]:
    """Yield the factors of a configuration, cut from stored ones."""
    method = METHODS[decomposition.method].factors_of or decomposition.method
    for layer in decomposition.layers:
        factors = LayerFactors(layer_files[layer], method, layer)
        for tensor in decomposition.tensors:
            rank = decomposition.rank.rank_of(architecture, layer, tensor)
            yield factors.cut(tensor, rank)


def _stored_channels(
    architecture: Architecture,
    decomposition: Decomposition,
    layer_files: Mapping[int, str | Path],
) -> Iterator[Kept]:
    """Yield the parts that a configuration keeps, by how much they were found to matter."""
    rule = decomposition.rank
    assert isinstance(rule, ChannelShare)  # a method of channels has no other
    groups = dict.fromkeys(architecture.group(tensor) for tensor in decomposition.tensors)
    for layer in decomposition.layers:
        for group in groups:
            importance_P = read_importance(layer_files[layer], decomposition.method, layer, group)
            kept = kept_parts(importance_P, rule.kept(architecture, group))
            total = float(importance_P.sum())
            error = 1 - float(importance_P[kept].sum()) / total if total else 0.0
            yield layer, group, kept, error
