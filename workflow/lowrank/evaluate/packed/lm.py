"""Score lm-eval requests with every shared token computed once.

`PackedLM` is lm-eval's own `HFLM` (tokenization, truncation, prefix token, caching hooks) with
another way to run the model: the choices of a question, and questions that start alike, form a
prefix tree that is computed in packed rows (see `lowrank.evaluate.packed.tree`), and the output
head is applied only where a token is scored. Log-probabilities are taken in float32.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from tqdm import tqdm
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from lowrank.base.errors import is_out_of_memory
from lowrank.evaluate.journal import AnswerJournal
from lowrank.evaluate.packed.attention import (
    PrefixStates,
    additive_mask,
    build_tree_batch,
    causal_visibility,
    extendable_cache,
    final_hidden_states,
    prefix_states,
    shared_prefix_cache,
)
from lowrank.evaluate.packed.greedy import GreedyGenerator, plain_greedy
from lowrank.evaluate.packed.shared_states import SharedStates, StatesGoneError, StatesOfRun
from lowrank.evaluate.packed.tree import CostModel, PrefixTree, Row, Segment

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from lowrank.evaluate.requests import PreparedRequests

__all__ = ["PackedLM", "attention_window", "unsupported_reason"]

logger = logging.getLogger(__name__)

VERIFIED_MODEL_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""Architectures whose packed scores are tested against lm-eval's."""

VERIFIED_ROPE_TYPES = frozenset({"default", "linear", "llama3", "yarn"})
"""Rotary embeddings that depend on a token's position only, not on the length of the input."""

CPU_BATCH_BYTES = 4096
"""Tokens in a pass on a CPU times the bytes of a number: 1024 tokens in float32 and 2048 in
bfloat16 were fastest, enough to hide reading the weights and few enough for the caches."""

GPU_BATCH_TOKENS = 32768
"""Most tokens in a pass on a GPU; more brings nothing once the device is busy."""

_Request = tuple[tuple[str, str] | None, list[int], list[int]]


def attention_window(model: PreTrainedModel) -> int | None:
    """Length of the shortest sliding attention window in tokens; None if attention is full."""
    config = model.config
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None and "sliding_attention" not in layer_types:
        return None
    if getattr(config, "use_sliding_window", True) is False:
        return None
    return getattr(config, "sliding_window", None)


def unsupported_reason(model: PreTrainedModel) -> str | None:
    """Say why a model cannot be scored in packed rows.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model.

    Returns
    -------
    str or None
        The reason, or None if the configuration is supported. Whether its attention window is
        long enough depends on the requests and is left to the caller.
    """
    config = model.config
    if config.model_type not in VERIFIED_MODEL_TYPES:
        return f"model type {config.model_type!r} is not verified"
    layer_types = set(getattr(config, "layer_types", None) or ())
    if not layer_types <= {"full_attention", "sliding_attention"}:
        return f"layer types {sorted(layer_types)} are not verified"
    rope = getattr(config, "rope_parameters", None) or {}
    rope_type = rope.get("rope_type", "default")
    if rope_type not in VERIFIED_ROPE_TYPES:
        return f"rotary embedding {rope_type!r} depends on the length of the input"
    attention = getattr(config, "_attn_implementation", None)
    if attention not in ("sdpa", "eager"):
        return f"attention implementation {attention!r} takes no 4D mask"
    if model.get_output_embeddings() is None:
        return "the model has no output embeddings"
    return None


@dataclass(frozen=True)
class _Scored:
    """The scored tokens of one request.

    Attributes
    ----------
    first : int
        Depth of the token that predicts the first target.
    targets : list of int
        Tokens whose log-probability is wanted, one for each depth from `first` on.
    offset : int
        Place of the first result in the array of results.
    """

    first: int
    targets: list[int]
    offset: int


