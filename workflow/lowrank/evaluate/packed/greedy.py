"""Generation for many contexts that start alike: greedy, or sampled by a seed.

The shared prefix (few-shot examples) is computed once for all contexts. Rows leave the batch as
they finish, and keys and values are written into buffers instead of being copied at every step.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import postprocess_generated_text
from tqdm import tqdm

from lowrank.base.errors import is_out_of_memory
from lowrank.evaluate.finite import NotFiniteError
from lowrank.evaluate.packed.attention import (
    PrefixStates,
    additive_mask,
    causal_visibility,
    extendable_cache,
    final_hidden_states,
    growing_cache,
    prefix_states,
)
from lowrank.evaluate.packed.decoding import Chooser, Decoding, plain_greedy
from lowrank.evaluate.packed.tree import PrefixTree
from lowrank.running.soft_cap import logits_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["GreedyGenerator", "plain_greedy"]

logger = logging.getLogger(__name__)

SHARED_PREFIX = 16
"""Shortest prefix, in tokens, that is computed once for all contexts that start with it."""

MOST_ROWS = {"cpu": 32, "cuda": 512}
"""Most rows in a batch by type of device."""

CPU_CACHE_BYTES = 2**31
"""Memory for keys and values on a CPU."""


class GreedyGenerator:
    """Generates with a language model of lm-eval: greedily, unless settings sample by a seed.

    Parameters
    ----------
    lm : lm_eval.models.huggingface.HFLM
        The model with its tokenizer and limits.
    most_rows : int, optional
        Most contexts in a batch; by default what the memory for keys and values allows. Halved
        for good whenever memory runs out.
    """

    def __init__(self, lm: HFLM, most_rows: int | None = None) -> None:
        self._lm = lm
        self._most_rows = most_rows or MOST_ROWS.get(lm.device.type, 32)
        ends = lm.model.generation_config.eos_token_id
        self._ends = frozenset([ends] if isinstance(ends, int) else ends or ())

    def generate(
        self, requests: Sequence[tuple[str, dict[str, Any]]], disable_tqdm: bool = False
    ) -> list[str]:
        """Generate for contexts with settings that `plain_greedy` or `can_sample` accepts.

        Parameters
        ----------
        requests : sequence of (str, dict)
            Contexts and generation settings as in lm-eval.
        disable_tqdm : bool
            Whether to leave out the progress bar.

        Returns
        -------
        list of str
            The texts, cut before the first stop string.

        Raises
        ------
        ValueError
            If the tokens to generate leave no room for a context.
        NotFiniteError
            If the largest logit of a new token is not finite; it says the context.
        """
        groups: dict[str, list[int]] = {}
        for k, (_, settings) in enumerate(requests):
            groups.setdefault(json.dumps(settings, sort_keys=True, default=str), []).append(k)
        texts: list[str | None] = [None] * len(requests)
        with tqdm(
            total=len(requests),
            disable=disable_tqdm or self._lm.rank != 0,
            desc="Running generate_until requests",
        ) as progress:
            for group in groups.values():
                settings = requests[group[0]][1]
                for place, text in self._generate_group([requests[k][0] for k in group], settings):
                    texts[group[place]] = text
                    self._lm.cache_hook.add_partial("generate_until", requests[group[place]], text)
                    progress.update(1)
        return texts

    def _generate_group(
        self, contexts: list[str], settings: dict[str, Any]
    ) -> Iterator[tuple[int, str]]:
        """Generate for contexts with the same settings; yield places and texts as they finish."""
        lm = self._lm
        decoding = Decoding.of(lm, settings)
        room = lm.max_length - decoding.room_for_text
        if room < 1:
            raise ValueError(
                f"{decoding.new_tokens} tokens to generate leave no room for a context: the "
                f"maximum length is {lm.max_length}."
            )
        encoded = [
            lm.tok_batch_encode([context], left_truncate_len=room, truncation=lm.truncation)[0][0]
            for context in contexts
        ]
        tree = PrefixTree([tokens.tolist() for tokens in encoded])
        places: list[list[int]] = [[] for _ in tree.sequences]
        for place, member in enumerate(tree.index):
            places[member].append(place)
        try:
            for member, tokens in self._finish(tree, decoding):
                text = postprocess_generated_text(lm.tok_decode(tokens), decoding.until, None)
                for place in places[member]:
                    yield place, text
        except NotFiniteError as error:
            raise error.told(asked=contexts[places[error.asked][0]]) from None

    def _finish(self, tree: PrefixTree, decoding: Decoding) -> Iterator[tuple[int, list[int]]]:
        """Yield members with their tokens, those that start alike together."""
        for prefix, members in tree.shared_prefixes(SHARED_PREFIX):
            yield from self._generate_sharing(tree, prefix, members, decoding)

    def _generate_sharing(
        self,
        tree: PrefixTree,
        prefix: int,
        members: list[int],
        decoding: Decoding,
    ) -> Iterator[tuple[int, list[int]]]:
        """Generate for members that share a prefix; yield them with tokens."""
        most = {k: decoding.most(tree.sequences[k]) for k in members}
        yield from ((k, []) for k in members if not most[k])
        waiting = [k for k in members if most[k]]
        if not waiting:
            return
        # Every context keeps a token of its own: its last one predicts the first new token.
        prefix = min(prefix, min(len(tree.sequences[k]) for k in members) - 1)
        states = self._states(tree.sequences[members[0]][:prefix]) if prefix else None
        waiting.sort(key=lambda k: -len(tree.sequences[k]))
        while waiting:
            keys = len(tree.sequences[waiting[0]]) + max(most[k] for k in waiting)
            batch = waiting[: self._rows(keys)]
            done: set[int] = set()
            try:
                suffixes = [tree.sequences[k][prefix:] for k in batch]
                chooser = decoding.chooser([tree.sequences[k] for k in batch])
                for row, tokens in self._generate_batch(
                    suffixes, prefix, states, decoding, chooser, [most[k] for k in batch]
                ):
                    done.add(batch[row])
                    yield batch[row], tokens
            except NotFiniteError as error:
                raise error.told(asked=batch[error.asked]) from None
            except (MemoryError, RuntimeError) as error:
                if len(batch) == 1 or not is_out_of_memory(error):
                    raise
                self._most_rows = max(1, len(batch) // 2)
                logger.warning("Out of memory: %d rows in a batch now.", self._most_rows)
            if self._lm.device.type == "cuda":
                torch.cuda.empty_cache()
            waiting = [k for k in waiting if k not in done]

    def _rows(self, keys: int) -> int:
        """Rows whose keys and values, `keys` of each, fit into memory."""
        config = self._lm.model.config
        size = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        # Twice for keys and values, once more for what attention copies of a layer.
        each = 2 * (config.num_hidden_layers + 1) * heads * size * self._lm.model.dtype.itemsize
        free = CPU_CACHE_BYTES
        if self._lm.device.type == "cuda":
            free = torch.cuda.mem_get_info(self._lm.device)[0] // 2
        return max(1, min(self._most_rows, free // (each * keys)))

    def _states(self, tokens: tuple[int, ...]) -> PrefixStates:
        """Keys and values of a prefix, computed in as few passes as memory allows."""
        at_once = len(tokens)
        while True:
            try:
                return self._states_in_passes(tokens, at_once)
            except (MemoryError, RuntimeError) as error:
                if at_once == 1 or not is_out_of_memory(error):
                    raise
            at_once = -(-at_once // 2)
            logger.warning("Out of memory: %d tokens of a prefix at once now.", at_once)
            if self._lm.device.type == "cuda":
                torch.cuda.empty_cache()

    def _states_in_passes(self, tokens: tuple[int, ...], at_once: int) -> PrefixStates:
        model = self._lm.model
        cache = extendable_cache(None)
        for start in range(0, len(tokens), at_once):
            part = tokens[start : start + at_once]
            visible_1TK = causal_visibility(len(part), start)
            final_hidden_states(
                model.base_model,
                np.array([part]),
                start + np.arange(len(part))[None],
                additive_mask(visible_1TK, model.dtype, self._lm.device),
                cache,
            )
        return prefix_states(cache)

    def _generate_batch(
        self,
        suffixes: list[tuple[int, ...]],
        prefix: int,
        states: PrefixStates | None,
        decoding: Decoding,
        chooser: Chooser,
        most: list[int],
    ) -> Iterator[tuple[int, list[int]]]:
        """Continue a prefix with one suffix a row; yield rows and new tokens as they finish."""
        lm = self._lm
        model: PreTrainedModel = lm.model
        rows, width = len(suffixes), max(map(len, suffixes))
        padding_B1 = np.array([[width - len(suffix)] for suffix in suffixes])
        columns = np.arange(width)
        ids_BT = np.array([(0,) * (width - len(suffix)) + suffix for suffix in suffixes])
        positions_BT = prefix + np.maximum(columns - padding_B1, 0)
        # Padding stands between the prefix and the suffix. It is seen by nothing but itself.
        visible_BTK = causal_visibility(width, prefix).repeat(rows, axis=0)
        visible_BTK[:, :, prefix:] &= (columns >= padding_B1)[:, None, :]
        visible_BTK[:, columns, prefix + columns] = True
        capacity = prefix + width + max(most)
        keys_B1K = np.ones((rows, 1, capacity), dtype=bool)
        keys_B1K[:, 0, prefix : prefix + width] = columns >= padding_B1

        cache = growing_cache(states, rows, capacity)
        mask_B1TK = additive_mask(visible_BTK, model.dtype, lm.device)
        hidden = final_hidden_states(model.base_model, ids_BT, positions_BT, mask_B1TK, cache)
        step_mask_B11K = additive_mask(keys_B1K, model.dtype, lm.device)
        next_position_B1 = torch.from_numpy(positions_BT[:, -1:]).to(lm.device) + 1
        length = prefix + width

        stops = _StopStrings(lm, decoding.until)
        new: list[list[int]] = [[] for _ in suffixes]
        # Row of the batch in each row of the cache; finished ones stay until there are enough.
        held = list(range(rows))
        active = set(held)
        while True:
            with torch.no_grad():
                tokens_B, highest_B = chooser.choose(logits_of(model, hidden[:, -1]), held)
            for row, token, logit in zip(held, tokens_B.tolist(), highest_B.tolist(), strict=True):
                if row in active:
                    if not math.isfinite(logit):
                        raise NotFiniteError(str(model.dtype), row)
                    new[row].append(token)
            ended = {
                row for row in active if new[row][-1] in self._ends or len(new[row]) >= most[row]
            }
            ended |= stops.found({row: new[row] for row in active - ended})
            for row in sorted(ended):
                yield row, new[row]
            active -= ended
            if not active:
                return
            if len(active) <= 0.8 * len(held):
                keep = [k for k, row in enumerate(held) if row in active]
                held = [held[k] for k in keep]
                index = torch.tensor(keep, device=lm.device)
                for layer in cache.layers:
                    layer.keep_rows(index)
                tokens_B, step_mask_B11K = tokens_B[index], step_mask_B11K[index]
                next_position_B1 = next_position_B1[index]
            length += 1
            hidden = final_hidden_states(
                model.base_model,
                tokens_B[:, None],
                next_position_B1,
                step_mask_B11K[..., :length],
                cache,
            )
            next_position_B1 = next_position_B1 + 1


class _StopStrings:
    """Looks for stop strings at the end of what was generated, as lm-eval does.

    Parameters
    ----------
    lm : lm_eval.models.huggingface.HFLM
        The model whose tokenizer turns tokens into text.
    until : list of str
        The stop strings.
    """

    def __init__(self, lm: HFLM, until: list[str]) -> None:
        self._tokenizer = lm.tokenizer
        self._until = until
        # The same string may come in another tokenization, hence lm-eval's two tokens more.
        self._tail = 2 + max(
            (len(self._tokenizer.encode(stop, add_special_tokens=False)) for stop in until),
            default=0,
        )

    def found(self, generated: dict[int, list[int]]) -> set[int]:
        """Keys of the token lists that end in, or shortly after, a stop string."""
        if not generated:
            return set()
        tails = self._tokenizer.batch_decode([g[-self._tail :] for g in generated.values()])
        return {
            key
            for key, tail in zip(generated, tails, strict=True)
            if any(stop in tail for stop in self._until)
        }
