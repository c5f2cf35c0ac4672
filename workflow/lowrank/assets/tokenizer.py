"""A model's tokenizer: its files, and the one way to load it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError, one_line
from lowrank.base.files import read_brought_json, require_content

SENTENCEPIECE = "tokenizer.model"

VOCABULARIES = ("tokenizer.json", SENTENCEPIECE, "vocab.txt", "vocab.json")
"""The files that hold a vocabulary; a directory has one of them at least."""

TOKENIZER_FILES = (
    *VOCABULARIES,
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
)
"""The files of a plain Hugging Face directory that a tokenizer is read from."""


def require_tokenizer(directory: str | Path) -> None:
    """Check that a directory has the files of a tokenizer, without loading it.

    Raises
    ------
    LowrankError
        If it has no vocabulary, only one that is not read here, or a file that is not itself.
    """
    directory = Path(directory)
    found = [directory / name for name in TOKENIZER_FILES if os.path.lexists(directory / name)]
    for path in found:
        read = read_brought_json if path.suffix == ".json" else require_content
        read(path)
    vocabularies = [path.name for path in found if path.name in VOCABULARIES]
    if not vocabularies:
        raise LowrankError(
            f"{directory} has no tokenizer: add its tokenizer.json and tokenizer_config.json"
        )
    if vocabularies == [SENTENCEPIECE] and not _reads_sentencepiece():
        raise LowrankError(
            f"{directory} has its tokenizer only as {SENTENCEPIECE}, which is not read here: make "
            "a tokenizer.json of it, by `AutoTokenizer.from_pretrained(…).save_pretrained(…)`, "
            "where the packages sentencepiece and protobuf are, and add that"
        )


def _reads_sentencepiece() -> bool:
    """Return whether transformers has what it reads a sentencepiece model with."""
    try:
        needed = [importlib.util.find_spec(name) for name in ("sentencepiece", "google.protobuf")]
    except ModuleNotFoundError:
        return False
    return None not in needed


def read_tokenizer(directory: str | Path) -> Any:
    """Load the tokenizer of a plain Hugging Face directory; no code of it is run.

    Raises
    ------
    LowrankError
        If there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    require_tokenizer(directory)
    try:
        return AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # whatever a library makes of a damaged file
        raise LowrankError(
            f"the tokenizer of {directory} cannot be read ({one_line(error)[:200]}): is its "
            "tokenizer.json whole?"
        ) from error
