"""Full disks, no memory, damaged files: one clear line, and no damaged output."""

import errno
import hashlib
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tiny
import torch
from lowrank.assets.choice import SUBSET
from lowrank.assets.models import fetch_model
from lowrank.base import cli
from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path, read_yaml, write_json
from lowrank.base.tensor_file import read_description, write_tensors
from lowrank.decompose.compressed import compress
from lowrank.decompose.layer_factors import LayerFactors, factorize_layer
from lowrank.decompose.loading import load_base, load_compressed, load_tokenizer
from lowrank.evaluate.requests import prepare_requests
from lowrank.space.architecture import Architecture
from lowrank.space.design_space import Decomposition
from safetensors import safe_open
from safetensors.numpy import save_file
from safetensors.torch import load_file
from safetensors.torch import save_file as save_tensors

ARCHITECTURE = Architecture.from_config(tiny.ARCHITECTURE)

WRITERS = {
    "text": "write_text(path, 'x' * 3_000_000)",
    "tensors": "save_file({'a': np.zeros(2_000_000)}, stack.enter_context(atomic_path(path)))",
    "table": "pq.write_table(pa.table({'a': np.random.rand(500_000)}), "
    "stack.enter_context(atomic_path(path)))",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_disk_that_takes_no_more_leaves_the_old_file_and_one_line(tmp_path, writer):
    """The kernel refuses the write itself: a limit on the size of files."""
    path = tmp_path / "result"
    path.write_text("old")
    script = f"""
import contextlib, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from pathlib import Path
from safetensors import safe_open
from safetensors.numpy import save_file
from lowrank.base import cli
from lowrank.base.files import atomic_path, write_text
path = Path({str(path)!r})
def main():
    with contextlib.ExitStack() as stack:
        {WRITERS[writer]}
cli.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": "workflow"},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"error: cannot write {path}: File too large; free some space")
    assert len(done.stderr.splitlines()) == 1
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["result"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_refusals_by_number_and_by_text(tmp_path, number):
    said = os.strerror(number)
    makers = [lambda name: OSError(number, said, name), lambda name: ValueError(f"{said}: {name}")]
    if number in (errno.ENOSPC, errno.EDQUOT):  # writing to an open file names none
        makers += [lambda name: OSError(number, said), lambda name: ValueError(f"I/O: {said}")]
    for make in makers:
        with (
            pytest.raises(LowrankError, match=f"cannot write .*result: {said}; "),
            atomic_path(tmp_path / "result") as temporary,
        ):
            raise make(str(temporary))
    assert list(tmp_path.iterdir()) == []


def test_an_input_that_may_not_be_read_is_not_taken_for_the_result(tmp_path):
    for error in (PermissionError(13, "Permission denied", "/mirror/a"), OSError(13, "/mirror/a")):
        with pytest.raises(OSError, match="/mirror/a"), atomic_path(tmp_path / "result"):
            raise error
    said = "the reader's own words: Permission denied"
    with pytest.raises(LowrankError, match=f"^{said}$"), atomic_path(tmp_path / "result"):
        raise LowrankError(said)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_a_results_folder_of_another_user_is_one_line():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        library = folder / "library" / "lowrank"
        shutil.copytree("workflow/lowrank", library, ignore=shutil.ignore_patterns("__pycache__"))
        script = f"""
import os, sys
sys.dont_write_bytecode = True
from lowrank.base import cli
from lowrank.base.files import write_json
os.setuid(65534)
cli.run(lambda: write_json({str(folder / "results" / "a.json")!r}, {{}}))
"""
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONPATH": str(folder / "library")},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot write {folder}/results/a.json: Permission denied")
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_that_may_not_be_made(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("lowrank.base.files.tempfile.mkdtemp", refuse)
    with pytest.raises(LowrankError, match="Read-only file system; choose another folder"):
        write_json(tmp_path / "a.json", {})


def test_other_errors_keep_their_own_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "result"):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_no_memory_is_one_line_with_a_remedy(capsys, error):
    def fail():
        raise error

    with pytest.raises(SystemExit):
        cli.run(fail)
    said = capsys.readouterr().err
    assert said.startswith("error: out of memory (")
    assert "batch_size" in said and len(said.splitlines()) == 1


def test_a_real_lack_of_memory(tmp_path):
    """The kernel refuses the memory itself."""
    script = """
import torch
from lowrank.base import cli
cli.run(lambda: torch.zeros(10**13))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": "workflow"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: out of memory (")
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model, the factors of a layer, and a compressed model of them."""
    folder = tmp_path_factory.mktemp("base")
    tiny.save_model(folder / "weights")
    write_json(folder / "manifest.json", {"files": {}, "source": "test"})
    factors = folder / "factors.safetensors"
    factorize_layer(folder / "weights", ARCHITECTURE, 2, 1, "tucker", factors)
    return folder


def build(base, output, factors=None):
    chosen = Decomposition.make(ARCHITECTURE, [2])
    files = {2: factors or base / "factors.safetensors"}
    compress(ARCHITECTURE, "tiny", base / "manifest.json", chosen, files, output)


@pytest.mark.parametrize("kept", [0, 7, 200])
def test_a_truncated_factor_file_is_named_and_nothing_is_written(base, tmp_path, kept):
    broken = tmp_path / "factors.safetensors"
    broken.write_bytes((base / "factors.safetensors").read_bytes()[:kept])
    with pytest.raises(LowrankError, match=r"factors\.safetensors"):
        build(base, tmp_path / "model", broken)
    assert not (tmp_path / "model").exists()


def rewritten(base, path, change=lambda arrays, header: None):
    """A copy of the factor file with other arrays, or another header."""
    with safe_open(base / "factors.safetensors", framework="np") as file:
        header = read_description(file)
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(arrays, header)
    write_tensors(path, arrays, header)
    return path


def poison(arrays, header):
    arrays["q.left"][0, 0] = np.nan


def poison_and_sign(arrays, header):
    poison(arrays, header)
    header["sha256"]["q.left"] = hashlib.sha256(arrays["q.left"].tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (poison, "q.left has another checksum"),
        (poison_and_sign, "q.left is not finite"),
        (lambda arrays, header: arrays.pop("d.right"), "it lacks d.right"),
        (lambda arrays, header: header.pop("sha256"), "not a readable factor file"),
        (lambda arrays, header: header.update(layer=3), "holds layer 3 by tucker, not layer 2"),
        (lambda arrays, header: header.update(method="svd"), "holds layer 2 by svd, not layer 2"),
    ],
)
def test_a_factor_file_with_another_content_is_refused(base, tmp_path, change, message):
    broken = rewritten(base, tmp_path / "factors.safetensors", change)
    with pytest.raises(LowrankError, match=rf"{message}.*: delete it and run again"):
        build(base, tmp_path / "model", broken)
    assert not (tmp_path / "model").exists()


def test_one_flipped_bit_in_a_factor_file_is_seen(base, tmp_path):
    """Wherever it is: in an array, a checksum, a norm, a name."""
    path, whole = tmp_path / "factors.safetensors", (base / "factors.safetensors").read_bytes()
    places = [place for place in range(0, len(whole), 29) if whole[place] != ord(" ")]
    assert len(places) > 100
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1
        path.write_bytes(content)
        with pytest.raises(LowrankError, match="not a readable factor file .*: delete it"):
            factors = LayerFactors(path, "tucker", 2)
            for tensor in ARCHITECTURE.tensors:
                factors.cut(tensor, 1)
    build(base, tmp_path / "model", rewritten(base, tmp_path / "same"))


def test_one_flipped_bit_in_a_compressed_model_is_seen(base, tmp_path):
    build(base, tmp_path / "model")
    path = tmp_path / "model" / "factors.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(LowrankError, match="does not match its manifest: delete"):
        load_compressed(base / "weights", tmp_path / "model", "float32")


def test_tied_and_shared_weights_are_factorized_once_each_and_leave_the_head_alone(tmp_path):
    tiny.save_model(tmp_path / "weights", tie_word_embeddings=True)
    architecture = Architecture.from_config(tiny.ARCHITECTURE | {"tie_word_embeddings": True})
    write_json(tmp_path / "manifest.json", {"files": {}, "source": "test"})
    factors = tmp_path / "factors.safetensors"
    factorize_layer(tmp_path / "weights", architecture, 1, 1, "tucker", factors)
    chosen = Decomposition.make(architecture, [1])
    compress(architecture, "t", tmp_path / "manifest.json", chosen, {1: factors}, tmp_path / "m")
    model, _ = load_compressed(tmp_path / "weights", tmp_path / "m", "float32")
    assert model.lm_head.weight is model.model.embed_tokens.weight
    dense = load_file(tmp_path / "weights" / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(model.lm_head.weight, dense)


@pytest.fixture
def changed_weights(base, tmp_path):
    """A function that writes the model anew with one tensor changed."""
    shutil.copytree(base / "weights", tmp_path / "weights")

    def write(name, change):
        path = tmp_path / "weights" / "model.safetensors"
        tensors = load_file(path)
        tensors[name] = change(tensors[name])
        save_tensors(tensors, path, metadata={"format": "pt"})
        return tmp_path / "weights"

    return write


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["model.norm.weight", "model.embed_tokens.weight", "lm_head.weight"]
)
def test_a_model_with_weights_that_are_not_finite_is_not_taken_in(
    changed_weights, tmp_path, monkeypatch, name, value
):
    def poison(tensor):
        tensor.view(-1)[3] = value
        return tensor

    folder = changed_weights(name, poison)
    monkeypatch.setenv("LOWRANK_MIRROR", str(tmp_path))
    source = {"mirror": "weights", "sha256": {p.name: tiny.sha256(p) for p in folder.iterdir()}}
    out = tmp_path / "out"
    with pytest.raises(LowrankError, match=rf"safetensors: {name} holds values that are not fin"):
        fetch_model("t", [source], tiny.ARCHITECTURE, out / "w", out / "m.json", tmp_path)
    assert not list(out.iterdir())


def test_base_weights_of_another_shape_are_one_line(changed_weights):
    folder = changed_weights("model.norm.weight", lambda tensor: tensor[:7].clone())
    with pytest.raises(LowrankError, match=r"weights cannot be loaded \(.*: delete it and run"):
        load_base(folder, "float32")


def test_base_weights_cut_short_are_one_line(changed_weights):
    path = changed_weights("model.norm.weight", lambda tensor: tensor) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(LowrankError, match=r"weights cannot be loaded \(.*: delete it and run"):
        load_base(path.parent, "float32")


def test_code_that_a_model_brings_along_is_not_run(changed_weights):
    folder = changed_weights("model.norm.weight", lambda tensor: tensor)
    bomb = f"from pathlib import Path\nPath({str(folder / 'exploded')!r}).touch()\n"
    (folder / "evil.py").write_text(bomb + "class Evil: pass\n")
    kinds = ("AutoConfig", "AutoModel", "AutoModelForCausalLM")
    for name, entry in (
        ("config.json", dict.fromkeys(kinds, "evil.Evil")),
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}),
    ):
        fields = json.loads((folder / name).read_text()) | {"auto_map": entry}
        (folder / name).write_text(json.dumps(fields))
    assert load_base(folder, "float32").config.hidden_size == 32
    assert load_tokenizer(folder)("a")["input_ids"]
    assert not (folder / "exploded").exists()


def test_a_tokenizer_that_is_not_the_model_s(base, tmp_path):
    shutil.copytree(base / "weights", tmp_path / "weights")
    config = json.loads((tmp_path / "weights" / "config.json").read_text())
    config["vocab_size"] = 40
    (tmp_path / "weights" / "config.json").write_text(json.dumps(config))
    rows = tiny.arc_rows(3)
    rows = rows.append_column(SUBSET, pa.array([""] * len(rows)))
    questions = tiny.write_parquet(rows, tmp_path / "questions.parquet")
    benchmark = read_yaml("config/benchmarks/arc_easy.yaml") | {"name": "arc_easy"}
    benchmark |= {"subsets": [], "generation": None}
    settings = {"limit": 2, "block": 8, "seed": 0, "sampling": "first", "max_new_tokens": None}
    outputs = tmp_path / "asked.parquet", tmp_path / "requests.parquet"
    with pytest.raises(LowrankError, match="but the model knows 40; is it this model's own"):
        prepare_requests(tmp_path / "weights", questions, benchmark, settings, *outputs)
    assert not any(path.exists() for path in outputs)


def test_a_pickle_in_safetensors_clothing_is_not_loaded(base, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'exploded'}",))

    shutil.copytree(base / "weights", tmp_path / "weights")
    (tmp_path / "weights" / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(LowrankError):
        factorize_layer(
            tmp_path / "weights", ARCHITECTURE, 1, 1, "tucker", tmp_path / "f.safetensors"
        )
    assert not (tmp_path / "exploded").exists()


def test_names_that_a_shell_would_act_on_stay_names(tmp_path):
    """Through a real rule's shell line: a mirror path with spaces, quotes and a command in it."""
    hostile = tmp_path / "a b'c\"$(touch exploded);d"
    hostile.mkdir()
    save_file({"a": np.zeros(1, np.float32)}, hostile / "x.safetensors")
    save_tensors({"a": torch.zeros(1)}, hostile / "y.safetensors")
    (tmp_path / "Snakefile").write_text(
        "rule all:\n"
        "    output: 'out.json'\n"
        f"    params: value={json.dumps(str(hostile))!r}\n"
        "    shell: 'printf %s {params.value:q} > {output}'\n"
    )
    subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert json.loads((tmp_path / "out.json").read_text()) == str(hostile)
    assert not (tmp_path / "exploded").exists()
