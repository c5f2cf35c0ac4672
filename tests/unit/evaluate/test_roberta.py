"""RoBERTa scored as an encoder: padding, types of tokens and reserved positions change nothing."""

import numpy as np
import pytest
import tiny
import tiny_bert
import tiny_families
import torch
from lowrank.assets.choice import SUBSET
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json, read_yaml
from lowrank.decompose.compressed import compress
from lowrank.decompose.layer_factors import factorize_layer
from lowrank.decompose.loading import load_compressed, load_tokenizer
from lowrank.evaluate.encoder import evaluate
from lowrank.evaluate.metrics import mrpc, squad
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from tiny_families import config_of

OPTIONS = {
    "mrpc": {"max_length": 30},
    "squad": {"max_length": 40, "stride": 10, "n_best": 5, "max_answer_length": 10},
}
CONFIGS = {
    "mrpc": config_of("roberta"),
    "squad": config_of("roberta", architectures=["RobertaForQuestionAnswering"]),
}
TABLES = {"mrpc": tiny_bert.pair_rows(12), "squad": tiny_bert.question_rows(6)}
ASKING = {"limit": 6, "block": 4, "seed": 3, "sampling": "random", "max_new_tokens": None}
RUN = {"dtype": "float32", "device": "cpu", "scorer": "packed", "batch_size": 4}


@pytest.fixture(scope="module", params=CONFIGS)
def base(request, tmp_path_factory):
    """A tiny model with its second layer decomposed, and the name of its benchmark."""
    config = CONFIGS[request.param]
    folder = tiny_families.save(tmp_path_factory.mktemp("roberta"), config)
    architecture = Architecture.from_config(config)
    factors = {2: folder / "2.safetensors"}
    factorize_layer(folder / "weights", architecture, 2, 3, "tucker", factors[2])
    chosen = Decomposition.make(architecture, [2], rank=3)
    compress(architecture, "tiny", folder / "manifest.json", chosen, factors, folder / "made")
    return request.param, folder


def loaded(folder):
    model, _ = load_compressed(folder / "weights", folder / "made", "float32")
    return model, load_tokenizer(folder / "weights")


def score(name, folder, options, output):
    table = TABLES[name].append_column(SUBSET, tiny.pa.array([""] * len(TABLES[name])))
    tiny.write_parquet(table, folder / "questions.parquet")
    entry = read_yaml(f"config/benchmarks/{name}.yaml") | {"name": name, "options": options}
    benchmarks = [{"entry": entry, "settings": ASKING}]
    settings = RUN | {"seed": 3, "sampling": "random"}
    outputs = [output / own for own in ("result.json", "samples.jsonl", "scores.csv")]
    inputs = (folder / "weights", folder / "made", benchmarks, settings, output / "answers")
    evaluate(*inputs, *outputs, [folder / "questions.parquet"])
    return read_json(outputs[0])


def test_it_is_scored_end_to_end(base, tmp_path):
    name, folder = base
    benchmark = score(name, folder, OPTIONS[name], tmp_path)["benchmarks"][name]
    assert benchmark["questions"]["asked"] == 6


def test_inputs_longer_than_what_it_reads_are_refused(base, tmp_path):
    """There are 64 positions, and the first is that of padding."""
    name, folder = base
    too_long = OPTIONS[name] | {"max_length": 64}
    with pytest.raises(LowrankError, match=r"may have 64 tokens, but tiny reads 63 at once"):
        score(name, folder, too_long, tmp_path)
    score(name, folder, too_long | {"max_length": 63}, tmp_path)


def test_padding_changes_no_answer(base):
    name, folder = base
    model, tokenizer = loaded(folder)
    rows = TABLES[name].to_pylist()
    module = {"mrpc": mrpc, "squad": squad}[name]
    together, alone = (
        module.answer_questions(model, tokenizer, rows, OPTIONS[name], size) for size in (5, 1)
    )
    if name == "squad":
        assert together == alone
    else:
        first, second = ([own["similarity"] for own in found] for found in (together, alone))
        assert np.allclose(first, second, atol=1e-5)


def test_embeddings_are_the_mean_over_real_tokens(tmp_path):
    folder = tiny_families.save(tmp_path, CONFIGS["mrpc"])
    architecture = Architecture.from_config(CONFIGS["mrpc"])
    dense = Decomposition.make(architecture, [])
    compress(architecture, "tiny", folder / "manifest.json", dense, {}, folder / "made")
    model, tokenizer = loaded(folder)
    texts = ["a b", "abcd efgh ijkl"]
    found = mrpc.embed(model, tokenizer, texts, 30, 2)
    for text, embedding_H in zip(texts, found, strict=True):
        ids = torch.tensor([tokenizer(text).input_ids])
        with torch.no_grad():
            mean_H = model(ids).last_hidden_state[0].mean(dim=0)
        assert torch.allclose(embedding_H, mean_H / mean_H.norm(), atol=1e-5)
