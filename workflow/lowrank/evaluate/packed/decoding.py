"""How each new token is chosen, and when a text ends.

A sampled text must not depend on what is computed beside it, or on when. So each text has random
numbers of its own: they follow from the seed, the number of the sample and the tokens of the
context, one for each new token.

Shape suffixes: ``B`` rows, ``V`` vocabulary, ``K`` likeliest tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

__all__ = ["Chooser", "Decoding", "Sampling", "can_sample", "nucleus_token", "plain_greedy"]

LIKELIEST = 512
"""So many of the likeliest tokens are looked at first; all of them only where these are too few."""

# Settings of a generation configuration that do not touch greedy decoding as lm-eval asks for it.
_HARMLESS_SETTINGS = frozenset(
    {
        "_from_model_config",
        "bos_token_id",
        "do_sample",
        "eos_token_id",
        "max_length",
        "min_p",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "temperature",
        "top_k",
        "top_p",
        "transformers_version",
        "typical_p",
        "use_cache",
    }
)
_SEEDED = frozenset(
    {
        *("until", "max_gen_toks", "max_length", "do_sample"),
        *("temperature", "top_p", "seed", "sample"),
    }
)


def plain_greedy(lm: HFLM, settings: dict[str, Any]) -> bool:
    """Whether generation settings amount to greedy decoding with stop strings.

    Parameters
    ----------
    lm : lm_eval.models.huggingface.HFLM
        The language model, whose own generation configuration counts too.
    settings : dict
        Generation settings of a request.
    """
    settings = dict(normalize_gen_kwargs(settings, lm.max_gen_toks))
    harmless = {"until", "max_gen_toks", "do_sample", "temperature"}
    return (
        settings.keys() <= harmless
        and settings["do_sample"] is False
        and settings.get("temperature", 0.0) == 0.0
        and _is_plain(lm)
    )


def can_sample(lm: HFLM, settings: Mapping[str, Any]) -> bool:
    """Whether generation settings amount to seeded sampling with stop strings and no more."""
    return settings.keys() == _SEEDED and _is_plain(lm)


def _is_plain(lm: HFLM) -> bool:
    changed = lm.model.generation_config.to_diff_dict().keys()
    return lm.think_end_token is None and changed <= _HARMLESS_SETTINGS


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn.

    Attributes
    ----------
    temperature : float
        What logits are divided by; above 0.
    top_p : float
        Probability of the nucleus: the fewest likeliest tokens that have as much are drawn from.
    seed, sample : int
        What the random numbers follow from, beside the context.
    """

    temperature: float
    top_p: float
    seed: int
    sample: int

    def numbers(self, context: Sequence[int]) -> np.random.Generator:
        """Return the source of a text's random numbers: of each new token, its next `random()`."""
        named = json.dumps([self.seed, self.sample, [int(token) for token in context]])
        digest = hashlib.sha256(named.encode()).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


@dataclass(frozen=True)
class Decoding:
    """What generation settings ask for.

    Attributes
    ----------
    until : list of str
        Strings before which a text ends.
    new_tokens : int
        Most tokens of a text.
    max_length : int or None
        Most tokens of a context and its text together.
    sampling : Sampling or None
        How tokens are drawn; None for the likeliest one.
    """

    until: list[str]
    new_tokens: int
    max_length: int | None = None
    sampling: Sampling | None = None

    @classmethod
    def of(cls, lm: HFLM, settings: dict[str, Any]) -> Decoding:
        """Return the decoding of settings that `plain_greedy` or `can_sample` accepts."""
        end_text = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
        sampling, length = None, settings.get("max_length")
        if "sample" in settings:
            keys = ("temperature", "top_p", "seed", "sample")
            sampling = Sampling(*(settings[key] for key in keys))
        settings = normalize_gen_kwargs(settings, lm.max_gen_toks)
        until = handle_stop_sequences(settings["until"], eos=end_text)
        return cls(until, settings["max_gen_toks"], length, sampling)

    @property
    def room_for_text(self) -> int:
        """Tokens that must remain for a text beside the longest context."""
        return self.new_tokens if self.max_length is None else 1

    def most(self, context: Sequence[int]) -> int:
        """Return the most tokens of the text after a context."""
        if self.max_length is None:
            return self.new_tokens
        return max(0, min(self.new_tokens, self.max_length - len(context)))

    def chooser(self, contexts: Sequence[Sequence[int]]) -> Chooser:
        """Return what chooses the tokens of a batch, whose rows have these contexts."""
        return Chooser(self.sampling, contexts)


class Chooser:
    """Chooses the next token of each row of a batch.

    Parameters
    ----------
    sampling : Sampling or None
        How tokens are drawn; None for the likeliest one.
    contexts : sequence of sequences of int
        The tokens of each row's context.
    """

    def __init__(self, sampling: Sampling | None, contexts: Sequence[Sequence[int]]) -> None:
        self._sampling = sampling
        self._numbers = [] if sampling is None else [sampling.numbers(own) for own in contexts]

    def choose(
        self, logits_BV: torch.Tensor, rows: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the token of each row, and its highest logit.

        Parameters
        ----------
        logits_BV : torch.Tensor
            Logits of the next token.
        rows : sequence of int
            Which rows of the batch they are of.
        """
        highest_B, tokens_B = logits_BV.max(-1)
        if self._sampling is None or not bool(highest_B.isfinite().all()):
            return tokens_B, highest_B
        sampling, count = self._sampling, min(LIKELIEST, logits_BV.shape[-1])
        scaled_BV = logits_BV.double() / sampling.temperature
        probabilities_BV = scaled_BV.softmax(-1)
        likeliest_BK = probabilities_BV.topk(count, dim=-1)
        values_BK, indices_BK = (part.cpu().numpy() for part in likeliest_BK)
        chosen = []
        for place, row in enumerate(rows):
            number = self._numbers[row].random()
            token = nucleus_token(values_BK[place], indices_BK[place], sampling.top_p, number)
            if token is None:
                all_V = probabilities_BV[place].cpu().numpy()
                token = nucleus_token(all_V, np.arange(len(all_V)), sampling.top_p, number, True)
            chosen.append(token)
        return torch.tensor(chosen, device=logits_BV.device), highest_B


def nucleus_token(
    probabilities: np.ndarray,
    tokens: np.ndarray,
    top_p: float,
    number: float,
    are_all: bool = False,
) -> int | None:
    """Return the token that a random number draws from the nucleus (Holtzman et al., 2020).

    The nucleus has the fewest likeliest tokens whose probabilities add up to `top_p` or more, of
    equal ones those with lower numbers. The number draws by their probabilities, in that order.

    Parameters
    ----------
    probabilities : numpy.ndarray of float64, shape (K,)
        Probabilities of the likeliest tokens.
    tokens : numpy.ndarray of int, shape (K,)
        Which tokens they are of.
    top_p : float
        Above 0, and up to 1.
    number : float
        At least 0, and below 1.
    are_all : bool
        Whether there are no other tokens.

    Returns
    -------
    int or None
        The token; None if the nucleus may hold tokens that are not among these.
    """
    order = np.lexsort((tokens, -probabilities))
    ordered_K = probabilities[order]
    sums_K = np.cumsum(ordered_K)
    count = int(np.searchsorted(sums_K, top_p)) + 1  # sums that are below it, and one more
    if not are_all and (count > len(ordered_K) or ordered_K[count - 1] <= ordered_K[-1]):
        return None
    count = min(count, len(ordered_K))
    place = int(np.searchsorted(sums_K[:count], number * sums_K[count - 1], side="right"))
    return int(tokens[order[min(place, count - 1)]])
