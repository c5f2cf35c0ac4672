"""The store of answers: what is kept is whole, and what is not whole is asked again."""

import json
import multiprocessing
import os
from pathlib import Path

import grimp
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lowrank.base.files import read_json
from lowrank.evaluate import store
from lowrank.evaluate.store import (
    ANSWERING,
    ANSWERS,
    AnswerStore,
    answering_code,
    asking_costs,
    digest,
    identity_of,
)

IDENTITY = {"model": "tiny", "dtype": "float32"}
MANIFEST = {
    "model": "tiny",
    "base": {"model.safetensors": "a"},
    "decomposition": {"name": "dense", "rank": 1},
    "factors_sha256": "b",
}
SETTINGS = {"dtype": "float32", "device": "cpu", "scorer": "packed", "batch_size": 4}
ANSWERED = {
    digest(1): (-1.25, True),
    digest(2): (-0.1 - 0.2, False),
    digest(3): "a text\nof é lines",
    digest(4): "",
}


def kept(folder, answers=None, **cost):
    """A store that keeps answers, as one file."""
    made = AnswerStore(folder, IDENTITY)
    made.add(ANSWERED if answers is None else answers)
    made.keep(**cost)
    return made


def files(made):
    return sorted(made.folder.glob("*.parquet"))


def known(folder, keys=ANSWERED):
    """What a process that begins now finds."""
    fresh = AnswerStore(folder, IDENTITY)
    return {key: fresh[key] for key in keys if key in fresh}


def test_what_is_kept_is_read_back_bit_for_bit(tmp_path):
    made = AnswerStore(tmp_path, IDENTITY)
    assert digest(1) not in made
    made.add(ANSWERED)
    assert digest(1) in made and made[digest(3)] == ANSWERED[digest(3)]
    assert known(tmp_path) == {}  # not written yet
    made.keep()
    assert known(tmp_path) == ANSWERED
    assert {type(value) for answer in known(tmp_path).values() for value in answer} <= {
        float,
        bool,
        str,
    }
    assert read_json(made.folder / "identity.json") == IDENTITY
    (path,) = files(made)
    assert pyarrow.parquet.read_table(path).schema.equals(ANSWERS)


@given(
    st.dictionaries(
        st.binary(min_size=16, max_size=16),
        st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.booleans())
        | st.text("aé\n\0'雪"),
    )
)
@settings(deadline=None, max_examples=30)
def test_any_answers(tmp_path_factory, answers):
    folder = tmp_path_factory.mktemp("answers")
    kept(folder, answers)
    assert known(folder, answers) == answers


def test_nothing_new_is_no_file(tmp_path):
    made = kept(tmp_path)
    made.keep()
    made.add({})
    made.add(ANSWERED)  # known
    made.keep()
    assert len(files(made)) == 1
    kept(tmp_path)
    assert len(files(made)) == 1
    assert not AnswerStore(tmp_path / "other", IDENTITY).folder.exists()


def test_what_is_known_stays_as_it_is(tmp_path):
    made = kept(tmp_path)
    made.add({digest(1): (-7.0, False), digest(5): (-2.0, True)})
    made.keep()
    assert made[digest(1)] == known(tmp_path)[digest(1)] == ANSWERED[digest(1)]
    assert known(tmp_path, [digest(5)]) == {digest(5): (-2.0, True)}


def test_equal_content_is_equal_bytes_under_an_equal_name(tmp_path):
    backwards = dict(reversed(ANSWERED.items()))
    one, other = kept(tmp_path / "a"), kept(tmp_path / "b", backwards)
    ((first,), (second,)) = files(one), files(other)
    assert first.name == second.name and first.read_bytes() == second.read_bytes()
    changed = kept(tmp_path / "c", ANSWERED | {digest(1): (-1.0, True)})
    assert files(changed)[0].name != first.name


def changes():
    """Ways in which an identity may change, by what changes."""
    manifest = {
        "model": {"model": "other"},
        "base weights": {"base": {"model.safetensors": "c"}},
        "decomposition": {"decomposition": {"name": "dense", "rank": 2}},
        "factors": {"factors_sha256": "c"},
    }
    for name, change in manifest.items():
        yield pytest.param((MANIFEST | change, SETTINGS, 1, ""), id=name)
    yield pytest.param((MANIFEST, SETTINGS | {"dtype": "bfloat16"}, 1, ""), id="dtype")
    yield pytest.param((MANIFEST, SETTINGS, 2, ""), id="threads")
    yield pytest.param((MANIFEST, SETTINGS | {"device": "cuda"}, 1, "H100"), id="device")
    yield pytest.param((MANIFEST, SETTINGS | {"scorer": "hf"}, 1, ""), id="scorer")


@pytest.mark.parametrize("changed", list(changes()))
def test_what_shapes_an_answer_is_its_identity(tmp_path, changed):
    assert identity_of(*changed) != identity_of(MANIFEST, SETTINGS, 1, "")
    folders = {
        AnswerStore(tmp_path, identity_of(*arguments)).folder
        for arguments in (changed, (MANIFEST, SETTINGS, 1, ""))
    }
    assert len(folders) == 2


