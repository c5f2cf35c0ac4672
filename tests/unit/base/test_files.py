import errno
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from lowrank.base.errors import LowrankError
from lowrank.base.files import (
    atomic_path,
    exclusive_lock,
    merge,
    read_json,
    read_text,
    read_yaml,
    require_sha256,
    write_json,
    write_text,
)
from safetensors.numpy import save_file


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


KILLED = """
import os, sys, time
from pathlib import Path
from lowrank.base.files import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.mkdir()
    (temporary / "half").write_text("half")
    print("inside", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "result"
    job = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        env=os.environ | {"PYTHONPATH": "workflow"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert job.stdout.readline() == "inside\n"
    with atomic_path(path) as temporary:
        temporary.mkdir()
        assert len(list(tmp_path.iterdir())) == 2  # a living process keeps its own
    job.kill()
    job.wait()
    job.stdout.close()
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / ".other.12345678").mkdir()  # not ours to judge
    with atomic_path(path) as temporary:
        temporary.mkdir()
    assert sorted(os.listdir(tmp_path)) == [".other.12345678", "result"]
    assert os.listdir(path) == []


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("lowrank.base.files.fcntl.flock", refuse)
    write_text(tmp_path / "f", "x")
    assert os.listdir(tmp_path) == ["f"]


def test_everything_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Files, their folders, and then the folder that holds the name."""
    synchronized, real = [], os.fsync

    def fsync(handle):
        synchronized.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        real(handle)

    monkeypatch.setattr("lowrank.base.files.os.fsync", fsync)
    with atomic_path(tmp_path / "folder") as temporary:
        (temporary / "inner").mkdir(parents=True)
        (temporary / "inner" / "file").write_text("x")
    assert synchronized == ["file", "inner", "folder", tmp_path.name]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_others_may_read_what_they_may_read_of_new_files(tmp_path, mask, mode):
    """Safetensors writes files for their owner alone; files with other names are not changed."""
    (tmp_path / "cache").write_bytes(b"")
    (tmp_path / "cache").chmod(0o400)
    before = os.umask(mask)
    try:
        with atomic_path(tmp_path / "file") as temporary:
            os.close(os.open(temporary, os.O_CREAT, 0o600))
        with atomic_path(tmp_path / "folder") as temporary:
            (temporary / "below").mkdir(parents=True)
            save_file({"a": np.zeros(1)}, temporary / "below" / "weights.safetensors")
            os.link(tmp_path / "cache", temporary / "link")
    finally:
        os.umask(before)
    made = [tmp_path / "file", tmp_path / "folder/below/weights.safetensors"]
    assert [path.stat().st_mode & 0o777 for path in made] == [mode, mode]
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o400


def test_a_repeated_key_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_text("a: 1\nb:\n  x: 1\n  x: 2\n")
    with pytest.raises(LowrankError, match=r"c.yaml, line 4: the key 'x' stands twice"):
        read_yaml(tmp_path / "c.yaml")


def test_what_is_laid_below_a_mapping_may_be_written_over(tmp_path):
    """A chain of `<<`: each mapping is checked as it is written, also after it was taken up."""
    path = tmp_path / "a.yaml"
    path.write_text("a: &a {r: 1, q: 3}\nb: &b\n  <<: *a\n  r: 2\nc:\n  <<: [*b, *a]\n  s: 5\n")
    assert read_yaml(path)["b"] == {"q": 3, "r": 2}
    assert read_yaml(path)["c"] == {"q": 3, "r": 2, "s": 5}
    path.write_text("a: &a {r: 1}\nb:\n  <<: *a\n  r: 2\n  r: 3\n")
    with pytest.raises(LowrankError, match="line 5: the key 'r' stands twice"):
        read_yaml(path)


def test_keys_labels_and_titles_are_text_as_written(tmp_path):
    """A label such as 9, on or a date is a name; JSON's 1e-05 is a number."""
    keys = ["9", "010", "1.50", "on", "true", "null", "~", "2024-01-01", "1e3", "9%"]
    text = "".join(f"{key}: {{layers: [2], label: {key}}}\n" for key in keys if key not in "null~")
    (tmp_path / "c.yaml").write_text(text + "null: 1\n~: 2\ntitle: 2024\nsmall: 1e-05\nn: 7\n")
    read = read_yaml(tmp_path / "c.yaml")
    assert set(read) == {*keys, "title", "small", "n"}
    assert all(read[key] == {"layers": [2], "label": key} for key in keys if key not in "null~")
    assert (read["title"], read["small"], read["n"]) == ("2024", 1e-05, 7)
    (tmp_path / "c.yaml").write_text("9: a\n'9': b\n")
    with pytest.raises(LowrankError, match=r"line 2: the key '9' stands twice"):
        read_yaml(tmp_path / "c.yaml")


@pytest.mark.parametrize(("text", "message"), [("a: [", "is not YAML"), ("\t", "is not YAML")])
def test_damaged_yaml(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(LowrankError, match=message):
        read_yaml(tmp_path / "c.yaml")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_not_written_and_is_named(tmp_path, number):
    value = {"trials": [{"joules": 1.0}, {"joules": number}], "seed": 0}
    message = rf"r.json is not written: trials\.1\.joules is {number}, not a finite number$"
    with pytest.raises(LowrankError, match=message):
        write_json(tmp_path / "r.json", value)
    assert not list(tmp_path.iterdir())


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


def test_configurations_are_laid_over_each_other_key_by_key():
    made = merge([{"a": {"x": 1, "y": 2}, "b": [1]}, {"a": {"y": 3}, "b": [2]}, {"a": {"z": {}}}])
    assert made == {"a": {"x": 1, "y": 3, "z": {}}, "b": [2]}


def test_a_text_is_read_as_it_was_written(tmp_path):
    text = "äöü 戦\r\nline\rline\n"
    (tmp_path / "t").write_bytes(text.encode())
    assert read_text(tmp_path / "t") == text
    (tmp_path / "t").write_bytes(b"\xff")
    for name in ("t", "none"):
        with pytest.raises(LowrankError, match=f"{name} cannot be read .*: delete it"):
            read_text(tmp_path / name)
