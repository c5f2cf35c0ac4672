"""What packed rows are for, and how much fits into one pass.

Which models can be scored in packed rows is known from their configuration, and then tried on one
small row. How many tokens go into a pass is a fixed number on a CPU and measured on a GPU.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from lowrank.base.errors import is_out_of_memory
from lowrank.evaluate.packed.attention import (
    build_tree_batch,
    causal_visibility,
    extendable_cache,
    hidden_states,
    prefix_states,
    shared_prefix_cache,
)
from lowrank.evaluate.packed.head import score_tokens
from lowrank.evaluate.packed.tree import CostModel, PrefixTree, Row
from lowrank.running.soft_cap import logits_of
from lowrank.space.families.registry import FAMILIES

__all__ = [
    "attention_window",
    "cost_model",
    "measured_batch_tokens",
    "too_long_reason",
    "unsupported_reason",
]

logger = logging.getLogger(__name__)

VERIFIED_MODEL_TYPES = frozenset(name for name, own in FAMILIES.items() if not own.classes)
"""Architectures whose packed scores are tested against lm-eval's: all causal ones."""

VERIFIED_ROPE_TYPES = frozenset({"default", "linear", "llama3", "yarn"})
"""Rotary embeddings that depend on a token's position only, not on the length of the input."""

CPU_BATCH_BYTES = 4096
"""Tokens in a pass on a CPU times the bytes of a number: 1024 tokens in float32 and 2048 in
bfloat16 were fastest, enough to hide reading the weights and few enough for the caches."""

GPU_BATCH_TOKENS = 32768
"""Most tokens in a pass on a GPU; more brings nothing once the device is busy."""


def unsupported_reason(model: PreTrainedModel) -> str | None:
    """Say why a model cannot be scored in packed rows.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model.

    Returns
    -------
    str or None
        The reason, or None if the model is supported. Whether its attention window is long
        enough depends on the requests: see `too_long_reason`.
    """
    reason = _unverified_reason(model)
    return reason or _trial_reason(model)


def _unverified_reason(model: PreTrainedModel) -> str | None:
    """Say what of a model's configuration is not verified for packed rows."""
    config = model.config
    if config.model_type not in VERIFIED_MODEL_TYPES:
        return f"model type {config.model_type!r} is not verified"
    layer_types = set(getattr(config, "layer_types", None) or ())
    if not layer_types <= {"full_attention", "sliding_attention"}:
        return f"layer types {sorted(layer_types)} are not verified"
    unverified = sorted(_rope_types(config) - VERIFIED_ROPE_TYPES)
    if unverified:
        return f"rotary embedding {unverified[0]!r} depends on the length of the input"
    attention = getattr(config, "_attn_implementation", None)
    if attention not in ("sdpa", "eager"):
        return f"attention implementation {attention!r} takes no 4D mask"
    if model.get_output_embeddings() is None:
        return "the model has no output embeddings"
    return None


def _rope_types(config: PreTrainedConfig) -> set[str]:
    """Return the types of a model's rotary embeddings; each type of layer may have its own."""
    rope = getattr(config, "rope_parameters", None) or {}
    by_layer_type = [own for own in rope.values() if isinstance(own, dict)]
    return {own.get("rope_type", "default") for own in by_layer_type or [rope]}


