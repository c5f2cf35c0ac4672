"""A workload as a call: one iteration of prefill or of decode on a loaded model.

Shape suffixes: ``B`` rows, ``T`` tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import Cache, DynamicCache, PreTrainedModel

from lowrank.profile.workloads import Workload, make_prompt
from lowrank.running.growing_cache import GrowingLayer


@dataclass
class Work:
    """One iteration of a workload.

    Attributes
    ----------
    run
        Does it. Kernels may still be running when it returns.
    cache_bytes
        Keys and values at its end.
    """

    run: Callable[[], None]
    cache_bytes: Callable[[], int]


@torch.no_grad()
def make_work(model: PreTrainedModel, workload: Workload, seed: int) -> Work:
    """Return one iteration of a workload; prompts are on the device before it is timed.

    Prefill computes the logits after the last token of each row, with keys and values. Decode holds
    those of its prompt for as long as it lives: it starts from there, takes the likeliest token
    each time, and forgets what it added when it is done. Its keys and values lie in a buffer:
    transformers' `DynamicCache` copies all of them for every token, which can be more traffic than
    attention itself.
    """
    prompt = make_prompt(workload, model.config.vocab_size, seed)
    ids_BT = torch.from_numpy(prompt.ids_BT).to(model.device)
    mask_BT = torch.from_numpy(prompt.mask_BT).to(model.device) if prompt.is_padded else None
    positions_BT = None if mask_BT is None else (mask_BT.cumsum(-1) - 1).clamp(min=0)
    options: dict[str, Any] = {"use_cache": True, "logits_to_keep": 1}
    held = [0]

    @torch.no_grad()
    def prefill(cache: Cache) -> torch.Tensor:
        logits_B1V = model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            **options,
        ).logits
        held[0] = held[0] or cache_bytes(cache)
        return logits_B1V

    if workload.phase == "prefill":

        def forget() -> None:
            # Its keys and values are free again before the next model's turn.
            prefill(DynamicCache(config=model.config))

        return Work(forget, lambda: held[0])

    rows, length = ids_BT.shape
    buffer = partial(GrowingLayer, rows, length + workload.new_tokens)
    cache = Cache(layer_class_to_replicate=buffer)
    first_B1 = prefill(cache)[:, -1].argmax(-1, keepdim=True)
    held[0] = 0

    @torch.no_grad()
    def decode() -> None:
        token_B1 = first_B1
        for _ in range(workload.new_tokens):
            logits_B1V = model(input_ids=token_B1, past_key_values=cache, **options).logits
            token_B1 = logits_B1V[:, -1].argmax(-1, keepdim=True)
        held[0] = held[0] or cache_bytes(cache)
        for layer in cache.layers:
            layer.rewind(length)

    return Work(decode, lambda: held[0])


@torch.no_grad()
def output_is_finite(model: PreTrainedModel) -> bool:
    """Return whether the logits after a few tokens are finite."""
    ids_1T = torch.arange(min(16, model.config.vocab_size), device=model.device)[None]
    return bool(model(input_ids=ids_1T, logits_to_keep=1).logits.amax().isfinite())


def cache_bytes(cache: Cache) -> int:
    """Return the bytes of the keys and values of a cache."""
    return sum(
        states.numel() * states.element_size()
        for layer in cache.layers
        if layer.get_seq_length()
        for states in (layer.keys, layer.values)
    )
