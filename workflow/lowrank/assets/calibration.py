"""Calibration sets: windows of a text as a model's tokens, for methods that look at activations.

All windows are whole and of one length, so a set holds no padding, and nothing needs a mask.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lowrank.assets.tokenizer import TOKENIZER_FILES, read_tokenizer
from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path, read_json, read_text, sha256_file
from lowrank.base.tensor_file import described, write_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOKENS = "tokens"


def prepare_calibration(
    weights: str | Path,
    text: str | Path,
    samples: int,
    length: int,
    seed: int,
    output: str | Path,
) -> None:
    """Tokenize the calibration part of a text, and write windows of it.

    Parameters
    ----------
    weights
        Directory of the model; only its configuration and its tokenizer are read.
    text
        A part that `lowrank.assets.texts.fetch_text` wrote.
    samples, length, seed
        As in `choose_windows`.
    output
        A safetensors file, for `read_calibration`. It describes what it was made of. Equal inputs
        make equal bytes.

    Raises
    ------
    LowrankError
        If the text is too short, or the tokenizer is not the model's.
    """
    tokens_T = tokenize(weights, read_text(text))
    try:
        tokens_ST = choose_windows(tokens_T, samples, length, seed)
    except LowrankError as error:
        raise LowrankError(f"{text}: {error}") from None
    description = {
        "text": Path(text).name.split(".")[0],
        "text_sha256": sha256_file(text),
        "tokenizer_sha256": tokenizer_digest(weights),
        "samples": samples,
        "length": length,
        "seed": seed,
        "windows": len(tokens_T) // length,
        "sha256": _sha256(tokens_ST),
    }
    with atomic_path(output) as temporary:
        write_tensors(temporary, {TOKENS: tokens_ST}, description)


def choose_windows(tokens_T: NDArray, samples: int, length: int, seed: int) -> NDArray:
    """Draw whole windows that do not overlap, (samples × length).

    The text is cut into windows from its start, and its tail is left. Windows are drawn without
    replacement, in an order that the seed and the text give: the first 32 of 64 samples are the
    32 samples of the same seed.

    Parameters
    ----------
    tokens_T
        The tokens of a whole text.
    samples
        How many windows.
    length
        Tokens of a window.
    seed
        Seed of the order.

    Raises
    ------
    LowrankError
        If there are fewer windows.
    """
    count = len(tokens_T) // length
    if samples > count:
        raise LowrankError(
            f"its {len(tokens_T)} tokens have {count} whole windows of {length} tokens, "
            f"asked for are {samples}"
        )
    chosen_S = np.random.default_rng(seed).permutation(count)[:samples]
    return np.asarray(tokens_T)[: count * length].reshape(count, length)[chosen_S]


def tokenize(weights: str | Path, text: str) -> NDArray:
    """Return a whole text as the tokens of a model, (tokens), int32.

    The text is tokenized at once. The token that begins a text stands at its very start, if the
    tokenizer adds one; no other special token is added.

    Parameters
    ----------
    weights
        Directory of the model; only its configuration and its tokenizer are read.
    text
        The text.

    Raises
    ------
    LowrankError
        If there is no tokenizer, or it makes tokens that the model does not know.
    """
    tokenizer = read_tokenizer(weights)
    # `verbose`: a text that is longer than the model's context is no mistake here.
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    begin = [tokenizer.bos_token_id]
    is_added = begin != [None] and tokenizer("a")["input_ids"][:1] == begin
    tokens_T = np.array([*(begin if is_added else []), *ids], np.int32)
    size = read_json(Path(weights) / "config.json")["vocab_size"]
    if tokens_T.max(initial=0) >= size:
        raise LowrankError(
            f"{weights}: its tokenizer makes token {tokens_T.max()}, but the model knows {size}; "
            "is it this model's own tokenizer?"
        )
    return tokens_T


def tokenizer_digest(weights: str | Path) -> str:
    """Return a SHA-256 over the names and contents of a model's `TOKENIZER_FILES`."""
    digest = hashlib.sha256()
    for name in sorted(TOKENIZER_FILES):
        path = Path(weights) / name
        if path.exists():
            digest.update(f"{name} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def read_calibration(path: str | Path) -> NDArray:
    """Return the windows that `prepare_calibration` wrote, (samples × length), int32.

    They are in the order in which they were drawn, so the first n are a smaller set of the same
    seed.

    Raises
    ------
    LowrankError
        If the file cannot be read, or does not hold what was written into it.
    """
    with described(path, "calibration set") as (opened, description):
        tokens_ST = opened.get_tensor(TOKENS)
        if _sha256(tokens_ST) != description["sha256"]:
            raise ValueError("its tokens have another checksum than when they were written")
        if tokens_ST.shape != (description["samples"], description["length"]):
            raise ValueError(f"its tokens have the shape {tokens_ST.shape}")
        return tokens_ST


def _sha256(tokens_ST: NDArray) -> str:
    """Return the checksum of windows: of their type, shape and values."""
    tokens_ST = np.ascontiguousarray(tokens_ST)
    facts = f"{tokens_ST.dtype.str} {tokens_ST.shape} ".encode()
    return hashlib.sha256(facts + tokens_ST.tobytes()).hexdigest()
