import os
import threading

import pytest
from lowrank.errors import LowrankError
from lowrank.files import atomic_path, exclusive_lock, read_json, read_yaml, require_sha256


def test_a_block_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["f"]


def test_files_and_directories_are_replaced_whole(tmp_path):
    for text in ("one", "two"):
        with atomic_path(tmp_path / "file") as temporary:
            temporary.write_text(text)
        with atomic_path(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / text).touch()
    assert (tmp_path / "file").read_text() == "two"
    assert os.listdir(tmp_path / "folder") == ["two"]


def test_a_repeated_key_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_text("a: 1\nb:\n  x: 1\n  x: 2\n")
    with pytest.raises(LowrankError, match=r"c.yaml, line 4: the key 'x' stands twice"):
        read_yaml(tmp_path / "c.yaml")


@pytest.mark.parametrize(("text", "message"), [("a: [", "is not YAML"), ("\t", "is not YAML")])
def test_damaged_yaml(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(LowrankError, match=message):
        read_yaml(tmp_path / "c.yaml")


def test_damaged_json_and_checksums(tmp_path):
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(LowrankError, match="is not JSON"):
        read_json(tmp_path / "r.json")
    with pytest.raises(LowrankError, match=r"wrong checksum: .*r.json has sha256 021fb596db81e6d"):
        require_sha256(tmp_path / "r.json", "0" * 64)


def test_locks_exclude(tmp_path):
    order = []

    def hold(name):
        with exclusive_lock(tmp_path / "lock"):
            order.append(name)
            threading.Event().wait(0.05)
            order.append(name)

    threads = [threading.Thread(target=hold, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order[::2] == order[1::2]