def test_what_shapes_no_answer_is_no_part_of_an_identity():
    plain = identity_of(MANIFEST, SETTINGS, 1, "")
    assert identity_of(MANIFEST, SETTINGS | {"batch_size": 9, "seed": 3}, 1, "") == plain
    assert identity_of(MANIFEST, SETTINGS, 1, "another CPU") == plain
    stock = SETTINGS | {"scorer": "hf"}
    assert identity_of(MANIFEST, stock | {"batch_size": 9}, 1, "") != identity_of(
        MANIFEST, stock, 1, ""
    )
    cuda = SETTINGS | {"device": "cuda"}
    assert identity_of(MANIFEST, cuda, 1, "A100") != identity_of(MANIFEST, cuda, 1, "H100")


@pytest.fixture
def copied_library(tmp_path, monkeypatch):
    """A copy of the code that computes answers, which `answering_code` reads."""
    for place in ANSWERING:
        source = store.LIBRARY / place
        for path in source.rglob("*.py") if source.is_dir() else [source]:
            target = tmp_path / "lowrank" / path.relative_to(store.LIBRARY)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    monkeypatch.setattr(store, "LIBRARY", tmp_path / "lowrank")
    return tmp_path / "lowrank"


def test_every_edit_of_answering_code_is_another_identity(copied_library):
    read = answering_code.__wrapped__
    plain = read()
    paths = sorted(copied_library.rglob("*.py"))
    assert len(paths) > len(ANSWERING)
    found = {plain}
    for path in paths:
        text = path.read_bytes()
        path.write_bytes(text + b"\n")
        found.add(read())
        path.write_bytes(text)
    assert len(found) == 1 + len(paths) and read() == plain
    paths[0].rename(paths[0].with_name("renamed.py"))
    with pytest.raises(FileNotFoundError):
        read()


def test_versions_are_part_of_an_identity(monkeypatch):
    plain = identity_of(MANIFEST, SETTINGS, 1, "")
    assert {"torch", "transformers"} <= set(plain["versions"])
    monkeypatch.setattr(store, "versions", lambda names: dict.fromkeys(names, "0"))
    assert identity_of(MANIFEST, SETTINGS, 1, "") != plain


def test_a_prompt_split_elsewhere_has_another_key():
    tokens = [5, 6, 7, 8]
    splits = {digest((tokens[:at], tokens[at:])) for at in range(1, 4)}
    assert len(splits) == 3
    assert digest([tokens, '{"until": []}']) != digest([tokens, '{"until": ["x"]}'])
    assert all(len(key) == 16 for key in splits)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


DAMAGES = {"cut": cut, "flipped": flip, "empty": lambda path: path.write_bytes(b"")}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_left_out_with_one_warning(tmp_path, caplog, damage):
    whole = {digest(9): (-3.0, True)}
    kept(tmp_path, whole)
    second = next(path for path in files(kept(tmp_path)) if _has(path, digest(1)))
    content = second.read_bytes()
    DAMAGES[damage](second)
    assert known(tmp_path, [*ANSWERED, digest(9)]) == whole
    assert [record.message for record in caplog.records] == [
        f"{second} is damaged: its answers are asked again."
    ]
    assert not second.exists()
    kept(tmp_path)
    assert known(tmp_path) == ANSWERED and second.read_bytes() == content


def _has(path, key):
    return key in pyarrow.parquet.read_table(path)["key"].to_pylist()


def test_every_flipped_bit_is_seen(tmp_path):
    (path,) = files(kept(tmp_path))
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        assert known(tmp_path) == {}


def test_a_damaged_file_that_cannot_be_deleted(tmp_path, caplog, monkeypatch):
    (path,) = files(kept(tmp_path))
    cut(path)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert known(tmp_path) == {}
    assert len(caplog.records) == 1 and path.exists()
    monkeypatch.undo()
    kept(tmp_path)  # under the name of the damaged file
    assert known(tmp_path) == ANSWERED


