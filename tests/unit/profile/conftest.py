"""The tiny model that profiles are taken of."""

import pytest
import torch
from lowrank.decompose.loading import load_base
from tiny import save_model


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Other tests run beside these: threads that wait for each other would take seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def dense(weights):
    return load_base(weights, "float32")
