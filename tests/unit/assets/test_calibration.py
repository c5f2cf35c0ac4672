import hashlib

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from lowrank.assets.calibration import (
    choose_windows,
    prepare_calibration,
    read_calibration,
    tokenize,
    tokenizer_digest,
)
from lowrank.base.errors import LowrankError
from lowrank.base.tensor_file import read_description
from safetensors import safe_open
from safetensors.numpy import save_file
from tokenizers.processors import TemplateProcessing

TEXT = tiny.words(3, 300)


@given(
    st.integers(1, 12).flatmap(
        lambda length: st.tuples(
            st.just(length), st.integers(length, 200), st.integers(0, 2**32 - 1)
        )
    ),
    st.data(),
)
def test_windows_are_whole_disjoint_and_nested(sizes, data):
    length, count, seed = sizes
    available = count // length
    samples = data.draw(st.integers(1, available))
    windows = choose_windows(np.arange(count), samples, length, seed)
    assert windows.shape == (samples, length)
    starts = windows[:, 0]
    assert (windows == starts[:, None] + np.arange(length)).all()  # whole
    assert len(np.unique(windows)) == windows.size  # disjoint
    assert (starts % length == 0).all()
    every = choose_windows(np.arange(count), available, length, seed)
    assert sorted(every[:, 0]) == list(range(0, available * length, length))
    assert (every[:samples] == windows).all()  # nested


def test_windows_are_drawn_by_the_seed():
    tokens = np.arange(1000)
    one, same, other = (choose_windows(tokens, 20, 10, seed) for seed in (1, 1, 2))
    assert (one == same).all() and (one != other).any()
    # From all of the text, not its start; each window about as often as any other.
    drawn = [choose_windows(tokens, 20, 10, seed)[:, 0] // 10 for seed in range(200)]
    counts = np.bincount(np.concatenate(drawn), minlength=100)
    assert counts.sum() == 4000 and abs(counts - 40).max() < 25


def test_too_few_windows():
    message = "its 29 tokens have 2 whole windows of 10 tokens, asked for are 3"
    with pytest.raises(LowrankError, match=message):
        choose_windows(np.arange(29), 3, 10, 0)
    assert len(choose_windows(np.arange(29), 2, 10, 0)) == 2


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("model") / "weights")


def with_special_tokens(folder):
    """A model whose tokenizer adds the tokens that begin and end a text."""
    weights = tiny.save_model(folder / "special")
    tokenizer = tiny.tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer.save_pretrained(weights)
    return weights


def test_a_text_is_tokenized_at_once(weights):
    tokens = tokenize(weights, TEXT)
    assert tokens.dtype == np.int32
    assert tiny.tokenizer().decode(tokens) == TEXT
    # A merge across what would be two pieces, if the text was cut before.
    assert len(tokenize(weights, "th")) == 1


def test_only_the_token_that_begins_a_text_is_added(tmp_path, weights):
    plain = tokenize(weights, TEXT).tolist()
    assert 0 not in plain
    assert tokenize(with_special_tokens(tmp_path), TEXT).tolist() == [0, *plain]


def write(path, text=TEXT):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_set_is_windows_of_its_text_and_says_what_it_is_of(tmp_path, weights):
    text = write(tmp_path / "made.calibration.txt")
    path = tmp_path / "out" / "made.safetensors"
    prepare_calibration(weights, text, 8, 16, 5, path)
    windows = read_calibration(path)
    tokens = tokenize(weights, TEXT)
    assert windows.dtype == np.int32 and windows.shape == (8, 16)
    assert (windows == choose_windows(tokens, 8, 16, 5)).all()
    for window in windows:  # each is a piece of the text
        assert tiny.tokenizer().decode(window) in TEXT
    with safe_open(path, framework="np") as opened:
        description = read_description(opened)
    assert description.pop("sha256")
    assert description == {
        "text": "made",
        "text_sha256": hashlib.sha256(TEXT.encode()).hexdigest(),
        "tokenizer_sha256": tokenizer_digest(weights),
        "samples": 8,
        "length": 16,
        "seed": 5,
        "windows": len(tokens) // 16,
    }


def test_equal_content_is_equal_bytes(tmp_path, weights):
    written = set()
    for number in range(8):
        text = write(tmp_path / "made.calibration.txt")
        path = tmp_path / f"{number}.safetensors"
        prepare_calibration(weights, text, 4, 16, 0, path)
        written.add(path.read_bytes())
    assert len(written) == 1


def test_a_digest_is_of_the_tokenizer_alone(tmp_path, weights):
    other = tiny.save_model(tmp_path / "other", seed=1)
    assert tokenizer_digest(other) == tokenizer_digest(weights)
    assert tokenizer_digest(with_special_tokens(tmp_path)) != tokenizer_digest(weights)
    with open(other / "tokenizer.json", "a") as file:
        file.write(" ")
    assert tokenizer_digest(other) != tokenizer_digest(weights)


def test_a_short_text_and_another_tokenizer_stop_the_run(tmp_path, weights):
    text = write(tmp_path / "made.calibration.txt", "a b c")
    path = tmp_path / "made.safetensors"
    with pytest.raises(LowrankError, match="made.calibration.txt: its . tokens have 1 whole wind"):
        prepare_calibration(weights, text, 2, 3, 0, path)
    small = tiny.save_model(tmp_path / "small", vocab_size=100)
    with pytest.raises(LowrankError, match="tokenizer makes token .*, but the model knows 100"):
        prepare_calibration(small, write(text), 2, 3, 0, path)
    assert not path.exists()


def test_files_that_are_damaged_or_something_else_are_named(tmp_path, weights):
    path = tmp_path / "made.safetensors"
    prepare_calibration(weights, write(tmp_path / "made.txt"), 4, 16, 0, path)
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[-1] ^= 1
    for content, why in ((bytes(changed), "another checksum"), (whole[:-4], ""), (b"", "")):
        path.write_bytes(content)
        with pytest.raises(LowrankError, match=f"not a readable calibration set .*{why}.*delete"):
            read_calibration(path)
    save_file({"tokens": np.zeros((2, 3), np.int32)}, path)
    with pytest.raises(LowrankError, match="not a readable calibration set"):
        read_calibration(path)
    with pytest.raises(LowrankError, match="not a readable calibration set"):
        read_calibration(tmp_path / "none.safetensors")
