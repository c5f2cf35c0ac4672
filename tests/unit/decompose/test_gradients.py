"""Saliences: against autograd through the whole model, weights' gradients, and differences."""

import numpy as np
import pytest
import tiny
import tiny_bert
import torch
from lowrank.base.errors import LowrankError
from lowrank.decompose import gradients, walk
from lowrank.decompose.gradients import gather_gradients
from lowrank.decompose.loading import load_base
from lowrank.decompose.moments import moments_file
from lowrank.decompose.salience import read_salience, write_saliences
from lowrank.space.architecture import Architecture

TOKENS = np.random.default_rng(0).integers(2, 250, size=(5, 9), dtype=np.int32)
KINDS = {
    "mha": {"num_key_value_heads": 4},
    "gqa": {"num_key_value_heads": 2, "tie_word_embeddings": True},
}


@pytest.fixture(scope="module", params=KINDS)
def made(request, tmp_path_factory):
    """A model's weights and architecture, and its saliences in parts as small as they can be."""
    folder = tmp_path_factory.mktemp(request.param)
    config = tiny.ARCHITECTURE | KINDS[request.param]
    weights, architecture = folder / "weights", Architecture.from_config(config)
    tiny.save_model(weights, **config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "TOKENS_AT_ONCE", 18)  # batches of 2, 2 and 1 samples
        patch.setattr(gradients, "PREDICTIONS_AT_ONCE", 7)
        gather_gradients(weights, architecture, TOKENS, folder / "saliences")
    return weights, architecture, folder / "saliences"


def loss_of(model):
    """The mean loss over all predictions of all samples; transformers' own is in float32."""
    ids_ST = torch.from_numpy(TOKENS.astype("int64"))
    logs_STV = model(input_ids=ids_ST, use_cache=False).logits.log_softmax(dim=-1)
    return -logs_STV[:, :-1].gather(-1, ids_ST[:, 1:, None]).mean()


def saliences_of(folder, architecture):
    return {
        (layer, tensor): read_salience(folder / moments_file(layer), layer, tensor)
        for layer in range(1, architecture.layers + 1)
        for tensor in ("so", "d")
    }


def test_they_are_those_of_autograd_through_the_whole_model(made):
    """x · dL/dx by hooks, and w · dL/dw by ordinary gradients of the weights."""
    weights, architecture, folder = made
    found = saliences_of(folder, architecture)
    model, seen = load_base(weights, "float32").double(), {}
    for key in found:
        module = model.get_submodule(architecture.module_path(*key))
        module.register_forward_pre_hook(
            lambda _, given, key=key: (given[0].retain_grad(), seen.update({key: given[0]}))[0]
        )
    ids_ST = torch.from_numpy(TOKENS.astype("int64"))
    theirs = model(input_ids=ids_ST, labels=ids_ST, use_cache=False).loss
    loss = loss_of(model)
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-5)
    loss.backward()
    for key, salience_I in found.items():
        by_hooks = (seen[key] * seen[key].grad).sum(dim=(0, 1)).detach().numpy()
        weight_OI = model.get_submodule(architecture.module_path(*key)).weight
        by_weights = (weight_OI * weight_OI.grad).sum(dim=0).detach().numpy()
        scale = np.abs(by_hooks).max()
        assert scale > 1e-4
        assert np.allclose(by_weights, by_hooks, atol=1e-9 * scale)
        assert salience_I.dtype == np.float64
        assert np.allclose(salience_I, by_hooks, rtol=0, atol=2e-4 * scale)


def test_a_column_made_smaller_changes_the_loss_as_its_salience_says(made):
    """By central differences of the loss: no gradient is computed."""
    weights, architecture, folder = made
    found, model, step = saliences_of(folder, architecture), load_base(weights, "float32"), 3e-3
    model = model.double()  # its norms compute in float32 all the same: the step is no smaller
    for key in [(1, "d"), (2, "so"), (4, "d")]:
        weight_OI = model.get_submodule(architecture.module_path(*key)).weight
        column = int(np.abs(found[key]).argmax())
        dense, losses = weight_OI.data[:, column].clone(), []
        with torch.no_grad():
            for factor in (1 + step, 1 - step):
                weight_OI.data[:, column] = factor * dense
                losses.append(float(loss_of(model)))
        weight_OI.data[:, column] = dense
        slope = (losses[0] - losses[1]) / (2 * step)
        assert slope == pytest.approx(found[key][column], rel=2e-3)


def test_parts_and_other_samples_change_nothing(made, tmp_path):
    """All at once is the same, and samples add up: none sees another, or padding."""
    weights, architecture, folder = made
    for name, rows in (("all", slice(None)), ("first", slice(2)), ("others", slice(2, None))):
        gather_gradients(weights, architecture, TOKENS[rows], tmp_path / name)
        left = sorted(path.name for path in (tmp_path / name).iterdir())
        assert left == [moments_file(layer) for layer in range(1, architecture.layers + 1)]
    whole = saliences_of(tmp_path / "all", architecture)
    first, others = (saliences_of(tmp_path / name, architecture) for name in ("first", "others"))
    for key, salience_I in saliences_of(folder, architecture).items():
        atol = 1e-4 * np.abs(salience_I).max()
        assert np.allclose(salience_I, whole[key], rtol=0, atol=atol)
        assert np.allclose(0.4 * first[key] + 0.6 * others[key], whole[key], rtol=0, atol=atol)


def test_what_predicts_nothing_is_refused(tmp_path):
    bert = Architecture.from_config(tiny_bert.BARE)
    with pytest.raises(LowrankError, match="whose task is 'encoder' predicts no next token"):
        gather_gradients(tmp_path, bert, TOKENS, tmp_path / "made")
    llama = Architecture.from_config(tiny.ARCHITECTURE)
    with pytest.raises(LowrankError, match="samples of one token"):
        gather_gradients(tmp_path, llama, TOKENS[:, :1], tmp_path / "made")


def test_saliences_come_back_from_their_file(tmp_path):
    path = tmp_path / "layer-2.safetensors"
    write_saliences(path, {"d": np.array([-0.5, 2.0])}, 2)
    assert read_salience(path, 2, "d").tolist() == [-0.5, 2.0]
    with pytest.raises(LowrankError, match=r"file of saliences \(it holds layer 2, not 3\)"):
        read_salience(path, 3, "d")
    with pytest.raises(LowrankError, match="not a readable file of saliences .*so"):
        read_salience(path, 2, "so")
    with pytest.raises(LowrankError, match="no finite gradients at layer 1, tensor d"):
        write_saliences(path, {"d": np.array([np.inf])}, 1)
