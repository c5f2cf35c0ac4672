"""The files of a low-rank checkpoint: their names, their checksums and their shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import safe_open

from lowrank.base.errors import LowrankError, one_line
from lowrank.base.files import read_brought_json, sha256_file, write_json
from lowrank.decompose.portable import CONFIG
from lowrank.decompose.pretrained_config import FORMAT, NOTE, READ
from lowrank.space.methods import CHANNELS, PIVOTED

VARIANT = "lowrank"
"""Part of the names of the weights' files: no other loader takes them for a dense model's."""

SINGLE, INDEX = f"model.{VARIANT}.safetensors", f"model.safetensors.index.{VARIANT}.json"

CHECKSUMS = "checksums.json"


def weight_files(directory: str | Path) -> list[Path]:
    """Return the files with weights, and their index where there are several; by name."""
    folder = Path(directory)
    return sorted([*folder.glob(f"model.{VARIANT}*.safetensors"), *folder.glob("model.*.json")])


def write_checksums(directory: str | Path) -> None:
    """Write what `check_files` checks a checkpoint against.

    Another configuration may have the same shapes and make another model of the weights.
    """
    files = [Path(directory) / CONFIG, *weight_files(directory)]
    sums = {path.name: sha256_file(path) for path in files}
    write_json(Path(directory) / CHECKSUMS, {"format": FORMAT, "files": sums})


def check_files(directory: Path, config: Any = None) -> None:
    """Check that the files of a checkpoint are whole, and those that were written together.

    Parameters
    ----------
    directory
        The checkpoint.
    config
        Its configuration, to check the shapes of its factors against; None leaves that out.

    Raises
    ------
    LowrankError
        Naming the first that is not, and what is wrong with it.
    """
    path = directory / CHECKSUMS
    manifest = read_brought_json(path)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or not files or manifest.get("format") != FORMAT:
        raise LowrankError(f"{path} is not one of a checkpoint of {READ}")
    for name, expected in files.items():
        if not (directory / name).is_file():
            raise LowrankError(f"{directory} lacks {name}: copy it again, or export again")
        if sha256_file(directory / name) != expected:
            raise LowrankError(
                f"{directory / name} is not the file that {CHECKSUMS} was written for: it is "
                "damaged or of another checkpoint; copy the directory again, or export again"
            )
    note = getattr(config, NOTE, None)
    if note is not None:
        _check_shapes(directory, note["modules"])


def _check_shapes(directory: Path, modules: dict[str, Any]) -> None:
    """Check the arrays of modules that are smaller."""
    found: dict[str, list[int]] = {}
    for path in directory.glob(f"model.{VARIANT}*.safetensors"):
        try:
            with safe_open(path, framework="pt") as tensors:
                found |= {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
        except Exception as error:  # whatever the reader raises is about the file
            raise LowrankError(f"{path} cannot be read ({one_line(error)[:200]})") from None
    for path, own in modules.items():
        for name, shape in arrays(own).items():
            if found.get(f"{path}.{name}") != shape:
                have = found.get(f"{path}.{name}", "no shape, as it is missing")
                raise LowrankError(
                    f"{directory}: {path}.{name} has {have}, config.json says {shape}: export again"
                )


def arrays(own: dict[str, Any]) -> dict[str, list[int]]:
    """Return the arrays of an entry of the note's `modules`, with their shapes."""
    (out, in_), rank = own["shape"], own["rank"]
    if own["form"] == CHANNELS:
        made = {"weight": [out, in_]}
    elif own["form"] == PIVOTED:
        made = {"rows": [rank, in_], "coefficients": [out - rank, rank], "place": [out]}
    else:
        made = {"left": [out, rank], "right": [rank, in_]}
    return made | ({"bias": [out]} if own["bias"] else {})
