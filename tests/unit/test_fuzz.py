"""Whatever people bring, a mistake is one line: made configurations, models and questions.

LOWRANK_FUZZ is the number of tries, 30 by default; a release is tried with 500.
"""

import contextlib
import copy
import io
import json
import os
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
import tiny
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lowrank.assets.local_model import read_local_model
from lowrank.assets.models import fetch_model
from lowrank.assets.questions import fetch_benchmark
from lowrank.assets.tokenizer import read_tokenizer
from lowrank.base import cli
from lowrank.base.files import read_yaml
from lowrank.evaluate.preparing import prepare
from lowrank.project.configuration import Project
from lowrank.space.architecture import Architecture
from safetensors.torch import load_file, save_file

TRIES = int(os.environ.get("LOWRANK_FUZZ", "30"))
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 100\n"


def tries(share):
    """Settings for a share of all tries."""
    return settings(
        max_examples=max(1, round(TRIES * share)),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**30, 2**63, float("nan"), float("inf"), -0.5]),
    st.sampled_from(["", " ", "~", "$HOME", "null"]),
    st.text(max_size=6),
    st.lists(st.one_of(st.integers(-1, 40), st.text(max_size=3)), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(-1, 3), max_size=2),
)


def places(value, path=()):
    """Every place within mappings and lists, by its keys."""
    yield path
    if isinstance(value, (dict, list)):
        for key, own in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(own, (*path, key))


def changed(value, path, new):
    """A copy with another value at a place."""
    if not path:
        return new
    value = copy.deepcopy(value)
    *above, last = path
    inner = value
    for key in above:
        inner = inner[key]
    inner[last] = new
    return value


CONFIG = {
    "models": ["smollm2-135m-instruct"],
    "studies": ["table_4_2", "smoke"],
    "benchmarks": {"arc_easy": {"limit": 8}, "mrpc": None},
    "limits": {"table_4_2": {"arc_easy": 16}},
    "profile": {"study": "table_4_2", "workloads": []},
    "device": "cpu",
    "dtype": "float32",
    "hub": True,
    "pathvars": {"results": "results/x"},
}
FILES = [
    *("models/smollm2-135m-instruct", "benchmarks/arc_easy", "benchmarks/gsm8k"),
    *("studies/table_4_2", "studies/smoke", "benchmarks/wikitext", "texts/prose"),
]


WRITTEN = [
    lambda text: b"\xef\xbb\xbf" + text,
    lambda text: text.replace(b"\n", b"\r\n"),
    lambda text: text.replace(b"\n  ", b"\n\t"),
    lambda text: text.decode().encode("utf-16"),
    lambda text: text + text,
    lambda text: b"- " + text.replace(b"\n", b"\n  "),
    lambda text: text + b"\nmore: &more {a: 1}\nother: {<<: *more, a: 2}\n",
    lambda text: text + b"\nmore: &more [*more]\n",
    lambda text: text + b"\n!!bool x: !!int y\n",
    lambda text: text + b"\n---\nmore: 1\n",
]
"""What editors and hands make of a file."""


def set_up(config, folder):
    """What the Snakefile does with a configuration; a mistake is the line that it ends with."""

    def read():
        project = Project(config, folder)
        for model in project.models.values():
            for study in project.studies_of(model):
                project.configurations(study, model)

    ended_with(read)


@pytest.fixture(scope="module")
def registries(tmp_path_factory):
    return Path(shutil.copytree("config", tmp_path_factory.mktemp("made") / "config"))


@tries(0.3)
@given(st.sampled_from(list(places(CONFIG))), STRANGE)
def test_configurations(place, new):
    set_up(changed(CONFIG, place, new), "config")


@tries(0.3)
@given(st.data())
def test_registries(registries, data):
    name = data.draw(st.sampled_from(FILES))
    path = registries / f"{name}.yaml"
    whole = path.read_bytes()
    if data.draw(st.booleans(), "cut"):
        text = whole[: data.draw(st.integers(0, len(whole)))] + data.draw(st.binary(max_size=3))
    elif data.draw(st.booleans(), "written otherwise"):
        text = data.draw(st.sampled_from(WRITTEN))(whole)
    else:
        entry = read_yaml(path)
        place = data.draw(st.sampled_from(list(places(entry))))
        text = yaml.safe_dump(changed(entry, place, data.draw(STRANGE))).encode()
    config = CONFIG | {"benchmarks": {"arc_easy": None, "gsm8k": None, "wikitext": None}}
    path.write_bytes(text)
    try:
        set_up(config, registries)
    finally:
        path.write_bytes(whole)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("model") / "m", num_hidden_layers=1)


@pytest.fixture(scope="module")
def in_parts(model, tmp_path_factory):
    """The same with its weights in two files."""
    folder = Path(shutil.copytree(model, tmp_path_factory.mktemp("parts") / "m"))
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(weights)}
    for file in set(files.values()):
        own = {name: weights[name] for name in weights if files[name] == file}
        save_file(own, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return folder


def headed(data, whole):
    """Change the header of safetensors, and its length with it."""
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])
    place = data.draw(st.sampled_from(list(places(header))))
    text = json.dumps(changed(header, place, data.draw(STRANGE))).encode()
    return len(text).to_bytes(8, "little") + text + whole[end:]


