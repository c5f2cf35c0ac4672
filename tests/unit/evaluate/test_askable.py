"""Questions that lm-eval would score without a word, or end on: said before any is asked."""

import contextlib
import json
import math

import pytest
import tiny
import tiny_benchmarks
from lowrank.assets.choice import SUBSET
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_yaml
from lowrank.evaluate.requests import prepare_requests
from tiny_benchmarks import ASKING, CASES, RUN
from transformers import PreTrainedTokenizerFast

ROWS = {name: of_subsets.get("") for name, of_subsets in CASES.items()}
PIQA = {
    "name": "piqa",
    "tasks": ["piqa"],
    "task_folder": "piqa",
    "metric": "acc",
    "generation": False,
}
PIQA_ROWS = [
    {
        "goal": tiny.words(index, 4),
        "sol1": tiny.words(index + 50, 3),
        "sol2": tiny.words(index + 90, 5),
        "label": index % 2,
    }
    for index in range(6)
]
LAMBADA = {
    "name": "lambada",
    "tasks": ["lambada_openai"],
    "task_folder": "lambada",
    "metric": {
        "name": "perplexity",
        "label": "Perplexity",
        "direction": "lower",
        "averaging": "perplexity",
    },
    "beside": {"acc": {"metric": "acc"}},
    "generation": False,
}


def entry(name, **changes):
    return {
        "generation": False,
        **read_yaml(f"config/benchmarks/{name}.yaml"),
        "name": name,
    } | changes


def table(rows):
    made = rows if isinstance(rows, tiny.pa.Table) else tiny.pa.Table.from_pylist(rows)
    return made.append_column(SUBSET, tiny.pa.array([""] * len(made)))


def changed(name, row, **columns):
    rows = ROWS[name].to_pylist()
    rows[row] |= columns
    return rows


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("model") / "weights")


def prepare(folder, weights, benchmark, rows, **changes):
    questions = tiny.write_parquet(table(rows), folder / "questions.parquet")
    settings = ASKING | {"limit": None} | changes
    prepare_requests(weights, questions, benchmark, settings, folder / "asked", folder / "made")


HIDDEN = {"text": ["a", "b", "", "d"], "label": list("ABCD")}
WITHOUT = {key: value for key, value in entry("gsm8k").items() if key != "exemplars"}


@pytest.mark.parametrize(
    ("benchmark", "rows", "message"),
    [
        (entry("winogrande"), changed("winogrande", 0, answer=""), "have they labels"),
        (entry("winogrande"), changed("winogrande", 3, answer=""), "question 3 of .*has it a lab"),
        (entry("arc_easy"), changed("arc_easy", 4, answerKey="E"), "question 4 of arc_easy cannot"),
        (entry("arc_easy"), changed("arc_easy", 4, choices=HIDDEN), "4 .* a choice 3 without text"),
        (entry("hellaswag"), changed("hellaswag", 5, label="-1"), "label '-1', which is none of"),
        (
            entry("hellaswag"),
            changed("hellaswag", 5, label=""),
            "hellaswag cannot read the questio",
        ),
        (entry("gsm8k"), changed("gsm8k", 2, answer=""), "question 2 of gsm8k has no answer"),
        (entry("gsm8k"), changed("gsm8k", 2, answer=None), "question 2 of gsm8k has no answer"),
        (
            PIQA,
            [{key: row[key] for key in ("goal", "sol1", "label")} for row in PIQA_ROWS],
            "piqa cannot read the questions .* There are goal, sol1, label",
        ),
        (PIQA, [row | {"goal": None} for row in PIQA_ROWS], "0 of piqa has no value in .*goal"),
        (PIQA, [row | {"label": -1} for row in PIQA_ROWS], "label -1, which is none of its 2"),
        (WITHOUT, ROWS["gsm8k"], "question 0 of gsm8k stands among the examples before it"),
    ],
)
def test_questions_that_cannot_be_asked(tmp_path, weights, benchmark, rows, message):
    with pytest.raises(LowrankError, match=message) as caught:
        prepare(tmp_path, weights, benchmark, rows)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "made").exists()


