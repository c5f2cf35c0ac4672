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
from lowrank.assets.models import fetch_model
from lowrank.assets.questions import fetch_benchmark
from lowrank.assets.tokenizer import read_tokenizer
from lowrank.base import cli
from lowrank.base.files import read_yaml
from lowrank.evaluate.preparing import prepare
from lowrank.project.configuration import Project

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


def damage(data, path):
    """Change a file of a model as copying, clones and hands do."""
    whole = path.read_bytes()
    way = data.draw(st.sampled_from(["gone", "cut", "empty", "pointer", "bytes", "json", "link"]))
    if way in ("gone", "link"):
        path.unlink()
        if way == "link":
            path.symlink_to("nowhere")
    elif way == "cut":
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    elif way == "bytes":
        start = data.draw(st.integers(0, min(len(whole), 3000)))
        new = data.draw(st.binary(min_size=1, max_size=4))
        path.write_bytes(whole[:start] + new + whole[start + len(new) :])
    elif way == "json" and path.suffix == ".json":
        value = json.loads(whole)
        place = data.draw(st.sampled_from(list(places(value))[:60]))
        path.write_text(json.dumps(changed(value, place, data.draw(STRANGE))))
    else:
        path.write_text(POINTER if way == "pointer" else "")


@tries(0.2)
@given(st.data())
def test_directories_of_models(model, tmp_path_factory, data):
    """What is fetched can be asked: it has a configuration, finite weights and a tokenizer."""
    folder = tmp_path_factory.mktemp("brought")
    brought = Path(shutil.copytree(model, folder / "m"))
    names = sorted(path.name for path in brought.iterdir())
    damage(data, brought / data.draw(st.sampled_from(names)))
    sums = {n: tiny.sha256(brought / n) for n in names if (brought / n).exists()}
    if data.draw(st.booleans(), "pinned as it was"):
        sums = {name: tiny.sha256(model / name) for name in names}
    architecture = tiny.ARCHITECTURE | {"num_hidden_layers": 1}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LOWRANK_MIRROR", str(folder))

        def fetch():
            source = {"mirror": "m", "sha256": sums}
            made = folder / "made"
            fetch_model("m", [source], architecture, made / "w", made / "w.json", folder)
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
    form = data.draw(st.sampled_from(["jsonl", "json", "csv", "parquet"]))
    path = folder / f"q.{form}"
    if form == "parquet":
        with contextlib.suppress(pa.ArrowException, OverflowError, AttributeError, TypeError):
            tiny.write_parquet(pa.Table.from_pylist(rows), path)
    if not path.exists():
        lines = (json.dumps(row) for row in rows)
        path.write_text("\n".join(lines) if form != "json" else json.dumps(rows))
    if data.draw(st.integers(0, 3)) == 0:
        path.write_bytes(path.read_bytes()[: data.draw(st.integers(0, 200))])
    if data.draw(st.integers(0, 5)) == 0:
        path.write_text(data.draw(st.sampled_from([POINTER, "", "[]", "{}", "a,b\n1"])))
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
