"""Answers are finite numbers: what ends an evaluation of a model whose output is not.

float16 holds no number above 65504. Activations of a decomposed model can be larger. They turn
infinite, and further on NaN, which is neither more nor less than anything: a comparison of choices
would take the first one.

What is checked is what remains of the logits once they are reduced, so no logit is read twice. A
NaN or +inf among the logits of a token makes all of its log-probabilities NaN, and the largest
logit NaN or infinite. A logit of -inf does so for its own target alone. Elsewhere it changes
nothing: the lowest finite float16 has the probability 0 in float32, too. Finite logits have finite
log-probabilities in float32, so an infinite one always means that the model overflowed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lowrank.base.errors import LowrankError

REMEDIES = {
    "float16": "set `dtype: bfloat16` or `dtype: float32`",
    "bfloat16": "set `dtype: float32`",
}
"""From a number type to what to do where a model overflows in it."""

NO_REMEDY = "there is no wider `dtype`: leave this configuration out"


@dataclasses.dataclass(eq=False)
class NotFiniteError(LowrankError):
    """What a model computes is not finite, so that it has no answer.

    Whoever catches it adds what is known there: see `told`.

    Attributes
    ----------
    dtype
        What the model computes in: `float16` or `torch.float16`.
    asked
        What has no answer, as the code that raises it knows it: a place in a list, or a text.
    task, question
        The task, and the question's position in its data; empty and None while not known.
    configuration
        The model and its decomposition; empty while not known.
    """

    dtype: str
    asked: Any = None
    task: str = ""
    question: int | None = None
    configuration: str = ""

    def __str__(self) -> str:
        question = "a question" if self.question is None else f"question {self.question}"
        where = ", ".join(part for part in (self.configuration, self.task, question) if part)
        dtype = self.dtype.removeprefix("torch.")
        return f"{where}: the model's output is not finite in {dtype}; {remedy(dtype)}"

    def told_of(self, manifest: Mapping[str, Any], **known: Any) -> NotFiniteError:
        """Return the error with the configuration that a manifest is of, and more known."""
        name = f"{manifest['model']}, {manifest['decomposition']['name']}"
        return self.told(configuration=name, **known)

    def told(self, **known: Any) -> NotFiniteError:
        """Return the error with more of its attributes known."""
        return dataclasses.replace(self, **known)


def remedy(dtype: str) -> str:
    """Return what to do where a model overflows in a number type."""
    return REMEDIES.get(dtype, NO_REMEDY)
