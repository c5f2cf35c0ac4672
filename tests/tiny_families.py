"""A tiny model of every family: the real class of transformers, with weights from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tiny
import tiny_bert
import torch
from lowrank.assets.model_classes import model_from_config
from lowrank.base.files import write_json
from transformers import PreTrainedModel

_TYPES = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
_GEMMA = {
    "head_dim": 16,
    "query_pre_attn_scalar": 12,
    "final_logit_softcapping": 2.0,
    "attn_logit_softcapping": 1.5,
    "sliding_window": 256,
}
_LLAMA_3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
    "rope_theta": 5e5,
}

DECODERS: dict[str, dict[str, Any]] = {
    "llama": {"rope_parameters": _LLAMA_3, "attention_bias": True},
    "mistral": {"head_dim": 16, "sliding_window": None},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 16},
    "gemma2": _GEMMA,
    "gemma3_text": {**_GEMMA, "layer_types": _TYPES},
    "phi3": {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.75}},
}
"""From `model_type` to what its configuration says on top of that of all."""

ENCODERS: dict[str, dict[str, Any]] = {
    "bert": tiny_bert.ENCODER,
    "roberta": {
        **tiny_bert.ENCODER,
        "model_type": "roberta",
        "architectures": ["RobertaModel"],
        "type_vocab_size": 1,
        "pad_token_id": 0,
    },
}
WINDOWS = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2}


def config_of(model_type: str, **changes: Any) -> dict[str, Any]:
    """Return the configuration of a tiny model, as a YAML file declares it."""
    if model_type in ENCODERS:
        return ENCODERS[model_type] | changes
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    shared = {key: own for key, own in tiny.ARCHITECTURE.items() if key != "tie_word_embeddings"}
    return {**shared, **special, **DECODERS[model_type], "model_type": model_type, **changes}


def made(config: Mapping[str, Any]) -> PreTrainedModel:
    """Return a model; zeros and ones of the initialiser would hide a bias or norm that is lost."""
    torch.manual_seed(0)
    model = model_from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
            else:
                parameter.mul_(8.0)
    return model.eval()


def save(folder: Path, config: Mapping[str, Any]) -> Path:
    """Write `weights/` and `manifest.json` into a folder; return it."""
    made(config).save_pretrained(folder / "weights")
    own = tiny_bert if config["model_type"] in ENCODERS else tiny
    own.tokenizer().save_pretrained(folder / "weights")
    write_json(folder / "manifest.json", {"files": {"config.json": "0"}, "source": "test"})
    return folder