def test_a_file_that_cannot_be_read(tmp_path, caplog, monkeypatch):
    kept(tmp_path)

    def refuse(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert known(tmp_path) == {}
    assert "cannot be read" in caplog.text and len(caplog.records) == 1
    assert known(tmp_path) == ANSWERED  # it was left where it is


def test_other_files_in_the_folder_are_no_answers(tmp_path):
    made = kept(tmp_path)
    (made.folder / ".x.parquet.abcdefgh").mkdir()
    (made.folder / "notes.txt").write_text("mine")
    assert known(tmp_path) == ANSWERED


@pytest.mark.parametrize("kind", ["a file in the way", "full", "read-only"])
def test_a_disk_that_takes_no_more_costs_no_answer(tmp_path, caplog, monkeypatch, kind):
    if kind == "a file in the way":
        (tmp_path / "answers").touch()
    else:
        number = {"full": 28, "read-only": 30}[kind]

        def refuse(*_, **__):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("lowrank.base.files.tempfile.mkdtemp", refuse)
    made = AnswerStore(tmp_path / "answers", IDENTITY)
    made.add(ANSWERED)
    made.keep()
    assert {key: made[key] for key in ANSWERED} == ANSWERED
    assert [record.message[:40] for record in caplog.records] == [
        "Answers are not kept for another run: ca"
    ]


def _keep_many(folder, number, barrier):
    barrier.wait()
    for part in range(10):
        made = AnswerStore(folder, IDENTITY)
        own = {digest([number, part, k]): (-float(k), True) for k in range(5)}
        both = {digest(["both", part, k]): (-float(k), False) for k in range(5)}
        made.add(both | own)
        made.keep(benchmark="b", questions=5, seconds=0.0)


def test_processes_that_write_to_one_folder_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    writers = [
        context.Process(target=_keep_many, args=(tmp_path, number, barrier)) for number in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
        assert writer.exitcode == 0
    for part in range(10):
        for k in range(5):
            expected = {digest([number, part, k]): (-float(k), True) for number in range(4)}
            expected[digest(["both", part, k])] = (-float(k), False)
            assert known(tmp_path, expected) == expected
    made = AnswerStore(tmp_path, IDENTITY)
    assert {path.suffix for path in made.folder.iterdir()} == {".parquet", ".json"}


def test_costs_are_summed_over_files_and_folders(tmp_path):
    for number, (benchmark, seconds) in enumerate([("arc", 2.0), ("arc", 3.0), ("mmlu", 1.0)]):
        answers = {digest(number): (-1.0, True)}
        kept(tmp_path / f"g{number}", answers, benchmark=benchmark, questions=8, seconds=seconds)
    folders = [tmp_path / f"g{number}" for number in range(3)]
    assert asking_costs(folders) == {"arc": (16, 5.0), "mmlu": (8, 1.0)}
    assert asking_costs(folders[:1]) == {"arc": (8, 2.0)}
    assert asking_costs([]) == asking_costs([tmp_path / "absent"]) == {}
    identity = AnswerStore(folders[0], IDENTITY).folder
    cut(next(identity.glob("*.parquet")))
    (identity / "foreign.parquet").write_bytes(b"")
    pyarrow.parquet.write_table(pa.table({"x": [1]}), identity / "plain.parquet")
    (file,) = files(kept(tmp_path / "g3"))  # without a cost
    assert json.loads(pyarrow.parquet.read_schema(file).metadata[b"lowrank"]) == {}
    assert asking_costs([*folders, tmp_path / "g3"]) == {"arc": (8, 3.0), "mmlu": (8, 1.0)}


ANSWERERS = (
    "lowrank.evaluate.asking",
    "lowrank.evaluate.packed.lm",
    "lowrank.evaluate.stock",
    "lowrank.decompose.loading",
    "lowrank.quantize.stored",
)

SHAPE_NO_ANSWER = {
    "lowrank.base.errors": "says why there is no answer",
    "lowrank.base.files": "reads a file as it is, or not at all",
    "lowrank.base.names": "names that manifests hold, which are part of an identity",
    "lowrank.base.provenance": "says what made an answer",
    "lowrank.base.tensor_file": "writes arrays as they are; a reader checks them",
    "lowrank.decompose.moments": "read where a model is quantized, not where it is loaded",
    "lowrank.quantize.inputs": "read where a model is quantized, not where it is loaded",
    "lowrank.quantize.sizes": "counts bytes",
    "lowrank.decompose.compressed_format": "names files; another name is not found",
    "lowrank.evaluate.keys": "names answers; under another name they are asked again",
    "lowrank.evaluate.store": "keeps answers as they are",
    "lowrank.space.sizes": "checks sizes, and changes none",
    "lowrank.space.architecture": "says where layers are; another place is not found",
    **{
        f"lowrank.space.families.{path.stem}": "says where layers are; another place is not found"
        for path in (store.LIBRARY / "space/families").glob("[a-z]*.py")
    },
}
"""Modules that the answerers import, and why an edit of one leaves all answers as they are."""


def test_code_that_shapes_answers_is_all_named():
    """Whatever the answerers import is among ANSWERING, or it is said above why it is not."""
    graph = grimp.build_graph("lowrank", exclude_type_checking_imports=True, cache_dir=None)
    imported = {*ANSWERERS}.union(*(graph.find_upstream_modules(name) for name in ANSWERERS))
    named = set()
    for module in imported:
        file = Path(*module.split(".")[1:]).with_suffix(".py")
        if any(file.is_relative_to(place) for place in ANSWERING):
            named.add(module)
    assert named | set(SHAPE_NO_ANSWER) == imported  # a module more: does it shape an answer?
    assert not named & set(SHAPE_NO_ANSWER)
    assert all((store.LIBRARY / place).exists() for place in ANSWERING)
