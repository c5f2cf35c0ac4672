import math
import shutil

import pandas as pd
import pytest
import tiny
import torch
from lowrank.assets.training import Example
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, write_json
from lowrank.decompose.compressed import compress
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.loading import load_compressed
from lowrank.recover import job
from lowrank.recover.job import recover
from lowrank.recover.training import _Collator, phase_steps
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition

ARCHITECTURE = Architecture.from_config(tiny.ARCHITECTURE)

SETTINGS = {
    "trains": "lora",
    "lora": {"rank": 2, "alpha": 4, "dropout": 0.1},
    "order": "joint",
    "steps": 8,
    "epochs": None,
    "batch": 4,
    "length": 24,
    "learning_rate": 0.01,
    "schedule": "constant",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "clip": 1.0,
    "seed": 1,
    "dtype": "float32",
    "gradient_checkpointing": False,
    "dense_layers": [2],
    "held_out": 2,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny model, without and with factors."""
    folder = tmp_path_factory.mktemp("made")
    tiny.save_model(folder / "weights")
    write_json(folder / "manifest.json", {"files": {"config.json": "0"}, "source": "test"})
    for layer in (2, 3):
        file = folder / f"{layer}.safetensors"
        factorize_layer(folder / "weights", ARCHITECTURE, layer, 4, "svd", file)
    files = {layer: folder / f"{layer}.safetensors" for layer in (2, 3)}
    for name, layers in {"dense": [], "cut": [2, 3]}.items():
        own = Decomposition.make(ARCHITECTURE, layers, rank=4, method="svd")
        compress(ARCHITECTURE, "tiny", folder / "manifest.json", own, files, folder / name)
    return folder


@pytest.fixture(autouse=True)
def examples(monkeypatch):
    """What to train on: sequences that are easily learnt. A file's name is their number."""

    def read(path):
        return [
            Example(tuple(2 + (start + step) % 9 for step in range(20)), 1 + start % 3)
            for start in range(int(path.stem))
        ]

    monkeypatch.setattr(job, "read_examples", read)


def run(made, output, kind="cut", sizes=(18,), **settings):
    files = []
    for size in sizes:
        files.append(output.parent / f"{size}.x")
        files[-1].write_text("")
    recover(
        made / "weights",
        made / kind,
        "tuned",
        SETTINGS | settings,
        files,
        output,
        output.with_suffix(".work"),
    )
    return output


def weights_of(made, folder):
    model, _ = load_compressed(made / "weights", folder, "float32")
    return {
        name: module.weight.detach()
        for name, module in model.named_modules()
        if name.endswith("_proj") or name in ("lm_head", "model.embed_tokens")
    }


def changed(made, before, after):
    one, other = weights_of(made, made / before), weights_of(made, after)
    return {name for name in one if not torch.equal(one[name], other[name])}


def in_layers(*layers):
    """The linear layers of some layers, counted from 1."""
    return {
        ARCHITECTURE.module_path(layer, tensor)
        for layer in layers
        for tensor in ARCHITECTURE.tensors
    }


@pytest.mark.parametrize("kind", ["cut", "dense"])
@pytest.mark.parametrize("trains", ["lora", "factors"])
def test_a_model_learns(made, kind, trains, tmp_path):
    output = run(made, tmp_path / "out", kind, trains=trains)
    losses = pd.read_csv(output / "losses.csv")
    held_out = losses["held_out_loss"].dropna().to_numpy()
    assert held_out[-1] < 0.9 * held_out[0]
    assert (losses["phase"] == "1: all").all() and losses["step"].max() == 8
    manifest = read_json(output / "manifest.json")
    cut = read_json(made / kind / "manifest.json")
    assert manifest["decomposition"]["name"] == cut["decomposition"]["name"] + "+tuned"
    assert manifest["decomposition"]["after"] == ["tuned"]
    assert manifest["parameters"] == cut["parameters"]
    (record,) = manifest["recoveries"]
    assert record["steps"] == 8 and record["examples"][0]["examples"] == 16
    assert not (tmp_path / "out.work").exists()
    where = {"lora": in_layers(1, 2, 3, 4), "cut": in_layers(2, 3), "dense": in_layers(2)}
    expected = where["lora" if trains == "lora" else kind]
    assert changed(made, kind, output) == expected  # and nothing else
    sizes = {path: ARCHITECTURE.shape(tensor) for path, tensor in tensors_of(expected).items()}
    if (trains, kind) == ("factors", "cut"):
        assert record["trained_parameters"] == sum(4 * (out + in_) for out, in_ in sizes.values())
    if (trains, kind) == ("factors", "dense"):
        assert record["trained_parameters"] == sum(out * in_ for out, in_ in sizes.values())
    if (trains, kind) == ("lora", "dense"):
        assert record["trained_parameters"] == sum(2 * (out + in_) for out, in_ in sizes.values())


def tensors_of(paths):
    return {
        ARCHITECTURE.module_path(layer, tensor): tensor
        for layer in range(1, 5)
        for tensor in ARCHITECTURE.tensors
        if ARCHITECTURE.module_path(layer, tensor) in paths
    }


def test_equal_runs_make_equal_bytes(made, tmp_path):
    one, other = (run(made, tmp_path / name) for name in ("one", "other"))
    for name in ("factors.safetensors", "losses.csv", "manifest.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    another = run(made, tmp_path / "another", seed=2)
    assert (one / "factors.safetensors").read_bytes() != (
        another / "factors.safetensors"
    ).read_bytes()


class KilledError(Exception):
    pass


@pytest.mark.parametrize("trains", ["lora", "factors"])
@pytest.mark.parametrize("order", ["joint", "left_first"])
def test_a_killed_run_goes_on(made, trains, order, tmp_path, monkeypatch):
    """It ends in its fifth step of eight, and goes on from a checkpoint to the same bytes."""
    settings = {"trains": trains, "order": order, "sizes": (12, 14)}
    whole = run(made, tmp_path / "whole", **settings)
    steps = []

    def count(step):
        def counted(self, *given, **named):
            steps.append(len(steps))
            if len(steps) == 6 and "kill" in settings_of:
                raise KilledError
            return step(self, *given, **named)

        return counted

    settings_of = {"kill"}
    monkeypatch.setattr(
        job.train.__globals__["_Trainer"],
        "training_step",
        count(job.train.__globals__["Trainer"].training_step),
    )
    with pytest.raises(KilledError):
        run(made, tmp_path / "ended", **settings)
    assert (tmp_path / "ended.work").exists() and not (tmp_path / "ended").exists()
    settings_of.clear()
    ended = run(made, tmp_path / "ended", **settings)
    assert len(steps) < 6 + 8  # not from the beginning
    assert (ended / "factors.safetensors").read_bytes() == (
        whole / "factors.safetensors"
    ).read_bytes()
    assert (ended / "losses.csv").read_bytes() == (whole / "losses.csv").read_bytes()


def test_what_another_run_left_is_not_gone_on_with(made, tmp_path):
    (tmp_path / "out.work").mkdir()
    write_json(tmp_path / "out.work" / "state.json", {"settings": "others"})
    (tmp_path / "out.work" / "phase-1.safetensors").write_text("others")
    (tmp_path / "out.work" / "phase-1.json").write_text("[]")
    run(made, tmp_path / "out")


@pytest.mark.parametrize(
    ("order", "phases"),
    [("left_first", ["1: left", "2: right"]), ("right_first", ["1: right", "2: left"])],
)
def test_sides_are_trained_in_turn(made, order, phases, tmp_path):
    output = run(made, tmp_path / "out", order=order, steps=7, trains="factors")
    losses = pd.read_csv(output / "losses.csv")
    assert list(losses["phase"].unique()) == phases
    assert losses.groupby("phase")["step"].max().to_list() == [4, 3]
    assert changed(made, "cut", output) == in_layers(2, 3)
    same = run(made, tmp_path / "dense", "dense", order=order, steps=7, trains="factors")
    assert pd.read_csv(same / "losses.csv")["step"].to_list() == losses["step"].to_list()


def test_sets_are_trained_on_in_turn(made, tmp_path):
    output = run(made, tmp_path / "out", sizes=(9, 17), steps=None, epochs=2)
    losses = pd.read_csv(output / "losses.csv")
    assert list(losses["phase"].unique()) == ["1: all", "2: all"]
    assert losses.groupby("phase")["step"].max().to_list() == [4, 8]  # 8 and 16 by 4, twice


@pytest.mark.parametrize(
    ("examples", "batch", "epochs", "steps"), [(16, 4, 2, 8), (17, 4, 1, 5), (3, 4, 0.1, 1)]
)
def test_epochs_are_steps(examples, batch, epochs, steps):
    assert phase_steps(examples, batch, epochs) == steps


def test_a_recovery_on_top_of_another(made, tmp_path):
    first = run(made, tmp_path / "first")
    shutil.copytree(made / "weights", tmp_path / "weights")
    shutil.copytree(first, tmp_path / "cut")
    second = run(tmp_path, tmp_path / "second", trains="factors")
    manifest = read_json(second / "manifest.json")
    assert manifest["decomposition"]["after"] == ["tuned", "tuned"]
    assert len(manifest["recoveries"]) == 2
    one, other = weights_of(made, first), weights_of(made, second)
    path = ARCHITECTURE.module_path(1, "q")
    assert torch.equal(one[path], other[path])  # of the first recovery
    assert path in changed(made, "cut", second)


def test_gradient_checkpointing_changes_nothing_but_memory(made, tmp_path):
    one = run(made, tmp_path / "one", lora=SETTINGS["lora"] | {"dropout": 0.0})
    other = run(
        made,
        tmp_path / "other",
        lora=SETTINGS["lora"] | {"dropout": 0.0},
        gradient_checkpointing=True,
    )
    for path, weight in weights_of(made, one).items():
        torch.testing.assert_close(weight, weights_of(made, other)[path], rtol=1e-4, atol=1e-5)


def test_a_loss_that_is_not_finite_is_one_line(made, tmp_path):
    with pytest.raises(LowrankError, match="not finite"):
        run(made, tmp_path / "out", learning_rate=1e30, clip=1e30, trains="factors")


@pytest.mark.parametrize(("size", "held_out"), [(2, 2), (5, 9)])
def test_too_few_examples_are_refused(made, size, held_out, tmp_path):
    with pytest.raises(LowrankError, match="nothing is left to train on"):
        run(made, tmp_path / "out", sizes=(size,), held_out=held_out)


def test_a_batch_is_filled_up_where_nothing_counts():
    batch = _Collator(7)([Example((3, 4, 5), 2), Example((6, 8))])
    assert batch["input_ids"].tolist() == [[3, 4, 5], [6, 8, 7]]
    assert batch["labels"].tolist() == [[-100, -100, 5], [-100, 8, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_the_first_loss_is_the_models_own(made, tmp_path):
    """Of the held-out examples: the mean over what is to be predicted, by plain torch."""
    output = run(made, tmp_path / "out", held_out=2, batch=2)
    model, _ = load_compressed(made / "weights", made / "cut", "float32")
    nats = count = 0
    for example in job.read_examples(tmp_path / "18.x")[-2:]:
        tokens = torch.tensor(example.tokens)
        with torch.no_grad():
            log = model(tokens[None]).logits[0].log_softmax(-1)
        for place in range(example.first, len(tokens)):
            nats, count = nats - float(log[place - 1, tokens[place]]), count + 1
    losses = pd.read_csv(output / "losses.csv")
    found = losses["held_out_loss"].dropna().iloc[0]
    assert math.isclose(found, nats / count, rel_tol=1e-4)
