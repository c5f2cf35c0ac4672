"""The soft cap that some models put on their logits behind the head."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel


class SoftCap(nn.Module):
    """Keeps logits between -cap and cap: cap · tanh(logits / cap).

    Parameters
    ----------
    config
        The configuration of a causal language model. If it has no `final_logit_softcapping`, logits
        stay as they are.
    """

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__()
        self.cap: float | None = getattr(config, "final_logit_softcapping", None)

    def forward(self, logits: Tensor) -> Tensor:
        """Return the capped logits, in the number type of what is given."""
        return logits if self.cap is None else (logits / self.cap).tanh() * self.cap


def logits_of(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Return a model's logits of its final hidden states, (…, hidden size): (…, vocabulary)."""
    return SoftCap(model.config)(model.get_output_embeddings()(hidden))
