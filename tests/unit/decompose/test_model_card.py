"""What the card of a low-rank checkpoint says, and what it leaves out."""

import pytest
from lowrank.base.files import write_json
from lowrank.decompose.model_card import model_card

MANIFEST = {
    "model": "m",
    "decomposition": {
        "name": "svd_llm.prose-r3-l2-q+one_epoch",
        "method": "svd_llm",
        "layers": [2],
        "tensors": ["q"],
        "calibration": "prose",
        "form": "pairs",
        "after": ["one_epoch"],
    },
    "modules": {"x": {"rank": 3}},
    "parameters": {"dense": 2000, "compressed": 1500},
    "factors_sha256": "f",
    "provenance": {"model_source": "hub:m", "versions": {"torch": "2", "python": "3"}},
}
FACTS = {"class": "LlamaForCausalLM", "parameters": 1500, "bytes": 6000, "dtype": "float32"}


def result(path, value, questions=100, factors="f", metric="acc", interval=(0.2, 0.4)):
    score = {
        "value": value,
        "interval_95": list(interval),
        "questions": questions,
        "metric": metric,
    }
    made = {"benchmarks": {"arc": {"score": score}}, "provenance": {"factors_sha256": factors}}
    write_json(path, made)
    return path


def test_it_says_what_it_is_and_how_it_was_made():
    card = model_card(MANIFEST, FACTS, None, None)
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: text-generation\n")
    assert "This is m with 25.00% fewer parameters: 1,500 for 2,000." in card
    assert "6,000 bytes on the disk, in float32" in card
    assert "AutoModelForCausalLM.from_pretrained" in card
    for row in ("base | m, hub:m", "rank | 3", "calibration set | prose", "software | python 3, t"):
        assert f"| {row}" in card
    assert "| afterwards | one_epoch |" in card and "least error of the outputs" in card
    assert "It was not evaluated when this was written." in card


@pytest.mark.parametrize(
    ("name", "auto", "task"),
    [
        ("BertModel", "AutoModel", "feature-extraction"),
        ("BertForQuestionAnswering", "AutoModelForQuestionAnswering", "question-answering"),
    ],
)
def test_it_names_the_class_that_loads_it(name, auto, task):
    card = model_card(MANIFEST, FACTS | {"class": name}, None, None)
    assert f"import AutoTokenizer, {auto}\n" in card and f"pipeline_tag: {task}\n" in card


def test_more_parameters_are_not_called_fewer():
    assert "5.00% more parameters" in model_card(MANIFEST, FACTS | {"parameters": 2100}, None, None)


def test_scores_stand_beside_those_of_the_dense_model(tmp_path):
    own, dense = result(tmp_path / "own", 0.3), result(tmp_path / "dense", 0.5)
    card = model_card(MANIFEST, FACTS, own, dense)
    assert "| arc | Accuracy (%) | 30.00 | 20.00 to 40.00 | 100 | 50.00 |" in card
    assert "not evaluated" not in card


def test_what_cannot_be_compared_is_not(tmp_path):
    own, dense = result(tmp_path / "own", 0.3), result(tmp_path / "dense", 0.5, questions=99)
    assert "| 20.00 to 40.00 | 100 | – |" in model_card(MANIFEST, FACTS, own, dense)
    assert "| 100 | – |" in model_card(MANIFEST, FACTS, own, tmp_path / "nothing")


def test_scores_of_other_factors_are_left_out(tmp_path):
    other = result(tmp_path / "own", 0.3, factors="other")
    assert "It was not evaluated when this was written." in model_card(MANIFEST, FACTS, other, None)


def test_a_metric_that_is_not_known_here_stands_as_it_is(tmp_path):
    own = result(tmp_path / "own", 0.3, metric="my_metric,none")
    card = model_card(MANIFEST, FACTS, own, None)
    assert "| arc | my_metric,none | 0.30 | 0.20 to 0.40 | 100 | – |" in card
