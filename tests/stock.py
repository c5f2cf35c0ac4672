"""lm-eval's own HFLM, and requests to compare packed scoring with it."""

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from random_models import TOKENIZER


def stock(model, batch_size=3, **kwargs):
    return HFLM(
        pretrained=model, tokenizer=TOKENIZER, backend="causal", batch_size=batch_size, **kwargs
    )


def own_records(caplog):
    return [record for record in caplog.records if record.name.startswith("lowrank")]


def instances(pairs, kind="loglikelihood"):
    return [Instance(kind, {}, pair, k) for k, pair in enumerate(pairs)]


SPREAD = 3e-5
"""What stock log-likelihoods in float32 differ by between batch sizes, on real models; on these
tiny ones it is a tenth of it."""


def assert_same(actual, expected, tolerance=SPREAD):
    assert len(actual) == len(expected)
    for (value, greedy), (expected_value, expected_greedy) in zip(actual, expected, strict=True):
        assert type(value) is float
        assert type(greedy) is bool
        # Stock adds up in float32, which for hundreds of nats is coarser than the spread.
        rounding = abs(expected_value) * 2**-23
        assert value == pytest.approx(expected_value, abs=max(tolerance, rounding))
        assert greedy == expected_greedy


def compare(lm, pairs, **kwargs):
    requests = instances(pairs)
    expected = stock(lm.model, **kwargs).loglikelihood(requests, disable_tqdm=True)
    actual = lm.loglikelihood(requests, disable_tqdm=True)
    assert_same(actual, expected)
    return actual


CPU_OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"

SHOTS = "Q: the sky\nA: blue\n\nQ: the dog\nA: lazy\n\n"
CONTEXTS = [f"{SHOTS}Q: {q}\nA:" for q in ("fox", "the quick fox", "cat", "mat mat mat", "fox")]


def generation_requests(contexts, **settings):
    return instances([(context, dict(settings)) for context in contexts], "generate_until")