def test_an_example_that_is_asked_is_refused(tmp_path, weights):
    """The exemplars of chain-of-thought prompting, one of which is among the questions."""
    asked = "There are 15 trees in the grove. Grove workers will plant trees in the grove today."
    rows = changed("gsm8k", 2)
    prepare(tmp_path, weights, entry("gsm8k"), rows, max_new_tokens=8)
    (shown,) = {
        line["context"].partition("\n\n")[0]
        for line in tiny.pa.parquet.read_table(tmp_path / "made").to_pylist()
    }
    assert shown.startswith(f"Question: {asked}")
    question = shown.removeprefix("Question: ").partition("\nAnswer:")[0]
    (tmp_path / "made").unlink()
    with pytest.raises(LowrankError, match="question 2 of gsm8k stands among the examples"):
        prepare(tmp_path, weights, entry("gsm8k"), changed("gsm8k", 2, question=f" {question}"))


def test_a_perplexity_of_last_words(tmp_path):
    """lm-eval's own: exp of the mean negative log-likelihood, whatever the words' lengths."""
    rows = table([{"text": tiny.words(index, 5 + index)} for index in range(11)])
    model = tiny_benchmarks.save_compressed(tmp_path / "model")
    settings = ASKING | RUN | {"scorer": "packed", "limit": None}
    folder = tiny_benchmarks.run(model, tmp_path / "run", [(LAMBADA, rows, settings)])
    result = tiny_benchmarks.result(folder, "lambada")
    theirs = result["results"]["lambada_openai"]
    likelihoods = [
        json.loads(line)["filtered_resps"][0][0]
        for line in (folder / "samples.jsonl").read_text().splitlines()
    ]
    value = result["score"]["value"]
    assert value == pytest.approx(math.exp(-sum(likelihoods) / 11)) == theirs["perplexity,none"]
    low, high = result["score"]["interval_95"]
    assert low < value < high
    assert result["beside"]["acc"]["value"] == theirs["acc,none"]
    # Standard errors that nobody reads are not computed.
    assert {own for key, own in theirs.items() if "_stderr" in key} == {"N/A"}


@pytest.mark.parametrize(
    ("positions", "name", "new_tokens", "message"),
    [
        (
            256,
            "gsm8k",
            None,
            "an answer may have 256 tokens, .* reads 256 tokens at once; set a low",
        ),
        (64, "gsm8k", 64, "an answer may have 64 tokens, which leaves no room"),
        (8, "arc_easy", None, r"its text ' \w+ .*' has \d+ tokens, and .* reads 8 at once; leave"),
    ],
)
def test_what_has_no_room_in_a_short_context(tmp_path, positions, name, new_tokens, message):
    weights = tiny.save_model(tmp_path / "weights", max_position_embeddings=positions)
    with pytest.raises(LowrankError, match=message):
        prepare(tmp_path, weights, entry(name), ROWS[name], max_new_tokens=new_tokens)


@pytest.mark.parametrize(
    ("special", "name", "message"),
    [
        ({}, "arc_easy", "no token that begins or ends a text, .* set `bos_token` or `eos_token`"),
        ({"bos_token": "<s>"}, "gsm8k", "no token that ends a text, .*: set `eos_token` in"),
        ({"bos_token": "<s>"}, "arc_easy", None),
    ],
)
def test_a_tokenizer_that_lacks_special_tokens(tmp_path, special, name, message):
    """Choices need no end; a generated text would have none."""
    weights = tiny.save_model(tmp_path / "weights")
    bare = PreTrainedTokenizerFast(tokenizer_object=tiny.tokenizer().backend_tokenizer, **special)
    for path in weights.glob("*token*"):
        path.unlink()
    bare.save_pretrained(weights)
    expected = pytest.raises(LowrankError, match=message) if message else contextlib.nullcontext()
    with expected:
        prepare(tmp_path, weights, entry(name), ROWS[name], max_new_tokens=4)
