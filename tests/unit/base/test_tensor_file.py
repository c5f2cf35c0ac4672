import numpy as np
import pytest
from lowrank.base.tensor_file import read_description, write_tensors
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

DESCRIPTION = {"method": "svd", "layer": 3, "norms": {"q": 0.1, "d": 1e-30}, "ranks": [2, 1]}


def arrays():
    rng = np.random.default_rng(0)
    made = {name: rng.normal(size=(3, 2)).astype(np.float32) for name in "qkvd"}
    return made | {"half": rng.normal(size=5).astype(np.float16)}


def reordered(mapping):
    return dict(reversed(mapping.items()))


def test_equal_content_is_equal_bytes(tmp_path):
    """Whatever the order of names. Safetensors itself draws one anew at every call."""
    descriptions, contents = (
        (DESCRIPTION, reordered(DESCRIPTION)),
        (arrays(), reordered(arrays())),
    )
    written, plain = set(), set()
    for index in range(32):
        path = tmp_path / str(index)
        write_tensors(path, contents[index % 2], descriptions[index // 2 % 2])
        written.add(path.read_bytes())
        save_file(contents[0], path, metadata=dict.fromkeys("abcdef", ""))
        plain.add(path.read_bytes())
    assert len(written) == 1
    assert len(plain) > 1


def test_what_was_written_is_read(tmp_path):
    write_tensors(tmp_path / "file", arrays(), DESCRIPTION)
    found = load_file(tmp_path / "file")
    assert found.keys() == arrays().keys()
    for name, array in arrays().items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)
    with safe_open(tmp_path / "file", framework="np") as opened:
        assert read_description(opened) == DESCRIPTION


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"lowrank": "{"}])
def test_a_file_without_a_description_has_none(tmp_path, metadata):
    save_file(arrays(), tmp_path / "file", metadata=metadata)
    with (
        safe_open(tmp_path / "file", framework="np") as opened,
        pytest.raises((KeyError, TypeError, ValueError)),
    ):
        read_description(opened)


def test_numbers_that_json_lacks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_tensors(tmp_path / "file", arrays(), {"norm": float("nan")})
