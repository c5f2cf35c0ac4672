"""The probe as a job: the questions that are asked, what is kept of them, and the baseline's."""

import json

import pandas as pd
import pytest
import tiny
import tiny_bert
from lowrank.assets.choice import SUBSET, asking_order
from lowrank.base.files import read_json, read_yaml, write_json
from lowrank.decompose.compressed import compress
from lowrank.evaluate.encoder import evaluate
from lowrank.evaluate.metrics import probe
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition

RUN = {"seed": 3, "sampling": "random", "dtype": "float32", "device": "cpu"}
RUN |= {"scorer": "packed", "batch_size": 8}
ENTRY = read_yaml("config/benchmarks/sst2.yaml") | {
    "name": "sst2",
    "beside": {},
    "options": {"max_length": 60, "folds": 5},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("probe")
    architecture = Architecture.from_config(tiny_bert.ENCODER)
    tiny_bert.save_model(made / "weights", tiny_bert.ENCODER)
    write_json(made / "manifest.json", {"files": {}, "source": "test"})
    dense = Decomposition.make(architecture, [])
    compress(architecture, "tiny", made / "manifest.json", dense, {}, made / "dense")
    table = tiny_bert.sentence_rows(60)
    tiny.write_parquet(
        table.append_column(SUBSET, tiny.pa.array([""] * len(table))), made / "questions.parquet"
    )
    return made


def asked(folder, store, limit):
    """The bytes of samples and scores, and the result."""
    target = folder / f"{store}-{limit}"
    target.mkdir()
    files = [target / name for name in ("result.json", "samples.jsonl", "scores.csv")]
    settings = {"limit": limit, "block": 8, "seed": 3, "sampling": "random"}
    benchmarks = [{"entry": ENTRY, "settings": settings}]
    models = folder / "weights", folder / "dense"
    questions = [str(folder / "questions.parquet")]
    evaluate(*models, benchmarks, RUN, folder / store, *files, questions)
    return [path.read_bytes() for path in files[1:]], read_json(files[0])["benchmarks"]["sst2"]


def test_more_sentences_embed_the_new_ones_alone(folder, monkeypatch):
    embedded = []
    answer_questions = probe.answer_questions

    def counted(model, tokenizer, rows, *others):
        embedded.append(len(rows))
        return answer_questions(model, tokenizer, rows, *others)

    monkeypatch.setattr(probe, "answer_questions", counted)
    asked(folder, "grown", 24)
    assert sum(embedded) == 24
    grown, result = asked(folder, "grown", 48)
    assert sum(embedded) == 48
    fresh, _ = asked(folder, "fresh", 48)
    assert grown == fresh and sum(embedded) == 96
    assert result["questions"] == {"asked": 48, "available": 60}
    samples = [json.loads(line) for line in grown[0].splitlines()]
    assert sorted(asking_order([""] * 60, 3)[:48]) == [own["doc_id"] for own in samples]
    assert "embedding" not in samples[0]  # it is large, and the store has it
    scores = pd.read_csv(folder / "grown-48" / "scores.csv")
    assert scores["value"].mean() == pytest.approx(result["score"]["value"])
    assert set(scores["value"]) == {0.0, 1.0} and (scores["log_probability"] < 0).all()
