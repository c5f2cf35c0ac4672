import pytest
import tiny
from lowrank.base.files import write_json
from lowrank.decompose.compressed import compress
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition

ARCHITECTURE = Architecture.from_config(tiny.ARCHITECTURE)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A tiny model with its manifest, compressed in both forms and not at all."""
    made = tmp_path_factory.mktemp("quantize")
    tiny.save_model(made / "weights")
    write_json(made / "manifest.json", {"files": {"config.json": "0"}, "source": "test"})
    layers = {}
    for layer in (1, 3):
        layers[layer] = made / f"svd-{layer}.safetensors"
        factorize_layer(made / "weights", ARCHITECTURE, layer, 8, "svd", layers[layer])
    decompositions = {
        "dense": Decomposition.from_name(ARCHITECTURE, "dense"),
        "pairs": Decomposition.make(ARCHITECTURE, [1, 3], method="svd", rank=5),
        "pivoted": Decomposition.make(ARCHITECTURE, [1, 3], method="svd", rank=5, form="pivoted"),
    }
    for name, one in decompositions.items():
        compress(ARCHITECTURE, "tiny", made / "manifest.json", one, layers, made / name)
    return made
