"""Which tensors the memory of a model counts."""

import torch
from lowrank.decompose.loading import load_base, shared_copy
from lowrank.profile.memory import beside, weight_bytes
from lowrank.space.architecture import Architecture
from tiny import ARCHITECTURE, save_model

TINY_TIED = Architecture.from_config(ARCHITECTURE | {"tie_word_embeddings": True})


def test_weights_are_counted_once_where_they_are_tied(tmp_path):
    tied = load_base(save_model(tmp_path, tie_word_embeddings=True), "float32")
    buffers = sum(buffer.nbytes for buffer in tied.buffers())
    assert weight_bytes(tied) - buffers == 4 * TINY_TIED.parameters()


def test_a_pair_shares_what_its_models_have_in_common(weights):
    dense = load_base(weights, "float32")
    ours = shared_copy(dense)
    again = {id(tensor) for tensor in (*ours.parameters(), *ours.buffers())}
    assert again == {id(tensor) for tensor in (*dense.parameters(), *dense.buffers())}
    path = "model.layers.1.mlp.up_proj"
    ours.set_submodule(path, torch.nn.Linear(32, 48, bias=False))
    assert dense.get_submodule(path).weight is not ours.get_submodule(path).weight
    (alone_in_dense,) = beside(ours, [dense])
    assert alone_in_dense is dense.get_submodule(path).weight
