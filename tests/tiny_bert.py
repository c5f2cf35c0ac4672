"""Tiny BERT models with a word-piece tokenizer, made from seeds."""

from __future__ import annotations

from pathlib import Path

import tiny
import torch
from lowrank.assets.model_classes import model_from_config
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertTokenizerFast

ENCODER = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "vocab_size": 120,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
}
BARE = {**ENCODER, "add_pooling_layer": False}
ANSWERING = {**ENCODER, "architectures": ["BertForQuestionAnswering"]}


def tokenizer() -> BertTokenizerFast:
    """Letters and their continuations as pieces: a word is as many tokens as it has letters."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters), *".,?'\"-()"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return BertTokenizerFast(tokenizer_object=made)


def save_model(directory: Path, config: dict, seed: int = 0) -> Path:
    """Write a random BERT with a tokenizer as a plain Hugging Face directory."""
    torch.manual_seed(seed)
    model = model_from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:  # spread the outputs, or every score is a tie
                parameter.mul_(8.0)
            elif name.endswith("bias"):  # zeros would hide a bias that was lost
                parameter.normal_(std=0.5)
    model.save_pretrained(directory)
    tokenizer().save_pretrained(directory)
    return directory


def pair_rows(count: int) -> tiny.pa.Table:
    return tiny.pa.Table.from_pylist(
        [
            {
                "sentence1": tiny.words(index, 3),
                "sentence2": tiny.words(index + 7 * (index % 3), 2 + index % 4),
                "label": int(index % 3 == 0),
            }
            for index in range(count)
        ]
    )


def sentence_rows(count: int) -> tiny.pa.Table:
    return tiny.pa.Table.from_pylist(
        [
            {"sentence": tiny.words(index, 2 + index % 5), "label": index % 2}
            for index in range(count)
        ]
    )


def question_rows(count: int) -> tiny.pa.Table:
    rows = []
    for index in range(count):
        context = tiny.words(index, 6 + 5 * index) + "."
        answer = context.split()[2]
        answers = {"text": [answer, f"the {answer}"], "answer_start": [context.index(answer)] * 2}
        rows.append(
            {
                "id": f"q{index}",
                "question": tiny.words(index + 50, 2) + "?",
                "context": context,
                "answers": answers,
            }
        )
    return tiny.pa.Table.from_pylist(rows)
