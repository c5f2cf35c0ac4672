"""What is measured of every causal family is its forward pass, with and without a window."""

import pytest
import tiny_families
import torch
from lowrank.decompose.compressed import compress
from lowrank.decompose.loading import load_base, load_compressed_beside
from lowrank.profile.iteration import make_work, output_is_finite
from lowrank.profile.workloads import Workload, make_prompt
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from tiny_families import DECODERS, WINDOWS, config_of

KINDS = {name: config_of(name) for name in DECODERS}
KINDS["mistral with a window"] = config_of("mistral", sliding_window=5)
KINDS["qwen2 with windows"] = config_of("qwen2", **WINDOWS)
KINDS["gemma2 with windows"] = config_of("gemma2", sliding_window=5)
KINDS["gemma3_text with windows"] = config_of("gemma3_text", sliding_window=5)


@pytest.fixture(scope="module", params=KINDS)
def models(request, tmp_path_factory):
    """A dense model, and beside it the same without its second layer."""
    config = KINDS[request.param]
    folder = tiny_families.save(tmp_path_factory.mktemp("base"), config)
    architecture = Architecture.from_config(config)
    chosen = Decomposition.make(architecture, [2], method="drop")
    compress(architecture, "tiny", folder / "manifest.json", chosen, {}, folder / "made")
    dense = load_base(folder / "weights", "float32")
    return dense, load_compressed_beside(dense, folder / "made", "float32")


def heads_outputs(model, workload):
    """Logits of the last places of each pass of one iteration, (B, V) each, and the bytes kept."""
    kept = []
    work = make_work(model, workload, 3)
    hook = model.register_forward_hook(lambda *given: kept.append(given[-1].logits[:, -1]))
    work.run()
    hook.remove()
    return kept, work.cache_bytes()


@torch.no_grad()
def test_prefill_of_a_padded_row_is_that_row_alone(models):
    workload = Workload("w", "prefill", (7, 12))
    ids_BT = torch.from_numpy(make_prompt(workload, 260, 3).ids_BT)
    for model in models:
        assert output_is_finite(model)
        (logits_BV,), _ = heads_outputs(model, workload)
        alone = model(ids_BT[:1, 5:], use_cache=False).logits[0, -1]
        torch.testing.assert_close(logits_BV[0], alone, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_decode_is_what_the_model_says_without_a_cache(models):
    workload = Workload("w", "decode", (8, 8), 4)
    for model in models:
        texts_BT = torch.from_numpy(make_prompt(workload, 260, 3).ids_BT)
        steps, kept = heads_outputs(model, workload)
        assert len(steps) == 4
        for logits_BV in steps:
            wanted_BV = model(texts_BT, use_cache=False).logits[:, -1]
            texts_BT = torch.cat([texts_BT, wanted_BV.argmax(-1, keepdim=True)], dim=1)
            wanted_BV = model(texts_BT, use_cache=False).logits[:, -1]
            torch.testing.assert_close(logits_BV, wanted_BV, rtol=1e-4, atol=1e-4)
        config, heads = model.config, 2
        size = getattr(config, "head_dim", None) or 8
        # (keys, values) x rows x heads x tokens x head size x bytes, of each layer that is there
        assert kept == config.num_hidden_layers * 2 * 2 * heads * 12 * size * 4
