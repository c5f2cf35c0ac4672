"""A model in a directory of this machine: what it is, known before any job and without torch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowrank.assets.sources import Source, expanded
from lowrank.assets.tokenizer import TOKENIZER_FILES, require_tokenizer
from lowrank.assets.weights import INDEX, PLAIN, is_plain, require_unquantized, weight_files
from lowrank.base.errors import LowrankError
from lowrank.base.files import (
    read_brought_json,
    read_json,
    require_content,
    sha256_file,
    write_json,
)

CONFIG = "config.json"

BESIDE = ("generation_config.json", "chat_template.jinja")
"""Files that are taken where they are there."""

LONGEST_HEADER = 100_000_000


def is_directory(given: str) -> bool:
    """Return whether a model of the configuration is a directory, and no name of an entry."""
    return "/" in given or given.startswith(("~", ".", "$"))


def name_of(given: str) -> str:
    """Return the name that a directory has in folders: its own, with `-` for what names have not.

    Raises
    ------
    LowrankError
        If nothing is left of it.
    """
    made = re.sub(r"[^A-Za-z0-9_.-]+", "-", expanded(given).name).strip(".-_")
    if not made:
        raise LowrankError(f"config: models: {given}: it has no name: give it one by `name`")
    return made


def read_local_model(name: str, given: str, memory: str | Path) -> tuple[dict[str, Any], Source]:
    """Return the configuration and the source of a model in a directory.

    Parameters
    ----------
    name
        The model's name.
    given
        The directory as the user wrote it.
    memory
        A file that remembers checksums of files that have not changed since.

    Raises
    ------
    LowrankError
        Naming the directory, and what it lacks or what of it cannot be read.
    """
    folder = expanded(given)
    try:
        if not folder.is_dir():
            hint = "a model of the hub needs an entry in config/models/"
            raise LowrankError(f"{folder} is no directory ({hint})")
        config = _configuration(folder)
        weights = weight_files(folder)
        require_tokenizer(folder)
        others = (*TOKENIZER_FILES, *BESIDE)
        files = [CONFIG, *weights, *(name for name in others if os.path.lexists(folder / name))]
        for file in files:
            require_content(folder / file)
        tensors = [key for file in weights if file != INDEX for key in _tensors(folder / file)]
        sums = _checksums(folder, files, Path(memory))
    except OSError as error:
        raise LowrankError(f"config: models: {given}: it cannot be read ({error})") from None
    except LowrankError as error:
        said = re.sub(rf"^{re.escape(str(folder))} (?=holds|has|lacks)", "it ", str(error))
        raise LowrankError(f"config: models: {given}: {said}") from None
    is_bare = config.get("architectures") in (["BertModel"], ["RobertaModel"])
    if is_bare and not any(key.endswith("pooler.dense.weight") for key in tensors):
        config["add_pooling_layer"] = False
    return config, {"directory": name, "sha256": sums}


def _configuration(folder: Path) -> dict[str, Any]:
    if not os.path.lexists(folder / CONFIG):
        if (folder / "adapter_config.json").is_file():
            raise LowrankError("it is an adapter: merge it into its model, and save that")
        if (folder / "params.json").is_file() or any(folder.glob("*.gguf")):
            raise LowrankError(f"it holds no {CONFIG}: convert it to a Hugging Face directory")
        below = sorted([*folder.glob(f"*/{CONFIG}"), *folder.glob(f"snapshots/*/{CONFIG}")])
        hint = f", but {below[-1].parent} does: name that" if below else ""
        raise LowrankError(f"it holds no {CONFIG}{hint}")
    config = read_brought_json(folder / CONFIG)
    if not isinstance(config, Mapping):
        raise LowrankError(f"its {CONFIG} is no configuration of a model")
    if str(config.get("model_type")).startswith("lowrank"):
        raise LowrankError("it is a low-rank checkpoint: name the dense export of the same model")
    require_unquantized(folder, config)
    return dict(config)


def _tensors(path: Path) -> list[str]:
    """Return the names of a safetensors file's tensors, by its header; it must be whole."""
    size = path.stat().st_size
    with open(path, "rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        header = handle.read(length) if length <= min(size, LONGEST_HEADER) else b""
    try:
        tensors = json.loads(header)
        tensors.pop("__metadata__", None)
        end = max((int(own["data_offsets"][1]) for own in tensors.values()), default=-1)
        others = {
            name: own["dtype"]
            for name, own in tensors.items()
            if not is_plain(name, str(own["dtype"]), own["shape"])
        }
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise LowrankError(f"its {path.name} cannot be read as safetensors") from None
    if 8 + length + end != size:
        raise LowrankError(f"its {path.name} is not whole: copy it again")
    for name, dtype in others.items():
        raise LowrankError(f"its {path.name} holds {name} as {dtype}; {PLAIN}")
    return list(tensors)


def _checksums(folder: Path, files: Sequence[str], memory: Path) -> dict[str, str]:
    """Return the checksum of every file; those that have not changed since are remembered."""
    known = _remembered(memory)
    made = {}
    for name in files:
        path = folder / name
        state = path.stat()
        signs = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
        before = known.get(str(path))
        is_same = isinstance(before, Mapping) and before.get("state") == signs
        made[str(path)] = {
            "state": signs,
            "sha256": before["sha256"] if is_same else sha256_file(path),
        }
    if made != known and os.access(_first_folder(memory), os.W_OK):
        write_json(memory, made)
    return {name: made[str(folder / name)]["sha256"] for name in sorted(files)}


def _remembered(memory: Path) -> dict[str, Any]:
    try:
        known = read_json(memory)
    except LowrankError:
        return {}
    return known if isinstance(known, dict) else {}


def _first_folder(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.is_dir())
