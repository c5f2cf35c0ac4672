"""Questions are asked once, in whole blocks: what is added later equals what was asked at once."""

import contextlib
import random

import pyarrow as pa
import pyarrow.parquet
import pytest
import tiny_benchmarks
from lowrank.base.files import read_json
from lowrank.evaluate import asking
from lowrank.evaluate.packed.lm import PackedLM
from lowrank.evaluate.store import AnswerStore, asking_costs
from tiny_benchmarks import CASES, case, run
from transformers import LlamaModel

SCORERS = ("packed", "hf")
BLOCK = tiny_benchmarks.ASKING["block"]


class Killed(BaseException):
    """Nothing in the library may catch it."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_benchmarks.save_compressed(tmp_path_factory.mktemp("model"))


def twice(own):
    """A benchmark in which the first questions of the file stand at its end once more."""
    entry, table, settings = own
    return entry, pa.concat_tables([table, table.slice(0, 5)]), settings


def limited(own, limit):
    entry, table, settings = own
    return entry, table, settings | {"limit": limit}


def files(folder):
    """What an evaluation wrote, byte for byte; of the result all but the time it was made."""
    result = read_json(folder / "result.json")
    result["provenance"].pop("time", None)
    return result, *((folder / name).read_bytes() for name in tiny_benchmarks.OUTPUTS[1:])


def kept(answers):
    """The keys of all answers in a folder, by file and with repetitions."""
    return {
        path: [row["key"] for row in pyarrow.parquet.read_table(path).to_pylist()]
        for path in sorted(answers.rglob("*.parquet"))
    }


def questions_asked(answers):
    """How many questions were asked of each benchmark, as the files say."""
    folders = {path.parent.parent for path in answers.rglob("*.parquet")}
    return {name: count for name, (count, _) in asking_costs(folders).items()}


def of_whole_blocks(limit, available):
    """How many questions are asked for a limit."""
    return min(-(-limit // BLOCK) * BLOCK, available)


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("name", CASES)
def test_more_questions_equal_a_fresh_run_to_the_byte(name, scorer, model, tmp_path):
    own = twice(case(name, scorer)) if name in ("arc_easy", "mmlu") else case(name, scorer)
    available = len(own[1])
    limits = [*sorted(random.Random(name).sample(range(1, available), 2)), available]
    asked, keys = 0, 0
    for limit in limits:
        grown = run(model, tmp_path / f"grown {limit}", [limited(own, limit)], tmp_path / "answers")
        fresh = run(model, tmp_path / f"fresh {limit}", [limited(own, limit)])
        assert files(grown) == files(fresh)
        # The same answers are kept, and each of them once.
        of_grown, of_fresh = (
            [key for found in kept(folder).values() for key in found]
            for folder in (tmp_path / "answers", tmp_path / f"fresh {limit}" / "answers")
        )
        assert sorted(of_grown) == sorted(of_fresh) and len(set(of_grown)) == len(of_grown)
        assert len(of_grown) >= keys
        keys = len(of_grown)
        # Exactly the blocks that were missing were asked.
        asked = questions_asked(tmp_path / "answers")[name]
        same_prompts = name in ("arc_easy", "mmlu")
        assert asked == of_whole_blocks(limit, available) or (
            same_prompts and asked < of_whole_blocks(limit, available)
        )
    assert questions_asked(tmp_path / "answers") == {name: asked}


@contextlib.contextmanager
def counted(monkeypatch, killed_at=None):
    """Count the passes of the model; be killed in one, with nothing written from then on."""
    passes = []
    with monkeypatch.context() as patch:
        dead = []

        forward = LlamaModel.forward

        def pass_or_die(*arguments, **options):
            passes.append(1)
            if len(passes) == killed_at:
                dead.append(True)
                raise Killed
            return forward(*arguments, **options)

        patch.setattr(LlamaModel, "forward", pass_or_die)
        keep = AnswerStore.keep
        patch.setattr(
            AnswerStore, "keep", lambda self, **cost: None if dead else keep(self, **cost)
        )
        patch.setattr(asking, "KEEP_SECONDS", 0.0)
        yield passes


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("damaged", [False, True])
def test_kills_and_damage_change_no_byte(damaged, scorer, model, tmp_path, monkeypatch):
    """Killed in every pass once, or so, and now and then a file of the store is cut in half."""
    cases = [case(name, scorer, limit=10, batch_size=8) for name in ("arc_easy", "mmlu")]
    expected = files(run(model, tmp_path / "undisturbed", cases))
    draw, answers, kills = random.Random(scorer), tmp_path / "answers", 0
    while True:
        # Ever later, or damage might undo all that is done between two kills.
        with counted(monkeypatch, draw.randint(1, 3) + kills // 4):
            try:
                run(model, tmp_path / "killed", cases, answers)
                break
            except Killed:
                kills += 1
        found = sorted(answers.rglob("*.parquet"))
        if damaged and found and kills % 3 == 0:
            cut_in_half(draw.choice(found))
    assert kills >= 3
    assert files(tmp_path / "killed") == expected
    with counted(monkeypatch) as passes:
        run(model, tmp_path / "again", cases, answers)
    assert passes == [] and files(tmp_path / "again") == expected


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_killed_generation_goes_on(scorer, model, tmp_path, monkeypatch):
    cases = [case("gsm8k", scorer, limit=8)]
    with counted(monkeypatch) as passes:
        expected = files(run(model, tmp_path / "undisturbed", cases))
    total = len(passes)
    with pytest.raises(Killed), counted(monkeypatch, total):
        run(model, tmp_path / "killed", cases)
    assert questions_asked(tmp_path / "killed" / "answers") == {"gsm8k": 4}
    with counted(monkeypatch) as passes:
        assert files(run(model, tmp_path / "killed", cases)) == expected
    assert 0 < len(passes) < total


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_damaged_file_costs_its_own_questions_alone(scorer, model, tmp_path, monkeypatch, caplog):
    cases = [case(name, scorer) for name in ("arc_easy", "winogrande")]
    with counted(monkeypatch):
        expected = files(run(model, tmp_path, cases))
    before = kept(tmp_path / "answers")
    lost = list(before)[1]
    cut_in_half(lost)
    caplog.clear()
    with counted(monkeypatch) as passes:
        assert files(run(model, tmp_path, cases)) == expected
    assert passes
    after = kept(tmp_path / "answers")
    assert [path for path in before if path != lost] == [path for path in after if path in before]
    made = [key for path in after if path not in before for key in after[path]]
    assert sorted(made) == sorted(before[lost])
    assert [record.message for record in caplog.records if "damaged" in record.message] == [
        f"{lost} is damaged: its answers are asked again."
    ]


def test_the_model_is_loaded_only_if_something_is_missing(model, tmp_path, monkeypatch):
    cases = [case(name, "packed") for name in ("arc_easy", "gsm8k")]
    expected = files(run(model, tmp_path, cases))

    def refuse(*_, **__):
        raise AssertionError("the model is loaded")

    monkeypatch.setattr("lowrank.evaluate.configuration.load_model", refuse)
    assert files(run(model, tmp_path, cases)) == expected
    assert files(run(model, tmp_path, [limited(own, 12) for own in cases])) != expected
    with pytest.raises(AssertionError, match="the model is loaded"):
        run(model, tmp_path, [limited(cases[0], 13)])


def test_another_benchmark_asks_its_own_questions_alone(model, tmp_path):
    first, second = case("arc_easy", "packed"), case("winogrande", "packed")
    alone = run(model, tmp_path / "alone", [first])
    before = kept(alone / "answers")
    run(model, tmp_path / "both", [first, second], alone / "answers")
    assert questions_asked(alone / "answers") == {"arc_easy": 12, "winogrande": 12}
    assert kept(alone / "answers").items() >= before.items()


def test_blocks_hold_neighbours_of_the_order(model, tmp_path, monkeypatch):
    """A pass of the model sees requests of one block, all of them, whatever the limit."""
    blocks = []
    plain = PackedLM._loglikelihood_tokens

    def noted(self, requests, *arguments, **options):
        blocks.append([tuple(request[0]) for request in requests])
        return plain(self, requests, *arguments, **options)

    monkeypatch.setattr(PackedLM, "_loglikelihood_tokens", noted)
    run(model, tmp_path, [case("arc_easy", "packed", limit=6)])
    own = tmp_path / "arc_easy" / "requests.parquet"
    rows = pyarrow.parquet.read_table(own).to_pylist()
    assert {row["place"] for row in rows} == set(range(8))
    assert blocks == [
        [(row["context"], row["continuation"]) for row in rows if row["place"] // 4 == number]
        for number in (0, 1)
    ]
