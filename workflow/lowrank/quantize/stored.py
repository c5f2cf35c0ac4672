"""Quantized models as files: codes, scales and a manifest, and the one loader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path, read_json, sha256_file, write_json
from lowrank.base.provenance import provenance
from lowrank.base.tensor_file import write_tensors
from lowrank.decompose.compressed_format import FACTORS, MANIFEST
from lowrank.decompose.loading import (
    DTYPES,
    load_compressed,
    load_compressed_beside,
    read_factors,
    read_manifest,
)
from lowrank.quantize.entry import Quantization
from lowrank.quantize.inputs import Inputs
from lowrank.quantize.places import places
from lowrank.quantize.quantizing import MARK, install, quantize
from lowrank.quantize.sizes import weight_bytes

FORMAT = "lowrank-quantized-1"
TENSORS = FACTORS
"""The file of codes and scales: that of a compressed model, since a quantized one is one, too."""


def quantize_compressed(
    base: str | Path,
    compressed: str | Path,
    name: str,
    entry: Mapping[str, Any],
    output: str | Path,
    dtype: str,
    device: str = "cpu",
) -> None:
    """Write a compressed model in few bits.

    Parameters
    ----------
    base, compressed
        Directories of the base model and of the compressed one.
    name, entry
        A file of `config/quantizations/`, without its ending, and what it says.
    output
        The directory to write. It lies beside `compressed`, which it needs.
    dtype, device
        What the model computes in, and where it is quantized.

    Raises
    ------
    LowrankError
        If the model cannot be read or quantized.
    """
    model, manifest = load_compressed(base, compressed, dtype, device)
    write_quantized(model, manifest, name, entry, output)


def load_model(
    base: str | Path, compressed: str | Path, dtype: str, device: str = "cpu"
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Load a compressed model, whether it is quantized or not.

    Parameters
    ----------
    base, compressed, dtype, device
        As for `lowrank.decompose.loading.load_compressed`.

    Raises
    ------
    LowrankError
        As `load_compressed` and `load_quantized` do.
    """
    below = _below(compressed)
    if below is None:
        return load_compressed(base, compressed, dtype, device)
    return load_quantized(base, below, compressed, dtype, device)


def load_model_beside(
    dense: PreTrainedModel, compressed: str | Path, dtype: str
) -> PreTrainedModel:
    """Load a compressed model, quantized or not, that shares a loaded dense one's weights.

    Parameters
    ----------
    dense, compressed, dtype
        As for `lowrank.decompose.loading.load_compressed_beside`.

    Raises
    ------
    LowrankError
        As `load_compressed` and `load_quantized` do.
    """
    below = _below(compressed)
    if below is None:
        return load_compressed_beside(dense, compressed, dtype)
    model = load_compressed_beside(dense, below, dtype)
    _install_stored(model, read_manifest(below), Path(compressed), dtype)
    return model.to(dense.device).eval()


def _below(compressed: str | Path) -> Path | None:
    """Return the compressed model that a quantized one lies on; None if it is not quantized."""
    manifest = read_json(Path(compressed) / MANIFEST)
    if manifest.get("format") != FORMAT:
        return None
    return Path(compressed).parent / str(manifest["below"]["name"])


def write_quantized(
    model: PreTrainedModel,
    compressed: Mapping[str, Any],
    name: str,
    entry: Mapping[str, Any],
    output: str | Path,
    inputs: Inputs | None = None,
) -> dict[str, Any]:
    """Quantize a model in place, and write what `load_quantized` needs beside its sources.

    Parameters
    ----------
    model, compressed
        A model and its manifest, as `lowrank.decompose.loading.load_compressed` returns them.
    name, entry
        A file of `config/quantizations/`, without its ending, and what it says.
    output
        The directory to write: `factors.safetensors` and `manifest.json`. The rest of the model
        stays in the base and compressed directories.
    inputs
        As for `lowrank.quantize.quantizing.quantize`.

    Returns
    -------
    The manifest. Its `bytes` are explained at `bytes_of_model`.

    Raises
    ------
    LowrankError
        As `lowrank.quantize.quantizing.quantize` does.
    """
    dtype = next(key for key, value in DTYPES.items() if value == model.dtype)
    arrays: dict[str, Tensor] = {}
    made = quantize(model, entry, arrays, inputs)
    made["facts"].pop("seconds")  # equal models make equal files
    with atomic_path(output) as directory:
        directory.mkdir()
        write_tensors(
            directory / TENSORS,
            {key: array.cpu().numpy() for key, array in arrays.items()},
            {"format": FORMAT},
        )
        own = compressed["decomposition"]
        manifest = {
            **compressed,
            "format": FORMAT,
            "decomposition": {
                **own,
                "name": f"{own['name']}+{name}",
                "after": [*own.get("after", []), name],
            },
            "below": {"name": own["name"], "factors_sha256": compressed["factors_sha256"]},
            "quantization": {"name": name, **entry},
            "dtype": dtype,
            "tensors": made["tensors"],
            "facts": made["facts"],
            "bytes": bytes_of_model(made["facts"], compressed["parameters"]["dense"], model)
            | {"file": (directory / TENSORS).stat().st_size},
            "factors_sha256": sha256_file(directory / TENSORS),
            "provenance": provenance(
                str(model.device), model_source=compressed["provenance"]["model_source"]
            ),
        }
        write_json(directory / MANIFEST, manifest)
    return manifest


