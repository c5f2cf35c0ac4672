"""A job that was killed goes on where it was, and ends with the scores it would have had."""

import json

import pytest
from lm_eval.api.instance import Instance
from lowrank.evaluate import journal
from lowrank.evaluate.journal import AnswerJournal, journal_of
from lowrank.evaluate.packed import greedy
from lowrank.evaluate.packed.lm import PackedLM
from lowrank.evaluate.packed.passes import Passes
from lowrank.evaluate.packed.shared_states import SharedStates
from random_models import TOKENIZER, make_model, many_pairs

IDENTITY = {"weights": "abc", "dtype": "float32"}


@pytest.fixture(scope="module")
def model():
    return make_model()


class Killed(BaseException):
    """Nothing in the library may catch it."""


def score(model, journal=None, passes=None, fail_after=None, shared=None):
    """Score many pairs in small batches; count passes, and be killed after some."""
    lm = PackedLM(model, TOKENIZER, batch_tokens=32, journal=journal, shared=shared)
    hidden_states, count = lm.passes.hidden_states, [0]

    def counted(*arguments):
        count[0] += 1
        if fail_after is not None and count[0] > fail_after:
            raise Killed
        return hidden_states(*arguments)

    lm.passes.hidden_states = counted
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


def answers_to(model, pairs, journal=None):
    lm = PackedLM(model, TOKENIZER, journal=journal)
    requests = [Instance("loglikelihood", {}, pair, k) for k, pair in enumerate(pairs)]
    return lm.loglikelihood(requests, disable_tqdm=True)


@pytest.mark.parametrize(
    "others",
    [
        pytest.param([("the sky", "b"), ("the dog", "d")], id="another last token"),
        pytest.param([("the dog", "a"), ("the sky", "c")], id="another order"),
    ],
)
def test_other_questions_over_the_same_contexts_share_nothing(model, tmp_path, others):
    first = [("the sky", "a"), ("the dog", "c")]
    journal = AnswerJournal(tmp_path / "answers.journal", IDENTITY)
    for pairs in (first, others):
        assert answers_to(model, pairs, journal) == answers_to(model, pairs)
    # The same tokens in all, split elsewhere.
    tokens = TOKENIZER.encode("the sky is blue")
    lm, plain = PackedLM(model, TOKENIZER, journal=journal), PackedLM(model, TOKENIZER)
    for split in (1, 2, 3):
        requests = [(None, tokens[:split], tokens[split:])]
        expected = plain._loglikelihood_tokens(requests, disable_tqdm=True)
        assert lm._loglikelihood_tokens(requests, disable_tqdm=True) == expected


def test_a_job_that_is_cut_short_time_and_again_loses_the_cut_lines_only(model, tmp_path):
    path, passes = tmp_path / "answers.journal", []
    undisturbed = score(model, passes=passes)
    for kept in (3, 4):
        with pytest.raises(Killed):
            score(model, AnswerJournal(path, IDENTITY), fail_after=kept)
        content = path.read_bytes()
        path.write_bytes(content[:-7])  # torn within the last line
        known = journal_entries(path)
    with open(path, "ab") as file:
        file.write(b"\n\xff\xfe\x00garbage\n[1]\n7")
    assert journal_entries(path) == known >= 2
    assert score(model, AnswerJournal(path, IDENTITY), passes) == undisturbed
    assert passes[1] <= passes[0] - known
    assert score(model, AnswerJournal(path, IDENTITY), passes) == undisturbed
    assert passes[2] == 0


def journal_entries(path):
    """Lines that say something, read without the journal's own reader."""
    entries = 0
    for line in path.read_bytes().splitlines():
        try:
            entries += "answers" in json.loads(line)
        except (ValueError, TypeError):
            continue
    return entries


