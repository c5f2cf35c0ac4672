"""Tiny causal models with random weights, their tokenizer, and pairs to score."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

MAX_LENGTH = 96
CORPUS = [
    "the quick brown fox jumps over the lazy dog while the cat sleeps on the mat",
    "Question: what is the colour of the sky? Answer: the sky is blue",
]

CHOICES = [" blue", " the sky is blue", " lazy dog", " on the mat the cat sleeps"]


def make_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


TOKENIZER = make_tokenizer()
SIZES = {
    "vocab_size": len(TOKENIZER),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": MAX_LENGTH,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    # Weights large enough for a wrong mask or position to show.
    "initializer_range": 0.25,
    "attn_implementation": "sdpa",
}


def make_model(model_class=LlamaForCausalLM, config_class=LlamaConfig, **changes):
    torch.manual_seed(0)
    return model_class(config_class(**(SIZES | changes))).eval()


def many_pairs():
    preamble = " ".join(CORPUS)[:40]
    contexts = [f"{preamble}\nQ: {stem}\nA:" for stem in ("sky", "the sky", "fox", "dog and fox")]
    return [(c, choice) for c in contexts for choice in CHOICES] + [("sky", " blue"), ("", "fox")]
