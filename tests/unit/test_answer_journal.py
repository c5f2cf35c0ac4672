"""A job that was killed goes on where it was, and ends with the scores it would have had."""

import pytest
from lm_eval.api.instance import Instance
from lowrank.answer_journal import AnswerJournal
from lowrank.scoring import PackedLM
from test_scoring import TOKENIZER, make_model, many_pairs

IDENTITY = {"weights": "abc", "dtype": "float32"}


@pytest.fixture(scope="module")
def model():
    return make_model()


class Killed(BaseException):
    """Nothing in the library may catch it."""


def score(model, journal=None, passes=None, fail_after=None):
    """Score many pairs in small batches; count passes, and be killed after some."""
    lm = PackedLM(model, TOKENIZER, batch_tokens=32, journal=journal)
    hidden, count = lm._hidden, [0]

    def counted(*arguments):
        count[0] += 1
        if fail_after is not None and count[0] > fail_after:
            raise Killed
        return hidden(*arguments)

    lm._hidden = counted
    requests = [Instance("loglikelihood", {}, pair, k) for k, pair in enumerate(many_pairs())]
    try:
        return lm.loglikelihood(requests, disable_tqdm=True)
    finally:
        if passes is not None:
            passes.append(count[0])


@pytest.mark.parametrize("fail_after", [1, 2, 4])
def test_finished_questions_are_not_scored_again_and_scores_are_the_same_bits(
    model, tmp_path, fail_after
):
    undisturbed_passes, resumed_passes = [], []
    undisturbed = score(model, passes=undisturbed_passes)
    path = tmp_path / "answers.journal"
    with pytest.raises(Killed):
        score(model, AnswerJournal(path, IDENTITY), fail_after=fail_after)
    resumed = score(model, AnswerJournal(path, IDENTITY), resumed_passes)
    assert resumed == undisturbed
    known = len(path.read_text().splitlines()) if path.exists() else 0
    assert (resumed_passes[0] < undisturbed_passes[0]) == (known > 0)
    assert known > 0 or fail_after < 4


def test_a_job_that_had_finished_scores_nothing(model, tmp_path):
    journal = AnswerJournal(tmp_path / "answers.journal", IDENTITY)
    first, passes = score(model, journal), []
    assert score(model, journal, passes) == first
    assert passes == [0]
    journal.remove()
    journal.remove()
    score(model, journal, passes)
    assert passes[1] > 0


def test_answers_of_other_weights_or_other_code_are_not_used(model, tmp_path):
    path, passes = tmp_path / "answers.journal", []
    score(model, AnswerJournal(path, IDENTITY), passes)
    score(model, AnswerJournal(path, IDENTITY | {"weights": "other"}), passes)
    assert passes[0] == passes[1] > 0


def test_a_line_cut_short_is_left_out(model, tmp_path):
    path = tmp_path / "answers.journal"
    first = score(model, AnswerJournal(path, IDENTITY))
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) > 2
    path.write_text("".join(lines[:2]) + lines[2][: len(lines[2]) // 2])
    assert score(model, AnswerJournal(path, IDENTITY)) == first


def test_a_disk_that_takes_no_journal_costs_no_scores(model, tmp_path, caplog):
    (tmp_path / "file").touch()
    journal = AnswerJournal(tmp_path / "file" / "answers.journal", IDENTITY)
    assert score(model, journal) == score(model)
    assert "not kept" in caplog.text