def test_out_of_memory_with_a_journal(model, tmp_path, monkeypatch):
    """What was answered before and after memory ran out is kept, under one name."""
    path, expected = tmp_path / "answers.journal", score(model)
    run_batch, calls = Passes.run_batch, []

    def exhausted(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried too much")
        if len(calls) == 6:
            raise Killed
        return run_batch(self, *arguments)

    monkeypatch.setattr(Passes, "run_batch", exhausted)
    with pytest.raises(Killed):
        score(model, AnswerJournal(path, IDENTITY))
    monkeypatch.undo()
    assert journal_entries(path) == 4
    passes = []
    resumed = score(model, AnswerJournal(path, IDENTITY), passes)
    assert [value for value, _ in resumed] == pytest.approx([v for v, _ in expected], abs=3e-5)
    score(model, passes=passes)
    assert passes[0] < passes[1]


def test_a_journal_beside_shared_states(model, tmp_path):
    expected, layers = score(model), model.config.num_hidden_layers
    path = tmp_path / "answers.journal"
    for fail_after in (3, None):
        shared = SharedStates(tmp_path / "states", ("model",), layers, layers)
        if fail_after:
            with pytest.raises(Killed):
                score(model, AnswerJournal(path, IDENTITY), fail_after=fail_after, shared=shared)
        else:
            assert score(model, AnswerJournal(path, IDENTITY), shared=shared) == expected
    # A resumed job leaves passes out: it keeps no states. A whole one does, and the next uses them.
    assert not list((tmp_path / "states").glob("*/*/[0-9]*"))
    for _ in range(2):
        shared = SharedStates(tmp_path / "states", ("model",), layers, layers)
        other = AnswerJournal(tmp_path / "other.journal", IDENTITY)
        assert score(model, other, shared=shared) == expected
        other.remove()
    assert list((tmp_path / "states").glob("*/*/[0-9]*"))


def test_generated_texts_are_not_generated_again(model, tmp_path, monkeypatch):
    settings = {"until": ["\n"], "max_gen_toks": 12}
    contexts = [f"Q: the sky\nA: blue\n\nQ: {q}\nA:" for q in ("fox", "cat", "the dog", "mat", "a")]
    requests = [Instance("generate_until", {}, (c, settings), k) for k, c in enumerate(contexts)]
    expected = PackedLM(model, TOKENIZER).generate_until(requests, disable_tqdm=True)
    path, done = tmp_path / "answers.journal", []
    monkeypatch.setattr(greedy, "MOST_ROWS", {"cpu": 2})

    def recorded(fail_after=None):
        journal = AnswerJournal(path, IDENTITY)
        add = journal.add

        def add_or_die(key, answers):
            if fail_after is not None and len(done) == fail_after:
                raise Killed
            done.extend(answers)
            add(key, answers)

        journal.add = add_or_die
        lm = PackedLM(model, TOKENIZER, journal=journal)
        return lm.generate_until(requests, disable_tqdm=True)

    with pytest.raises(Killed):
        recorded(fail_after=3)
    assert recorded() == expected
    assert sorted(done) == [0, 1, 2, 3, 4]  # each once
    assert recorded() == expected and len(done) == 5


def test_a_job_has_a_journal_of_its_questions_code_and_versions(tmp_path, monkeypatch):
    manifest = {"base": {"model.safetensors": "a"}, "factors_sha256": "b"}
    job = {
        "output": tmp_path / "arc_easy.json",
        "manifest": manifest,
        "benchmark": {"name": "arc_easy", "tasks": ["arc_easy"]},
        "settings": {"dtype": "float32", "device": "cpu", "limit": 3},
        "threads": 1,
        "questions_sha256": "c",
    }
    first = journal_of(**job)
    assert first.path == tmp_path / "arc_easy.journal"
    assert journal_of(**job).key("plan") == first.key("plan")
    changes = [
        {"manifest": manifest | {"factors_sha256": "d"}},
        {"benchmark": {"name": "arc_challenge", "tasks": ["arc_challenge"]}},
        {"settings": job["settings"] | {"dtype": "bfloat16"}},
        {"threads": 2},
        {"questions_sha256": "d"},
    ]
    keys = {first.key("plan"), *(journal_of(**(job | change)).key("plan") for change in changes)}
    for name in ("code_digest", "versions"):
        with monkeypatch.context() as patch:
            patch.setattr(journal, name, lambda: "another")
            keys.add(journal_of(**job).key("plan"))
    assert len(keys) == 1 + len(changes) + 2