def load_quantized(
    base: str | Path,
    compressed: str | Path,
    quantized: str | Path,
    dtype: str,
    device: str = "cpu",
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Load a quantized model over what it was made from; nothing is quantized anew.

    It is the model of the manifest or an error: codes must be those that the manifest was written
    for, on top of the factors that they replace, one for each tensor, and nothing left over.

    Parameters
    ----------
    base, compressed
        As for `lowrank.decompose.loading.load_compressed`.
    quantized
        A directory that `write_quantized` wrote.
    dtype
        The number type that weights have when they are used, and of what is not quantized.
    device
        Where to put the model.

    Returns
    -------
    The model in evaluation mode, and the manifest.

    Raises
    ------
    LowrankError
        If anything of the above does not hold.
    """
    model, below = load_compressed(base, compressed, dtype)
    manifest = _install_stored(model, below, Path(quantized), dtype)
    return model.to(device).eval(), manifest


def _install_stored(
    model: PreTrainedModel, below: Mapping[str, Any], quantized: Path, dtype: str
) -> dict[str, Any]:
    """Put stored codes in the place of a compressed model's weights; return their manifest."""
    manifest = read_manifest(quantized, FORMAT)
    if below["factors_sha256"] != manifest["below"]["factors_sha256"]:
        raise LowrankError(
            f"{quantized} was made of other factors than those below it: "
            f"delete {quantized} and run again"
        )
    arrays = read_factors(quantized, manifest)
    how = Quantization.from_entry(manifest["quantization"], str(quantized / MANIFEST))
    found = {place.name: place for place in places(model, how.parts)}
    if set(found) != set(manifest["tensors"]):
        odd = sorted(set(found) ^ set(manifest["tensors"]))[0]
        raise LowrankError(f"{odd} is in the model or in {quantized / MANIFEST}, not in both")
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in found}
    for key, array in arrays.items():
        name, _, part = key.rpartition(".")
        if name not in parts:
            raise LowrankError(f"{quantized / TENSORS} holds {key}, which the manifest lacks")
        parts[name][part] = array
    for name, place in found.items():
        if list(place.tensor.shape) != manifest["tensors"][name]["shape"] or not parts[name]:
            raise LowrankError(f"{name} in {quantized} is not that of the model: run again")
        install(place, parts[name], how, DTYPES[dtype])
    setattr(model, MARK, True)
    return manifest


def bytes_of_model(facts: Mapping[str, Any], dense: int, model: PreTrainedModel) -> dict[str, Any]:
    """Return what a quantized model takes, by count.

    Parameters
    ----------
    facts
        Of `lowrank.quantize.quantizing.quantize`.
    dense
        Parameters of the model before its compression; tied ones count once.
    model
        It, quantized.

    Returns
    -------
    `quantized`: codes, scales, zeros and outliers. From `16` and `32`, the bits of a number that is
    not quantized, to bytes: `model`, all of it; `unquantized`, the same before it was quantized;
    and `dense`. `memory`: parameters and buffers as they are in this process; where a quantization
    is fake, that is no less than before.
    """
    quantized, rest = facts["bytes"], facts["rest_numbers"]
    sizes = {"model": rest, "unquantized": facts["numbers"] + rest, "dense": dense}
    made = {key: {str(bits): n * bits // 8 for bits in (16, 32)} for key, n in sizes.items()}
    made["model"] = {bits: quantized + size for bits, size in made["model"].items()}
    return {"quantized": quantized, **made, "memory": weight_bytes(model)}
