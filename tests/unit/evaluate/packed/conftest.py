"""Tiny models, scored with one thread."""

import pytest
import torch
from lowrank.evaluate.packed.lm import PackedLM
from random_models import TOKENIZER, make_model


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def model(request):
    return make_model(tie_word_embeddings=request.param)


@pytest.fixture(scope="module")
def packed(model):
    lm = PackedLM(model, TOKENIZER)
    assert lm.reason is None
    return lm
