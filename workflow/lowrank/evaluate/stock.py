"""lm-eval's own model class, with a check that what it answers is finite."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.api.model import CacheHook
from lm_eval.models.huggingface import HFLM
from transformers import LogitsProcessor, LogitsProcessorList

from lowrank.base.errors import LowrankError
from lowrank.evaluate.finite import NotFiniteError

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

__all__ = ["StockLM"]


class StockLM(HFLM):
    """lm-eval's `HFLM`. It answers the same, or ends where an answer would not be finite.

    Log-likelihoods are checked as they come, batch by batch, and never reach a cache. In greedy
    generation the largest logit of each new token is checked, since it decides.

    Parameters
    ----------
    *args, **kwargs
        Those of `HFLM`.

    Raises
    ------
    NotFiniteError
        Of what answers requests: which task and question has no answer.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.set_cache_hook(self.cache_hook)

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Let each answer pass a check on its way to lm-eval's cache."""
        super().set_cache_hook(_FiniteAnswers(cache_hook, str(self.model.dtype)))

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each continuation, and whether it is the greedy one."""
        with self.naming(requests):
            return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Return the log-likelihood of each whole text."""
        with self.naming(requests):
            return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the text that follows each context.

        Raises
        ------
        LowrankError
            If one is to be sampled by a seed of its own, which lm-eval's class cannot.
        """
        if any("sample" in request.args[1] for request in requests):
            raise LowrankError(
                "texts are sampled by the scorer `packed` alone, and this model or the setting "
                "`scorer` leaves them to lm-eval's own class: leave the benchmark out"
            )
        with self.naming(requests):
            try:
                return super().generate_until(requests, disable_tqdm=disable_tqdm)
            except NotFiniteError as error:
                if not isinstance(error.asked, torch.Tensor):
                    raise
                contexts = [request.args[0] for request in requests]
                raise error.told(asked=self._context_of(error.asked, contexts)) from None

    @contextlib.contextmanager
    def naming(self, requests: Sequence[Instance]) -> Iterator[None]:
        """Let an error of the block name the task and the question of the request it is about."""
        try:
            yield
        except NotFiniteError as error:
            for request in requests:
                if error.asked in (request.args, request.args[0]) or len(requests) == 1:
                    known = {"task": request.task_name or "", "question": request.doc_id}
                    raise error.told(**known) from None
            raise

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], **generation_kwargs: Any
    ) -> torch.Tensor:
        check = LogitsProcessorList([_FiniteLogits(context, str(self.model.dtype))])
        return super()._model_generate(
            context, max_length, stop, logits_processor=check, **generation_kwargs
        )

    def _context_of(self, row_T: torch.Tensor, contexts: Sequence[str]) -> str | None:
        """Return the context that ends a row of tokens; the longest, if others end it, too."""
        found, most = None, 0
        for context in contexts:
            ids_T = self.tok_batch_encode([context])[0][0][-len(row_T) :]
            if len(ids_T) > most and row_T[-len(ids_T) :].equal(ids_T):
                found, most = context, len(ids_T)
        return found


class _FiniteAnswers(CacheHook):
    """A cache that takes no log-likelihood which is not finite."""

    def __init__(self, cache_hook: CacheHook, dtype: str) -> None:
        super().__init__(None)
        self._cache_hook, self._dtype = cache_hook, dtype

    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        """Keep an answer, if it is one."""
        if attr != "generate_until":
            value = res[0] if isinstance(res, tuple) else res
            if not math.isfinite(value):
                raise NotFiniteError(self._dtype, tuple(req))
        self._cache_hook.add_partial(attr, req, res)


class _FiniteLogits(LogitsProcessor):
    """Lets the logits of a new token pass if the largest of each row is finite."""

    def __init__(self, context_BT: torch.Tensor, dtype: str) -> None:
        self._context_BT, self._dtype = context_BT, dtype

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        is_finite_B = scores.amax(-1).isfinite()
        if not is_finite_B.all():
            row = int(is_finite_B.int().argmin())
            raise NotFiniteError(self._dtype, self._context_BT[row].cpu())
        return scores
