"""Apply the output head where a token is scored, and nowhere else.

Log-probabilities are taken in float32, whatever the model computes in.

Shape suffixes: ``N`` tokens of a pass, ``S`` scored tokens, ``U`` tokens of the pass that predict
one of them, ``M`` hidden size, ``V`` vocabulary.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from transformers import PreTrainedModel

from lowrank.running.soft_cap import SoftCap

__all__ = ["score_tokens"]


@torch.no_grad()
def score_tokens(
    model: PreTrainedModel, hidden_NM: torch.Tensor, places: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return log-probabilities of targets, and whether each is the most likely token.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The model whose output head is applied.
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
    head, cap = model.get_output_embeddings(), SoftCap(model.config)
    # The head wants many rows at a time, what follows wants few: on a CPU the logits in float32
    # should stay in the cache.
    on_cpu = device.type == "cpu"
    block = max(1, (2**20 if on_cpu else 2**29) // (4 * model.config.vocab_size))
    blocks = max(1, 256 // block) if on_cpu else 1
    bounds = np.searchsorted(inverse[order], np.arange(0, len(unique) + block, block))
    log_probabilities = np.empty(len(places), dtype=np.float32)
    greedy = np.empty(len(places), dtype=bool)
    refine = model.dtype.itemsize < 4 and type(head) is torch.nn.Linear
    many_logits_UV = None
    for n, (begin, end) in enumerate(itertools.pairwise(bounds)):
        if n % blocks == 0:
            many_logits_UV = None  # freed before the next are made
            many_logits_UV = head(hidden_UM[n * block : (n + blocks) * block])
        logits_UV = many_logits_UV[n % blocks * block :][:block]
        if cap.cap is not None:
            logits_UV = cap(logits_UV.float())
        which = order[begin:end]
        rows = torch.from_numpy(inverse[which] - n * block).to(device)
        columns = torch.from_numpy(targets[which]).to(device)
        scores_UV = torch.log_softmax(logits_UV, dim=-1, dtype=torch.float32)
        values = scores_UV[rows, columns]
        greedy[which] = (_first_largest(scores_UV)[rows] == columns).cpu().numpy()
        if refine:
            hidden_SM = hidden_UM[n * block + rows]
            values = _refined(values, logits_UV[rows, columns], hidden_SM, columns, head, cap)
        log_probabilities[which] = values.cpu().numpy()
        del logits_UV, scores_UV
    return log_probabilities, greedy


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
    cap: SoftCap,
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
    cap : SoftCap
        What the logits go through behind it.

    Returns
    -------
    torch.Tensor of float32, shape (S,)
        Log-probabilities from the targets' logits in float32.
    """
    exact = (hidden_SM.float() * head.weight[targets].float()).sum(-1)
    if head.bias is not None:
        exact += head.bias[targets].float()
    moved = values + (cap(exact) - logits.float())
    # The target's own term in the sum over the vocabulary changes with its logit; the others stay.
    others = torch.log(-torch.expm1(values))
    return moved - torch.logaddexp(others, moved)
