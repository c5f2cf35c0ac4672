"""Quantizations of a tiny model, and what it answers."""

import pytest
import torch

INT8 = {"method": "int8", "block": 64}
NF4 = {"method": "nf4", "block": 64, "nested": False}
NESTED = NF4 | {"nested": True}
SPQR = {
    **{"method": "spqr_like", "fake": True, "bits": 4, "group": 16},
    **{"statistics_bits": 3, "statistics_group": 16, "outlier_threshold": 0.2},
}
ENTRIES = {"int8": INT8, "nf4": NF4, "nested": NESTED, "spqr": SPQR}
every = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)


@torch.no_grad()
def logits(model):
    return model(torch.arange(2, 40)[None]).logits
