"""A model without a tokenizer that can be read is refused by one line that says what to bring."""

import json

import pytest
import tiny
from lowrank.assets import tokenizer
from lowrank.assets.tokenizer import read_tokenizer, require_tokenizer
from lowrank.base.errors import LowrankError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.fixture
def folder(tmp_path):
    tiny.tokenizer().save_pretrained(tmp_path)
    return tmp_path


def test_a_whole_one_is_read(folder):
    assert read_tokenizer(folder)("the a")["input_ids"] == tiny.tokenizer()("the a")["input_ids"]


def test_none(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(LowrankError, match="has no tokenizer: add its tokenizer.json"):
        require_tokenizer(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("tokenizer.json", POINTER, "tokenizer.json is a Git LFS pointer.*`git lfs pull`"),
        ("tokenizer_config.json", POINTER, "tokenizer_config.json is a Git LFS pointer"),
        ("tokenizer.json", "", "tokenizer.json is empty"),
        ("tokenizer.json", '{"model": ', "tokenizer.json is not JSON"),
    ],
)
def test_one_that_is_not_itself(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(LowrankError, match=message):
        require_tokenizer(folder)


def test_one_of_another_form(folder):
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "Other"}}))
    require_tokenizer(folder)
    with pytest.raises(LowrankError, match="cannot be read .*is its tokenizer.json whole"):
        read_tokenizer(folder)


@pytest.mark.parametrize("is_read", [False, True])
def test_only_a_sentencepiece_model(folder, monkeypatch, is_read):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    monkeypatch.setattr(tokenizer, "_reads_sentencepiece", lambda: is_read)
    if is_read:
        require_tokenizer(folder)
    else:
        with pytest.raises(LowrankError, match="only as tokenizer.model, .* a tokenizer.json of"):
            require_tokenizer(folder)