def _trial_reason(model: PreTrainedModel) -> str | None:
    """Say why a small packed row does not give what the same sequences give one by one."""
    unlike = "the model does not follow the mask and the position ids it is given"
    generator = np.random.default_rng(0)
    stem, left, right = (
        tuple(int(t) for t in generator.integers(0, model.config.vocab_size, n)) for n in (6, 3, 4)
    )
    tree = PrefixTree([stem + left, stem + right])
    depth = 4
    try:
        cache = extendable_cache(None)
        ids_1T, positions_1T = np.array([stem[:depth]]), np.arange(depth)[None]
        hidden_states(model, ids_1T, positions_1T, causal_visibility(depth, 0), cache)
        tokens = len(stem) + len(left) + len(right) - depth
        batch = build_tree_batch(tree, [Row((0, 1), depth, tokens)])
        packed = hidden_states(
            model,
            batch.input_ids_BT,
            batch.position_ids_BT,
            batch.visible_BTK,
            shared_prefix_cache(prefix_states(cache)),
        )
        # What stands behind a sequence changes nothing in it: attention is causal.
        width = max(map(len, tree.sequences))
        padded = [sequence + (0,) * (width - len(sequence)) for sequence in tree.sequences]
        ids = torch.tensor(padded, device=model.device)
        with torch.no_grad():
            plain = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            logits = model(input_ids=ids, use_cache=False).logits.float()
            made = logits_of(model, plain).float()
        deviations = []
        for k, sequence in enumerate(tree.sequences):
            expected = plain[k, depth : len(sequence)].float()
            if not expected.isfinite().all():
                dtype = str(model.dtype).removeprefix("torch.")
                return f"the model's own hidden states are not finite in {dtype}"
            difference = packed[torch.from_numpy(batch.paths[k])].float() - expected
            deviations.append(float(difference.norm() / expected.norm()))
        of_logits = float((made - logits).norm() / logits.norm())
    except (TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        logger.warning("The trial of a packed row failed: %s", error)
        return unlike
    # A wrong mask or position changes the hidden states by about their own size.
    limit = 1e-3 if model.dtype == torch.float32 else 0.1
    if of_logits > limit:
        return "the model's logits are not what its head makes of its hidden states"
    # A NaN is less than nothing.
    return None if all(deviation < limit for deviation in deviations) else unlike


def attention_window(model: PreTrainedModel) -> int | None:
    """Length of the shortest sliding attention window in tokens; None if attention is full."""
    config = model.config
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None and "sliding_attention" not in layer_types:
        return None
    if getattr(config, "use_sliding_window", True) is False:
        return None
    return getattr(config, "sliding_window", None)


def too_long_reason(model: PreTrainedModel, tokens: int) -> str | None:
    """Say why sequences of up to `tokens` tokens cannot be scored in packed rows; None if they can.

    A token of a packed row sees all tokens before it, however far away they are.
    """
    window = attention_window(model)
    if window is None or tokens <= window:
        return None
    return f"a sliding window of {window} tokens is shorter than a sequence"


def cost_model(model: PreTrainedModel, batch_tokens: int | None = None) -> CostModel:
    """Return the limits and costs of a forward pass on the model's device.

    Costs follow from the sizes of the dense layers, whatever of them is decomposed:
    configurations that ask the same are computed in the same passes, and can share them.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The model, on its device.
    batch_tokens : int, optional
        Most tokens in a pass; by default measured on a GPU, and a fixed number on a CPU.
    """
    config = model.config
    size = getattr(config, "head_dim", None) or (config.hidden_size // config.num_attention_heads)
    width = config.num_attention_heads * size
    keys = (getattr(config, "num_key_value_heads", None) or config.num_attention_heads) * size
    layer = config.hidden_size * (2 * width + 2 * keys + 3 * config.intermediate_size)
    # Two products of this width for each pair of tokens; a masked softmax on top.
    attention = 1.5 * 2 * width / layer
    if model.device.type == "cuda":
        try:
            batch_tokens = batch_tokens or measured_batch_tokens(model)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            batch_tokens = 256
        return CostModel(batch_tokens, min(batch_tokens, 2048), 512.0, attention, 32)
    batch_tokens = batch_tokens or CPU_BATCH_BYTES // model.dtype.itemsize
    # Reading the weights takes as long as computing this many tokens (measured).
    overhead = 16.0 if model.dtype == torch.float32 else 96.0
    return CostModel(batch_tokens, batch_tokens, overhead, attention, 8)


def measured_batch_tokens(model: PreTrainedModel) -> int:
    """Tokens that fit into the free memory of the GPU, from the peaks of two small passes."""
    peaks: list[int] = []
    sizes = (1024, 4096)
    rows = 8
    for tokens in sizes:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(model.device)
        before = torch.cuda.memory_allocated(model.device)
        length = tokens // rows
        ids = np.ones((rows, length), dtype=np.int64)
        positions = np.broadcast_to(np.arange(length), ids.shape).copy()
        visible = np.broadcast_to(causal_visibility(length, 0), (rows, length, length))
        hidden = hidden_states(model, ids, positions, visible.copy())
        places = np.arange(tokens)
        score_tokens(model, hidden, places, np.zeros_like(places))
        del hidden
        peaks.append(torch.cuda.max_memory_allocated(model.device) - before)
    each = max(1.0, (peaks[1] - peaks[0]) / (sizes[1] - sizes[0]))
    free = torch.cuda.mem_get_info(model.device)[0]
    # Half of it: masks and prefixes are longer than in the trial, memory is fragmented.
    fits = int((free - peaks[0]) * 0.5 / each)
    # A power of two: free memory is never quite the same, and passes decide how sums round.
    return max(256, min(GPU_BATCH_TOKENS, 2 ** (max(1, fits).bit_length() - 1)))
