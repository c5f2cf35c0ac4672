import pyarrow as pa
import pytest
import tiny
from lowrank.assets.calibration import prepare_calibration
from lowrank.assets.training import Example, answer_of, prepare_training, read_examples
from lowrank.base.errors import LowrankError


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("weights") / "weights")


@pytest.fixture
def questions(tmp_path):
    """Twelve questions to train on; the evaluation asks two of them, one in capitals."""
    rows = tiny.arc_rows(12)
    asked = rows.slice(3, 2).to_pylist()
    asked[0]["question"] = asked[0]["question"].upper() + " "
    tiny.write_parquet(rows, tmp_path / "train.parquet")
    tiny.write_parquet(pa.Table.from_pylist(asked), tmp_path / "asked.parquet")
    return rows.to_pylist()


def prepared(weights, folder, shown):
    output = folder / f"{shown}.safetensors"
    prepare_training(weights, folder / "train.parquet", folder / "asked.parquet", shown, output)
    return output


def test_bare_questions_are_their_tokens_and_none_that_is_asked(weights, questions, tmp_path):
    tokenizer = tiny.tokenizer()
    kept = questions[:3] + questions[5:]
    found = read_examples(prepared(weights, tmp_path, "question"))
    assert found == [Example(tuple(tokenizer(row["question"])["input_ids"])) for row in kept]


def test_one_file_for_both_splits_leaves_nothing_to_train_on(weights, questions, tmp_path):
    rows = questions[::-1] + questions[:2]  # in another order, and some of them twice
    tiny.write_parquet(pa.Table.from_pylist(rows), tmp_path / "asked.parquet")
    with pytest.raises(LowrankError, match="train.parquet holds no question that .* does not ask"):
        prepared(weights, tmp_path, "question")


def test_questions_of_another_form_are_one_line(weights, questions, tmp_path):
    tiny.write_parquet(tiny.winogrande_rows(2), tmp_path / "train.parquet")
    with pytest.raises(LowrankError, match="columns sentence, .* and no 'question' to train on"):
        prepared(weights, tmp_path, "answer")


def test_of_answers_the_answer_alone_counts(weights, questions, tmp_path):
    tokenizer = tiny.tokenizer()
    kept = questions[:3] + questions[5:]
    for row, example in zip(
        kept, read_examples(prepared(weights, tmp_path, "answer")), strict=True
    ):
        right = row["choices"]["text"]["ABCD".index(row["answerKey"])]
        assert example.tokens[-1] == tokenizer.eos_token_id
        read, learnt = example.tokens[: example.first], example.tokens[example.first : -1]
        assert tokenizer.decode(read) == f"Question: {row['question']}\nAnswer:"
        assert tokenizer.decode(learnt) == f" {right}"


def test_equal_inputs_make_equal_bytes(weights, questions, tmp_path):
    one = prepared(weights, tmp_path, "answer").read_bytes()
    assert prepared(weights, tmp_path, "answer").read_bytes() == one


def test_windows_of_a_calibration_set_are_examples(weights, tmp_path):
    (tmp_path / "t.calibration.txt").write_text(tiny.words(0, 200), encoding="utf-8")
    path = tmp_path / "set.safetensors"
    prepare_calibration(weights, tmp_path / "t.calibration.txt", 4, 16, 0, path)
    found = read_examples(path)
    assert [len(own.tokens) for own in found] == [16] * 4 and {own.first for own in found} == {1}


def test_what_is_no_file_of_examples_is_one_line(weights, questions, tmp_path):
    path = prepared(weights, tmp_path, "question")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(LowrankError, match="not a readable file of examples"):
        read_examples(path)


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "2"}, "b"),
        ({"answer": 42}, "42"),
    ],
)
def test_right_answers(row, answer):
    assert answer_of(row) == answer


def test_questions_without_answers_are_refused():
    with pytest.raises(LowrankError, match="questions with the columns text have no answer"):
        answer_of({"text": "?"})
