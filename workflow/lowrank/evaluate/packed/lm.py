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
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lowrank.evaluate.finite import NotFiniteError
from lowrank.evaluate.packed.decoding import can_sample, plain_greedy
from lowrank.evaluate.packed.greedy import GreedyGenerator
from lowrank.evaluate.packed.limits import attention_window, too_long_reason, unsupported_reason
from lowrank.evaluate.packed.passes import Passes
from lowrank.evaluate.packed.results import Request, Results
from lowrank.evaluate.stock import StockLM

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

__all__ = ["PackedLM"]

logger = logging.getLogger(__name__)


@register_model("packed")
class PackedLM(StockLM):
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
    **kwargs
        Further arguments of `HFLM`: ``max_length``, ``add_bos_token``, ``prefix_token_id``, ...

    Attributes
    ----------
    reason : str or None
        Why the model is left to `HFLM`; None if it is scored in packed rows.
    fallback : str or None
        Why requests so far were left to `HFLM`, the model's reason or that of some of them.
    passes : Passes
        The forward passes of the model.
    """

    def __init__(
        self,
        pretrained: PreTrainedModel | str,
        tokenizer: PreTrainedTokenizerBase | str | None = None,
        batch_tokens: int | None = None,
        batch_size: int | str = 16,
        **kwargs: Any,
    ) -> None:
        # In half precision a softmax over the vocabulary is off by whole tenths.
        options = {"backend": "causal", "softmax_dtype": "float32"} | kwargs
        super().__init__(
            pretrained=pretrained, tokenizer=tokenizer, batch_size=batch_size, **options
        )
        if batch_tokens is not None and batch_tokens < 1:
            raise ValueError(f"batch_tokens must be at least 1, not {batch_tokens}.")
        self.passes = Passes(self.model, batch_tokens)
        if self.mixed_precision_dtype is not None:
            self.reason = "mixed precision is left to lm-eval"
        else:
            self.reason = unsupported_reason(self.model)
        self.fallback = self.reason
        if self.reason is not None:
            logger.warning("Scoring with lm-eval's HFLM: %s.", self.reason)

    # ---- log-likelihoods ---------------------------------------------------------------------

    def _loglikelihood_tokens(
        self,
        requests: Sequence[Request],
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

        Raises
        ------
        NotFiniteError
            If a log-likelihood is not finite; it says the strings of the request.
        """
        requests = list(requests)
        if self._falls_back(max((len(r[1]) + len(r[2]) - 1 for r in requests), default=0)):
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        if not requests:
            return []
        results = Results(self.model, requests, self.max_length)
        answers: list[tuple[float, bool] | None] = [None] * len(requests)
        with (
            self._finding(requests),
            tqdm(
                total=len(requests),
                disable=disable_tqdm or self.rank != 0,
                desc="Running loglikelihood requests",
            ) as progress,
        ):
            for member in itertools.chain.from_iterable(self.passes.run(results)):
                of_member = results.answers(member)
                for request, answer in zip(results.requests_of(member), of_member, strict=True):
                    answers[request] = answer
                    if requests[request][0] is not None:
                        self.cache_hook.add_partial("loglikelihood", requests[request][0], answer)
                    progress.update(1)
        return answers

    @contextlib.contextmanager
    def _finding(self, requests: Sequence[Request]) -> Iterator[None]:
        """Let an error of the block name the one request that has no answer.

        A NaN reaches all sequences of its packed row, since what is masked counts 0 times NaN.
        So each is computed by itself until one has none.
        """
        try:
            yield
        except NotFiniteError as error:
            alone = Passes(self.model, self.passes.cost.batch_tokens)
            first, *_ = suspects = error.asked
            for suspect in suspects:
                try:
                    list(alone.run(Results(self.model, [requests[suspect]], self.max_length)))
                except NotFiniteError:
                    first = suspect
                    break
            raise error.told(asked=requests[first][0]) from None

    # ---- generation --------------------------------------------------------------------------

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generate until a stop string, the end of the text or the token limit.

        A prefix that many contexts share (few-shot examples) is computed once. Requests that
        ask for anything but plain greedy decoding, or sampling by a seed, are left to `HFLM`.

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
        if reason is None and not all(
            plain_greedy(self, r.args[1]) or can_sample(self, r.args[1]) for r in requests
        ):
            self.fallback = reason = "generation settings other than plain greedy decoding"
            logger.warning("Generating with lm-eval's HFLM: %s.", reason)
        if reason is not None or self._falls_back(self._longest_generation(requests), "generating"):
            return super().generate_until(requests, disable_tqdm=disable_tqdm)
        generator = GreedyGenerator(self)
        with self.naming(requests):
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

    def _falls_back(self, longest: int, verb: str = "scoring") -> bool:
        """Whether sequences of up to `longest` tokens are left to `HFLM`."""
        if self.reason is not None:
            return True
        reason = too_long_reason(self.model, min(longest, self.max_length))
        if reason is not None:
            self.fallback = reason
            logger.warning("%s with lm-eval's HFLM: %s.", verb.capitalize(), reason)
        return reason is not None
