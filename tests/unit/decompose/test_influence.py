"""Layers by their block influence: against hooks on the whole model, and as a file."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tiny
import torch
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml, write_json
from lowrank.decompose.influence import write_influence
from lowrank.decompose.loading import load_base
from lowrank.decompose.moments import Moments, moments_file, write_moments
from lowrank.decompose.walk import gather_moments
from lowrank.project.schema import checked
from lowrank.project.studies import order_by_influence
from lowrank.space.architecture import Architecture

ARCHITECTURE = Architecture.from_config(tiny.ARCHITECTURE)
SCHEMA = read_yaml("config/schemas/influence.schema.yaml")


@pytest.fixture
def manifest(tmp_path):
    write_json(tmp_path / "base.json", {"files": {"config.json": "0"}, "source": "test"})
    return tmp_path / "base.json"


def some_moments(folder, influences):
    own = Moments(np.eye(2), np.zeros(2), np.ones(2), 3)
    for layer, influence in enumerate(influences, 1):
        write_moments(folder / moments_file(layer), {"q": own}, layer, influence)


def test_the_least_influential_stand_first_and_of_equal_ones_the_first(tmp_path, manifest):
    some_moments(tmp_path, [0.5, 0.25, 0.1, 0.2500001])
    output = tmp_path / "made.yaml"
    write_influence(tmp_path, 4, "tiny", "prose", manifest, output)
    found = checked(SCHEMA, read_yaml(output), "made")
    influence = {int(layer): share for layer, share in found["influence"].items()}
    assert list(influence.items()) == [(3, 0.1), (2, 0.25), (4, 0.25), (1, 0.5)]
    assert order_by_influence(influence, ARCHITECTURE) == [3, 2, 4, 1]
    assert found["calibration"] == "prose" and found["provenance"]["model_source"] == "test"


def test_every_layer_even_the_last_is_measured_before_the_last_norm(tmp_path, manifest):
    """What transformers calls the last hidden state is normalised: it has another cosine."""
    weights = tiny.save_model(tmp_path / "weights")
    tokens = np.random.default_rng(0).integers(2, 250, size=(6, 12), dtype=np.int32)
    gather_moments(weights, ARCHITECTURE, tokens, tmp_path / "moments")
    model, cosines = load_base(weights, "float32"), {}
    with torch.no_grad():  # another norm, so that it cannot pass for none
        model.model.norm.weight.copy_(torch.linspace(-1, 2, 32))
    for layer, module in enumerate(model.model.layers, 1):
        module.register_forward_hook(
            lambda _, given, after, layer=layer: cosines.update(
                {layer: float(torch.cosine_similarity(given[0], after, dim=-1).mean())}
            )
        )
    ids = torch.from_numpy(tokens.astype("int64"))
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    write_influence(tmp_path / "moments", 4, "tiny", "made", manifest, tmp_path / "made.yaml")
    found = read_yaml(tmp_path / "made.yaml")["influence"]
    assert found == {
        str(layer): pytest.approx(1 - cosine, abs=1e-5) for layer, cosine in cosines.items()
    }
    normalised = 1 - float(torch.cosine_similarity(states[-2], states[-1], dim=-1).mean())
    assert abs(normalised - found["4"]) > 0.01


def test_moments_of_another_layer_are_refused(tmp_path, manifest):
    some_moments(tmp_path, [0.5, 0.2])
    (tmp_path / moments_file(1)).rename(tmp_path / moments_file(2))
    some_moments(tmp_path, [0.5])
    with pytest.raises(LowrankError, match=r"layer-2.*\(it holds layer 1, not 2\): delete it"):
        write_influence(tmp_path, 2, "tiny", "prose", manifest, tmp_path / "made.yaml")
    with pytest.raises(LowrankError, match=r"layer-3.*is not a readable file of moments"):
        some_moments(tmp_path, [0.5, 0.2])
        write_influence(tmp_path, 3, "tiny", "prose", manifest, tmp_path / "made.yaml")
    assert not (tmp_path / "made.yaml").exists()


def test_the_script_writes_the_file(tmp_path, manifest):
    some_moments(tmp_path, [0.4, 0.3, 0.2, 0.1])
    given = {
        "model": "tiny",
        "moments": tmp_path,
        "calibration": "prose",
        "base-manifest": manifest,
        "output": tmp_path / "made.yaml",
        "architecture": json.dumps(tiny.ARCHITECTURE),
    }
    arguments = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "workflow/scripts/order_layers.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": "workflow"})
    assert done.returncode == 0, done.stderr
    assert list(read_yaml(tmp_path / "made.yaml")["influence"]) == ["4", "3", "2", "1"]