@register_model("packed")
class PackedLM(HFLM):
    """An lm-eval model that computes every shared token of its requests once.

    Results equal those of `HFLM` up to rounding; in half precision they are nearer to those of
    the float32 model, since log-probabilities are taken in float32. Models that cannot be scored
    in packed rows are handed to `HFLM`, with the reason in the log.

    Once this module is imported, lm-eval knows it as ``packed``, with the arguments of ``hf``::

        lm_eval.simple_evaluate(model="packed", model_args="pretrained=FOLDER", tasks=[...])

    Parameters
    ----------
    pretrained : transformers.PreTrainedModel or str
        A loaded causal language model, on its device; its linear layers may have been replaced,
        and decoder layers removed. Or what `HFLM` loads one from.
    tokenizer : transformers.PreTrainedTokenizerBase, optional
        The tokenizer of the model; by default the one that belongs to `pretrained`.
    batch_tokens : int, optional
        Tokens in one forward pass, padding included. By default measured on a GPU, and a fixed
        number on a CPU. Halved for good whenever memory runs out.
    batch_size : int
        Batch size of `HFLM` where it takes over.
    shared : SharedStates, optional
        Hidden states that the jobs of a run share; used on a CPU only.
    prepared : PreparedRequests, optional
        Requests that are tokenized already; others are tokenized as `HFLM` does.
    journal : AnswerJournal, optional
        Answers of a job that was killed; those of this one are added.
    **kwargs
        Further arguments of `HFLM`: ``max_length``, ``add_bos_token``, ``prefix_token_id``, ...

    Attributes
    ----------
    reason : str or None
        Why the model is left to `HFLM`; None if it is scored in packed rows.
    fallback : str or None
        Why requests so far were left to `HFLM`, the model's reason or that of some of them.
    journal : AnswerJournal or None
        The journal.
    """

    def __init__(
        self,
        pretrained: PreTrainedModel | str,
        tokenizer: PreTrainedTokenizerBase | str | None = None,
        batch_tokens: int | None = None,
        batch_size: int | str = 16,
        shared: SharedStates | None = None,
        prepared: PreparedRequests | None = None,
        journal: AnswerJournal | None = None,
        **kwargs: Any,
    ) -> None:
        # In half precision a softmax over the vocabulary is off by whole tenths.
        options = {"backend": "causal", "softmax_dtype": "float32"} | kwargs
        super().__init__(
            pretrained=pretrained, tokenizer=tokenizer, batch_size=batch_size, **options
        )
        if batch_tokens is not None and batch_tokens < 1:
            raise ValueError(f"batch_tokens must be at least 1, not {batch_tokens}.")
        self._cost: CostModel | None = None
        self._batch_tokens = batch_tokens
        self._shared = shared if self.device.type == "cpu" else None
        self._prepared = prepared
        self.journal = journal
        self._states: StatesOfRun | None = None
        # GPU kernels want rows of the mask that are a multiple of 16 bytes long.
        self._key_multiple = 8 if self.device.type == "cuda" else 1
        self.reason = unsupported_reason(self.model)
        if self.reason is None and self.mixed_precision_dtype is not None:
            self.reason = "mixed precision is left to lm-eval"
        if self.reason is None and not self._self_check():
            self.reason = "the model does not follow the mask and the position ids it is given"
        self.fallback = self.reason
        if self.reason is not None:
            logger.warning("Scoring with lm-eval's HFLM: %s.", self.reason)

    # ---- tokens ------------------------------------------------------------------------------

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Joint encoding of a context and its continuation, looked up where it was prepared."""
        known = self._prepared and self._prepared.pairs.get((context, continuation))
        return known or super()._encode_pair(context, continuation)

    def tok_batch_encode(
        self, strings: list[str], *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoding of contexts to continue, looked up where it was prepared."""
        known = self._prepared and len(strings) == 1 and self._prepared.contexts.get(strings[0])
        if not known or args or kwargs.get("truncation"):
            return super().tok_batch_encode(strings, *args, **kwargs)
        longest = kwargs.get("left_truncate_len") or len(known)
        ids_1T = torch.tensor([known[-longest:]])
        return ids_1T, torch.ones_like(ids_1T)

    # ---- log-likelihoods ---------------------------------------------------------------------

    def _loglikelihood_tokens(
        self,
        requests: Sequence[_Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """Score tokenized requests.

        Parameters
        ----------
        requests : sequence of ((str, str) or None, list of int, list of int)
            The strings (a key for lm-eval's cache), the tokens of the context and those of the
            continuation.
        disable_tqdm : bool
            Whether to leave out the progress bar.
        override_bs : int, optional
            Batch size, should `HFLM` take over.

        Returns
        -------
        list of (float, bool)
            Log-likelihood (natural logarithm) of each continuation, and whether every token of
            it is the most likely one.
        """
        requests = list(requests)
        if self._falls_back(max((len(r[1]) + len(r[2]) - 1 for r in requests), default=0)):
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        if not requests:
            return []

        sequences: list[list[int]] = []
        scored: list[_Scored] = []
        offset = 0
        for _, context, continuation in requests:
            if not context or not 0 < len(continuation) <= self.max_length:
                raise ValueError(
                    f"A request needs a context and a continuation of 1 to {self.max_length} "
                    f"tokens; these have {len(context)} and {len(continuation)}."
                )
            # The same truncation from the left as in HFLM.
            tokens = (context + continuation)[-(self.max_length + 1) :][:-1]
            if len(tokens) < len(context) + len(continuation) - 1:
                logger.warning(
                    "A request of %d tokens is cut from the left to the maximum length, %d.",
                    len(context) + len(continuation),
                    self.max_length,
                )
            sequences.append(tokens)
            scored.append(_Scored(len(tokens) - len(continuation), continuation, offset))
            offset += len(continuation)

        tree = PrefixTree(sequences)
        by_member: list[list[int]] = [[] for _ in tree.sequences]
        for request, member in enumerate(tree.index):
            by_member[member].append(request)

        results = _Results(tree, [[scored[r] for r in of] for of in by_member], offset)
        answers: list[tuple[float, bool] | None] = [None] * len(requests)
        key, known = self._known_answers(results)
        with tqdm(
            total=len(requests),
            disable=disable_tqdm or self.rank != 0,
            desc="Running loglikelihood requests",
        ) as progress:
            for members in self._run(results, known):
                new = {
                    member: known[member]
                    if member in known
                    else [results.answer(scored[request]) for request in by_member[member]]
                    for member in members
                }
                if self.journal is not None and not known.keys() >= new.keys():
                    self.journal.add(key, new)
                for member, of_member in new.items():
                    for request, answer in zip(by_member[member], of_member, strict=True):
                        answers[request] = answer
                        if requests[request][0] is not None:
                            self.cache_hook.add_partial(
                                "loglikelihood", requests[request][0], answer
                            )
                        progress.update(1)
        return answers

    def _known_answers(self, results: _Results) -> tuple[str, dict[int, list[tuple[float, bool]]]]:
        """Return the journal's name for these requests, and the answers that it holds."""
        if self.journal is None:
            return "", {}
        plan = [str(self.cost), results.tree.sequences, results.scored_tokens]
        key = self.journal.key(plan)
        known = self.journal.read(key)
        return key, {
            member: [(value, greedy) for value, greedy in answers]
            for member, answers in known.items()
        }

    def _run(self, results: _Results, known: Container[int] = ()) -> Iterator[list[int]]:
        """Compute all members of the tree that are not known; yield each batch once it is done.

        Batches are planned as if nothing were known, so that every sum rounds as it would have.
        """
        members = range(len(results.tree.sequences))
        waiting = {member for member in members if member not in known}
        if len(waiting) < len(members):
            yield [member for member in members if member not in waiting]
        planned = list(members)
        while waiting:
            plan = results.tree.plan(self.cost, planned)
            try:
                with self._sharing(results.tree, planned, plan, len(waiting) == len(planned)):
                    for done in self._run_segment(plan, None, results, waiting):
                        waiting.difference_update(done)
                        yield done
            except StatesGoneError as error:
                logger.warning("All layers are computed: %s", error)
                self._shared = None
                continue  # with the same passes
            except (MemoryError, RuntimeError) as error:
                if self.cost.batch_tokens <= 1 or not is_out_of_memory(error):
                    raise
                self._cost = self.cost.halved()
                logger.warning("Out of memory: %d tokens in a pass now.", self.cost.batch_tokens)
            # Outside of the handler, which keeps the tensors of the failed pass alive.
            if waiting and self.device.type == "cuda":
                torch.cuda.empty_cache()
            planned = sorted(waiting)

    @contextlib.contextmanager
    def _sharing(
        self, tree: PrefixTree, members: list[int], plan: Segment, whole: bool
    ) -> Iterator[None]:
        """Start from hidden states that another job computed, or keep them for others.

        They are numbered by pass: a plan that leaves passes out does without.
        """
        if self._shared is None or not whole:
            yield
            return
        key = (self.cost, [tree.sequences[member] for member in members])
        with self._shared.run(self.model, key, plan.padded_tokens) as self._states:
            try:
                yield
            finally:
                self._states = None

    def _run_segment(
        self,
        segment: Segment,
        states: PrefixStates | None,
        results: _Results,
        waiting: set[int],
    ) -> Iterator[list[int]]:
        """Compute a segment and those below it; yield each batch of members once it is done."""
        if waiting.isdisjoint(segment.members):
            return
        if segment.end > segment.start:
            states = self._run_path(segment.members, segment.start, segment.end, states, results)
        for batch in segment.batches:
            yield self._run_batch(batch, states, results, waiting)
        for child in segment.children:
            yield from self._run_segment(child, states, results, waiting)

    def _run_path(
        self,
        members: Sequence[int],
        start: int,
        end: int,
        states: PrefixStates | None,
        results: _Results,
    ) -> PrefixStates:
        """Compute the tokens between two depths that members share, no more at once than fit.

        Returns
        -------
        Keys and values of all tokens up to `end`.
        """
        cache = extendable_cache(states)
        sequence = results.tree.sequences[members[0]]
        for begin in range(start, end, self.cost.batch_tokens):
            depths = np.arange(begin, min(begin + self.cost.batch_tokens, end))
            hidden = self._hidden(
                np.array([sequence[begin : begin + len(depths)]]),
                depths[None],
                causal_visibility(len(depths), begin),
                cache,
            )
            results.score(self, hidden, dict.fromkeys(members, depths - begin), begin)
        return prefix_states(cache)

    def _run_batch(
        self, rows: list[Row], states: PrefixStates | None, results: _Results, waiting: set[int]
    ) -> list[int]:
        """Compute one batch of rows, unless nothing waits for it; return its members."""
        members = [member for row in rows for member in row.members]
        if waiting.isdisjoint(members):
            return []
        if len(members) == 1 and rows[0].tokens > self.cost.batch_tokens:
            start = rows[0].start
            self._run_path(members, start, start + rows[0].tokens, states, results)
            return members
        batch = build_tree_batch(results.tree, rows, self._key_multiple)
        cache = None if states is None else shared_prefix_cache(states)
        hidden = self._hidden(batch.input_ids_BT, batch.position_ids_BT, batch.visible_BTK, cache)
        results.score(self, hidden, batch.paths, rows[0].start)
        return members

    def _hidden(
        self,
        input_ids_BT: np.ndarray,
        position_ids_BT: np.ndarray,
        visible_BTK: np.ndarray,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """Final hidden states of one pass, (B * T, hidden size)."""
        mask_B1TK = additive_mask(visible_BTK, self.model.dtype, self.device)
        body, hidden_BTM = self.model.base_model, None
        if self._states is not None:
            hidden_BTM, body = self._states.next_pass(), self._states.body
        return final_hidden_states(
            body, input_ids_BT, position_ids_BT, mask_B1TK, cache, hidden_BTM
        ).flatten(0, 1)

    @torch.no_grad()
    def _score_tokens(
        self, hidden_NM: torch.Tensor, places: np.ndarray, targets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities of targets, and whether each is the most likely token.

        Parameters
        ----------
        hidden_NM : torch.Tensor
            Hidden states of a pass, one for each token.
        places : numpy.ndarray of int64, shape (S,)
            Indices into `hidden_NM` of the tokens that predict the targets.
        targets : numpy.ndarray of int64, shape (S,)
            The targets.

        Returns
        -------
        numpy.ndarray of float32, numpy.ndarray of bool, both of shape (S,)
        """
        device = hidden_NM.device
        unique, inverse = np.unique(places, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        hidden_UM = hidden_NM[torch.from_numpy(unique).to(device)]
        head = self.model.get_output_embeddings()
        # The head wants many rows at a time, what follows wants few: on a CPU the logits in float32
        # should stay in the cache.
        on_cpu = device.type == "cpu"
        block = max(1, (2**20 if on_cpu else 2**29) // (4 * self._vocabulary))
        blocks = max(1, 256 // block) if on_cpu else 1
        bounds = np.searchsorted(inverse[order], np.arange(0, len(unique) + block, block))
        log_probabilities = np.empty(len(places), dtype=np.float32)
        greedy = np.empty(len(places), dtype=bool)
        refine = self.model.dtype.itemsize < 4 and type(head) is torch.nn.Linear
        many_logits_UV = None
        for n, (begin, end) in enumerate(itertools.pairwise(bounds)):
            if n % blocks == 0:
                many_logits_UV = None  # freed before the next are made
                many_logits_UV = head(hidden_UM[n * block : (n + blocks) * block])
            logits_UV = many_logits_UV[n % blocks * block :][:block]
            which = order[begin:end]
            rows = torch.from_numpy(inverse[which] - n * block).to(device)
            columns = torch.from_numpy(targets[which]).to(device)
            scores_UV = torch.log_softmax(logits_UV, dim=-1, dtype=torch.float32)
            values = scores_UV[rows, columns]
            greedy[which] = (_first_largest(scores_UV)[rows] == columns).cpu().numpy()
            if refine:
                hidden_SM = hidden_UM[n * block + rows]
                values = _refined(values, logits_UV[rows, columns], hidden_SM, columns, head)
            log_probabilities[which] = values.cpu().numpy()
            del logits_UV, scores_UV
        return log_probabilities, greedy

    # ---- generation --------------------------------------------------------------------------

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generate greedily until a stop string, the end of the text or the token limit.

        A prefix that many contexts share (few-shot examples) is computed once. Requests that
        ask for anything but plain greedy decoding are left to `HFLM`.

        Parameters
        ----------
        requests : list of lm_eval.api.instance.Instance
            Their arguments are a context and generation settings.
        disable_tqdm : bool
            Whether to leave out the progress bar.

        Returns
        -------
        list of str
            The text generated for each request, without the stop string.
        """
        reason = self.reason
        if reason is None and not all(plain_greedy(self, r.args[1]) for r in requests):
            self.fallback = reason = "generation settings other than plain greedy decoding"
            logger.warning("Generating with lm-eval's HFLM: %s.", reason)
        if reason is not None or self._falls_back(self._longest_generation(requests), "generating"):
            return super().generate_until(requests, disable_tqdm=disable_tqdm)
        generator = GreedyGenerator(self, journal=self.journal)
        return generator.generate([r.args for r in requests], disable_tqdm)

    def _longest_generation(self, requests: list[Instance]) -> int:
        """Most tokens of a context and what may be generated after it; matters with a window."""
        if attention_window(self.model) is None:
            return 0
        return max(
            (
                self.tok_batch_encode([context], truncation=self.truncation)[0].shape[1]
                + normalize_gen_kwargs(settings, self.max_gen_toks)["max_gen_toks"]
                for context, settings in (request.args for request in requests)
            ),
            default=0,
        )

    # ---- limits ------------------------------------------------------------------------------

    def _falls_back(self, longest: int, verb: str = "scoring") -> bool:
        """Whether sequences of up to `longest` tokens are left to `HFLM`."""
        if self.reason is not None:
            return True
        window = attention_window(self.model)
        if window is not None and min(longest, self.max_length) > window:
            self.fallback = f"a sliding window of {window} tokens is shorter than a sequence"
            logger.warning("%s with lm-eval's HFLM: %s.", verb.capitalize(), self.fallback)
            return True
        return False

    @property
    def _vocabulary(self) -> int:
        """Number of logits."""
        return self.model.config.vocab_size

    @property
    def cost(self) -> CostModel:
        """Limits and costs of a forward pass on this device."""
        if self._cost is None:
            self._cost = self._make_cost()
        return self._cost

    def _make_cost(self) -> CostModel:
        """Derive the costs from the sizes of the model, and the limits from the device."""
        # The dense layer's sizes, whatever of it is decomposed: configurations that ask the same
        # are computed in the same passes, and can share them.
        config = self.model.config
        size = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        width = config.num_attention_heads * size
        keys = (getattr(config, "num_key_value_heads", None) or config.num_attention_heads) * size
        layer = config.hidden_size * (2 * width + 2 * keys + 3 * config.intermediate_size)
        # Two products of this width for each pair of tokens; a masked softmax on top.
        attention = 1.5 * 2 * width / layer
        if self.device.type == "cuda":
            try:
                batch_tokens = self._batch_tokens or self._measured_batch_tokens()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                batch_tokens = 256
            return CostModel(batch_tokens, min(batch_tokens, 2048), 512.0, attention, 32)
        batch_tokens = self._batch_tokens or CPU_BATCH_BYTES // self.model.dtype.itemsize
        # Reading the weights takes as long as computing this many tokens (measured).
        overhead = 16.0 if self.model.dtype == torch.float32 else 96.0
        return CostModel(batch_tokens, batch_tokens, overhead, attention, 8)

    def _measured_batch_tokens(self) -> int:
        """Tokens that fit into the free memory of the GPU, from the peaks of two small passes."""
        peaks: list[int] = []
        sizes = (1024, 4096)
        rows = 8
        for tokens in sizes:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            length = tokens // rows
            ids = np.ones((rows, length), dtype=np.int64)
            positions = np.broadcast_to(np.arange(length), ids.shape).copy()
            visible = np.broadcast_to(causal_visibility(length, 0), (rows, length, length))
            hidden = self._hidden(ids, positions, visible.copy())
            places = np.arange(tokens)
            self._score_tokens(hidden, places, np.zeros_like(places))
            del hidden
            peaks.append(torch.cuda.max_memory_allocated(self.device) - before)
        each = max(1.0, (peaks[1] - peaks[0]) / (sizes[1] - sizes[0]))
        free = torch.cuda.mem_get_info(self.device)[0]
        # Half of it: masks and prefixes are longer than in the trial, memory is fragmented.
        fits = int((free - peaks[0]) * 0.5 / each)
        # A power of two: free memory is never quite the same, and passes decide how sums round.
        return max(256, min(GPU_BATCH_TOKENS, 2 ** (max(1, fits).bit_length() - 1)))

    def _self_check(self) -> bool:
        """Whether a small packed row gives what the same sequences give one by one."""
        generator = np.random.default_rng(0)
        stem, left, right = (
            tuple(int(t) for t in generator.integers(0, self._vocabulary, n)) for n in (6, 3, 4)
        )
        tree = PrefixTree([stem + left, stem + right])
        depth = 4
        try:
            cache = extendable_cache(None)
            self._hidden(
                np.array([stem[:depth]]), np.arange(depth)[None], causal_visibility(depth, 0), cache
            )
            tokens = len(stem) + len(left) + len(right) - depth
            batch = build_tree_batch(tree, [Row((0, 1), depth, tokens)])
            packed = self._hidden(
                batch.input_ids_BT,
                batch.position_ids_BT,
                batch.visible_BTK,
                shared_prefix_cache(prefix_states(cache)),
            )
            # What stands behind a sequence changes nothing in it: attention is causal.
            width = max(map(len, tree.sequences))
            padded = [sequence + (0,) * (width - len(sequence)) for sequence in tree.sequences]
            with torch.no_grad():
                plain = self.model.base_model(
                    input_ids=torch.tensor(padded, device=self.device), use_cache=False
                ).last_hidden_state
            deviations = []
            for k, sequence in enumerate(tree.sequences):
                expected = plain[k, depth : len(sequence)].float()
                difference = packed[torch.from_numpy(batch.paths[k])].float() - expected
                deviations.append(float(difference.norm() / expected.norm()))
        except (TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            logger.warning("The trial of a packed row failed: %s", error)
            return False
        # A wrong mask or position changes the hidden states by about their own size.
        limit = 1e-3 if self.model.dtype == torch.float32 else 0.1
        return all(deviation < limit for deviation in deviations)  # a NaN is less than nothing


def _first_largest(scores_UV: torch.Tensor) -> torch.Tensor:
    """Index of the largest score of each row, the first of equal ones."""
    if scores_UV.device.type == "cpu":
        # NumPy's search is vectorised, unlike torch's.
        return torch.from_numpy(scores_UV.numpy().argmax(-1))
    return scores_UV.argmax(-1)


def _refined(
    values: torch.Tensor,
    logits: torch.Tensor,
    hidden_SM: torch.Tensor,
    targets: torch.Tensor,
    head: torch.nn.Linear,
) -> torch.Tensor:
    """Undo the rounding of the targets' logits to half precision.

    The rounding of one logit is most of what the output head adds to the error of a
    log-probability; in the sum over the vocabulary the errors cancel.

    Parameters
    ----------
    values : torch.Tensor of float32, shape (S,)
        Log-probabilities from rounded logits.
    logits : torch.Tensor, shape (S,)
        Rounded logits of the targets.
    hidden_SM : torch.Tensor
        Hidden states that predict the targets.
    targets : torch.Tensor of int64, shape (S,)
        The targets.
    head : torch.nn.Linear
        The output head.

    Returns
    -------
    torch.Tensor of float32, shape (S,)
        Log-probabilities from the targets' logits in float32.
    """
    exact = (hidden_SM.float() * head.weight[targets].float()).sum(-1)
    if head.bias is not None:
        exact += head.bias[targets].float()
    change = exact - logits.float()
    # The target's own term in the sum over the vocabulary changes with its logit.
    return values + change - torch.log1p(values.exp() * torch.expm1(change))


class _Results:
    """Scores of all requests as they come in.

    Parameters
    ----------
    tree : PrefixTree
        The token sequences.
    scored : list of list of _Scored
        For each sequence, what is scored on it.
    size : int
        Number of scored tokens.
    """

    def __init__(self, tree: PrefixTree, scored: list[list[_Scored]], size: int) -> None:
        self.tree = tree
        self._scored = scored
        self._log_probabilities = np.full(size, np.nan, dtype=np.float32)
        self._greedy = np.zeros(size, dtype=bool)

    @property
    def scored_tokens(self) -> list[list[tuple[int, list[int]]]]:
        """What is scored on each sequence: the place of the first target, and the targets."""
        return [[(one.first, one.targets) for one in scored] for scored in self._scored]

    def score(
        self,
        lm: PackedLM,
        hidden_NM: torch.Tensor,
        paths: dict[int, np.ndarray],
        start: int,
    ) -> None:
        """Score what the tokens of one pass predict.

        Parameters
        ----------
        lm : PackedLM
            The model.
        hidden_NM : torch.Tensor
            Hidden states of the pass, one for each token.
        paths : dict of int to numpy.ndarray
            For each sequence, the places of its tokens in `hidden_NM`, by depth from `start` on.
        start : int
            Depth of the first token of each path.
        """
        places: list[np.ndarray] = []
        targets: list[int] = []
        slots: list[np.ndarray] = []
        for member, path in paths.items():
            for scored in self._scored[member]:
                begin = max(scored.first, start)
                end = min(scored.first + len(scored.targets), start + len(path))
                if begin < end:
                    places.append(path[begin - start : end - start])
                    targets += scored.targets[begin - scored.first : end - scored.first]
                    slots.append(scored.offset - scored.first + np.arange(begin, end))
        if not places:
            return
        where = np.concatenate(slots)
        self._log_probabilities[where], self._greedy[where] = lm._score_tokens(
            hidden_NM, np.concatenate(places), np.array(targets, dtype=np.int64)
        )

    def answer(self, scored: _Scored) -> tuple[float, bool]:
        """Log-likelihood of a request and its greedy flag."""
        slots = slice(scored.offset, scored.offset + len(scored.targets))
        return (
            float(self._log_probabilities[slots].sum(dtype=np.float64)),
            bool(self._greedy[slots].all()),
        )