def damage(data, path):
    """Change a file of a model as copying, clones and hands do."""
    whole = path.read_bytes()
    way = data.draw(
        st.sampled_from(
            ["gone", "cut", "empty", "pointer", "bytes", "inside", "link", "folder", "deep"]
        )
    )
    if way in ("gone", "link", "folder"):
        path.unlink()
        if way == "link":
            path.symlink_to(data.draw(st.sampled_from(["nowhere", path.name])))
        elif way == "folder":
            path.mkdir()
    elif way == "cut":
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    elif way == "bytes":
        start = data.draw(st.integers(0, min(len(whole), 3000)))
        new = data.draw(st.binary(min_size=1, max_size=4))
        path.write_bytes(whole[:start] + new + whole[start + len(new) :])
    elif way == "deep":
        path.write_text("[" * 20_000)
    elif way == "inside" and path.suffix == ".safetensors":
        path.write_bytes(headed(data, whole))
    elif way == "inside" and path.suffix == ".json":
        value = json.loads(whole)
        place = data.draw(st.sampled_from(list(places(value))[:60]))
        path.write_text(json.dumps(changed(value, place, data.draw(STRANGE))))
    else:
        path.write_text(POINTER if way == "pointer" else "")


@tries(0.2)
@given(st.data())
def test_directories_of_models(model, in_parts, tmp_path_factory, data):
    """What is fetched can be asked: it has a configuration, finite weights and a tokenizer."""
    folder = tmp_path_factory.mktemp("brought")
    model = data.draw(st.sampled_from([model, in_parts]))
    brought = Path(shutil.copytree(model, folder / "m"))
    names = sorted(path.name for path in brought.iterdir())
    damage(data, brought / data.draw(st.sampled_from(names)))
    sums = {n: tiny.sha256(brought / n) for n in names if (brought / n).is_file()}
    is_mirror = data.draw(st.booleans(), "in a mirror")
    if data.draw(st.booleans(), "pinned as it was"):
        sums = {name: tiny.sha256(model / name) for name in names}
    architecture = tiny.ARCHITECTURE | {"num_hidden_layers": 1}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LOWRANK_MIRROR", str(folder))

        patched.setenv("LOWRANK_DIRECTORIES", json.dumps({"m": str(brought)}))

        def fetch():
            declared, source = architecture, {"mirror": "m", "sha256": sums}
            if not is_mirror:
                declared, source = read_local_model("m", str(brought), folder / "sums.json")
                Architecture.from_config(declared)
            made = folder / "made"
            fetch_model("m", [source], declared, made / "w", made / "w.json", folder)
            read_tokenizer(made / "w")

        ended_with(fetch)
    shutil.rmtree(folder)


def ended_with(work):
    """Do the work as a script does; return the line that it ends with, or nothing."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            cli.run(work, "try", [])
        except SystemExit as ended:
            assert ended.code == 1
        else:
            return ""
    assert "Traceback" not in said.getvalue()
    line = said.getvalue().splitlines()[-1]
    assert line.startswith("error: ")
    if kept := re.search(r"the traceback in (\S+)$", line):
        Path(kept[1]).unlink()
    return line


ROWS = tiny.arc_rows(5).to_pylist()
ENTRY = {"generation": False} | read_yaml("config/benchmarks/arc_easy.yaml") | {"name": "arc_easy"}


@tries(0.2)
@given(st.data())
def test_questions(model, tmp_path_factory, data):
    """Rows, forms and bytes of questions, up to the requests of a model."""
    folder = tmp_path_factory.mktemp("questions")
    place = data.draw(st.sampled_from([own for own in places(ROWS) if own]))
    rows = changed(ROWS, place, data.draw(STRANGE)) if data.draw(st.booleans()) else ROWS
    form = data.draw(st.sampled_from(["jsonl", "json", "csv", "tsv", "parquet", "arrow", "gz"]))
    path = folder / f"q.{form}"
    if form == "parquet":
        with contextlib.suppress(pa.ArrowException, OverflowError, AttributeError, TypeError):
            tiny.write_parquet(pa.Table.from_pylist(rows), path)
    if not path.exists():
        lines = (json.dumps(row) for row in rows)
        text = "\n".join(lines) if form != "json" else json.dumps(rows)
        coding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
        path.write_bytes(text.replace("\n", data.draw(st.sampled_from("\n\r"))).encode(coding))
    if data.draw(st.integers(0, 3)) == 0:
        path.write_bytes(path.read_bytes()[: data.draw(st.integers(0, 200))])
    if data.draw(st.integers(0, 5)) == 0:
        path.write_text(
            data.draw(st.sampled_from([POINTER, "", "[]", "{}", "a,b\n1", "[" * 20_000]))
        )
    source = {"mirror": path.name, "sha256": tiny.sha256(path)}
    asking = {"limit": None, "block": 4, "seed": 3, "sampling": "random", "max_new_tokens": None}

    def ask():
        made = folder / "made.parquet"
        fetch_benchmark("q", [source], ENTRY["columns"], [], 5, made, folder / "made.json", folder)
        prepare(model, made, ENTRY, asking, folder / "asked", folder / "requests")

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LOWRANK_MIRROR", str(folder))
        ended_with(ask)
    shutil.rmtree(folder)
