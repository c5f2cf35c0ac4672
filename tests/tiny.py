"""A tiny model and tiny benchmarks, made from seeds: what the tests run the real code on."""

from __future__ import annotations

import hashlib
import json
import string
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

ARCHITECTURE = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 260,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, with a few merges so that words and letters differ."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<s>", "</s>", *alphabet])}
    merges = [("t", "h"), ("Ġ", "a")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    made = Tokenizer(models.BPE(vocabulary, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def save_model(directory: Path, seed: int = 0, **changes: object) -> Path:
    """Write a random Llama with a tokenizer as a plain Hugging Face directory."""
    fields = {**ARCHITECTURE, **changes}
    config = AutoConfig.for_model(
        fields.pop("model_type"), **fields, bos_token_id=0, eos_token_id=1
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():  # spread the logits, or every score is a tie
            parameter.mul_(4.0)
    model.save_pretrained(directory)
    tokenizer().save_pretrained(directory)
    return directory


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def words(seed: int, count: int) -> str:
    generator = torch.Generator().manual_seed(seed)
    letters = torch.randint(0, 26, (count * 4,), generator=generator).tolist()
    text = "".join(string.ascii_lowercase[index] for index in letters)
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def arc_rows(count: int, seed: int = 0) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "id": f"q{index}",
                "question": words(seed * 1000 + index, 5) + "?",
                "choices": {
                    "text": [words(seed * 1000 + 100 * index + c, 1 + c) for c in range(4)],
                    "label": list("ABCD"),
                },
                "answerKey": "ABCD"[index % 4],
            }
            for index in range(count)
        ]
    )


def winogrande_rows(count: int) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "sentence": f"{words(index, 3)} _ {words(index + 500, 2)}.",
                "option1": words(index + 900, 1),
                "option2": words(index + 1900, 1),
                "answer": str(1 + index % 2),
            }
            for index in range(count)
        ]
    )


def write_parquet(table: pa.Table, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, path)
    return path


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())
