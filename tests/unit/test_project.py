import copy
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from lowrank.errors import LowrankError
from lowrank.files import read_yaml
from lowrank.project import Project

PAPER = read_yaml("config/config.yaml")


@pytest.fixture
def folder(tmp_path):
    """A copy of the registries that a test may edit."""
    shutil.copytree("config", tmp_path / "config")
    return tmp_path / "config"


def merged(*names):
    config = {}
    for name in ("config.yaml", *names):
        for key, value in read_yaml(f"config/{name}").items():
            both = isinstance(value, dict) and isinstance(config.get(key), dict)
            config[key] = {**config[key], **value} if both else value
    return config


@pytest.mark.parametrize("names", [(), ("laptop.yaml",), ("laptop.yaml", "ci.yaml")])
def test_shipped_scales_are_valid(names, monkeypatch):
    monkeypatch.delenv("LOWRANK_MIRROR", raising=False)
    monkeypatch.setenv("LOWRANK_HUB", "0" if names else "1")
    project = Project(merged(*names), "config")
    assert project.benchmark_count == ("6 of 7" if names else "7 of 7")
    model = next(iter(project.models.values()))
    assert len(project.decompositions(model)) > 90


def test_truthfulqa_joins_with_a_mirror(monkeypatch, tmp_path):
    monkeypatch.setenv("LOWRANK_HUB", "0")
    (tmp_path / "truthfulqa").mkdir()
    (tmp_path / "truthfulqa" / "validation.parquet").touch()
    monkeypatch.setenv("LOWRANK_MIRROR", str(tmp_path))
    assert Project(merged("laptop.yaml"), "config").unavailable_benchmarks == []


def test_table_4_2_of_llama():
    project = Project(PAPER, "config")
    model = project.models["llama-2-7b-chat"]
    reductions = [
        row.decomposition.parameter_reduction(model.architecture)
        for row in project.configurations("table_4_2", model)
        if row.series == ""
    ]
    expected = ["6.00", "9.01", "15.01", "21.02", "33.02", "48.03", "60.04", "75.05", "84.06"]
    assert [f"{value:.2f}" for value in reductions] == [*expected, "96.07"]


def test_every_shipped_entry_is_valid():
    project = Project(PAPER, "config")
    for path in project.folder.glob("models/*.yaml"):
        project.model(path.stem)
    benchmarks = {path.stem: None for path in project.folder.glob("benchmarks/*.yaml")}
    studies = [path.stem for path in project.folder.glob("studies/*.yaml")]
    Project({**PAPER, "benchmarks": benchmarks, "studies": studies}, "config")


def bad(key, value):
    def change(config, folder):
        target = config
        *path, last = key.split(".")
        for part in path:
            target = target[part]
        target[last] = value

    return change


def bad_file(name, key, value):
    def change(config, folder):
        path = folder / name
        content = read_yaml(path)
        bad(key, value)(content, folder)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    return change


STUDY = "studies/table_4_2.yaml"
MODEL = "models/llama-2-7b-chat.yaml"
BENCHMARK = "benchmarks/arc_easy.yaml"

MISTAKES = {
    "typing error in a key": (bad("modles", 1), r"config: modles: unknown key; .*'models'"),
    "unknown model": (bad("models", ["llama-2-7b-chta"]), "does not exist; .*'llama-2-7b-chat'"),
    "unknown benchmark": (bad("benchmarks", {"arc": None}), "benchmarks/arc.yaml does not exist"),
    "unknown study": (bad("studies", ["table"]), "studies/table.yaml does not exist"),
    "limit of zero": (
        bad("benchmarks.mmlu", {"limit": 0}),
        "config: benchmarks.mmlu.limit: 0 is less than the minimum of 1",
    ),
    "limit above what there is": (
        bad("benchmarks.gsm8k", {"limit": 1320}),
        "benchmarks.gsm8k.limit: 1320 is above the 1319 questions",
    ),
    "unknown key of a benchmark": (
        bad("benchmarks.mmlu", {"limitt": 5}),
        "config: benchmarks.mmlu.limitt: unknown key; did you mean 'limit'",
    ),
    "unknown dtype": (bad("dtype", "fp16"), "config: dtype: 'fp16' is not one of"),
    "bad batch size": (bad("batch_size", "large"), "config: batch_size: 'large' does not match"),
    "no models": (bad("models", []), "config: models: "),
    "path that leaves the folder": (bad("pathvars", {"results": "$(x)"}), "pathvars.results: "),
    "layer outside": (
        bad_file(STUDY, "configurations.6%.layers", [3, 33]),
        r"table_4_2.yaml: configurations.6%: layer 33 is outside 1…32",
    ),
    "layer zero": (bad_file(STUDY, "configurations.6%.layers", [0]), "layer 0 is outside 1…32"),
    "layer twice": (bad_file(STUDY, "configurations.6%.layers", [3, 3]), "layer 3 is listed twice"),
    "rank above the tensor's": (
        bad_file(STUDY, "configurations.6%.rank", 5000),
        "configurations.6%: rank 5000 is above the rank 4096 of tensor q",
    ),
    "unknown tensor": (
        bad_file(STUDY, "configurations.6%.tensors", ["w"]),
        "configurations.6%: unknown tensor 'w'; known: q, k, v",
    ),
    "unknown method": (bad_file(STUDY, "method", "tuker"), "unknown method 'tuker'; .*'tucker'"),
    "unknown key of a study": (bad_file(STUDY, "ranks", 1), "ranks: unknown key; .*'rank'"),
    "unknown family": (
        bad_file(MODEL, "architecture.model_type", "gpt2"),
        "llama-2-7b-chat.yaml: model_type 'gpt2' is not supported",
    ),
    "revision that is no commit": (
        bad_file(MODEL, "sources", [{"hub": "a/b", "revision": "main"}]),
        "llama-2-7b-chat.yaml: sources.0",
    ),
    "unpinned checksum": (
        bad_file(BENCHMARK, "sources", [{"mirror": "x", "sha256": "?"}]),
        "arc_easy.yaml: sources.0",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_clear_line(name, folder):
    change, message = MISTAKES[name]
    config = copy.deepcopy(PAPER)
    change(config, folder)
    with pytest.raises(LowrankError, match=message) as caught:
        Project(config, folder)
    assert "\n" not in str(caught.value)


def test_snakemake_prints_the_line_and_nothing_else():
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "1", "--config", "dtype=fp16"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode != 0 and "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert lines == [
        "error: config: dtype: 'fp16' is not one of ['float32', 'float16', 'bfloat16']"
    ]


def test_planning_imports_no_torch():
    probe = (
        "import sys; sys.path.insert(0, 'workflow'); import lowrank.project, lowrank.imports, "
        "lowrank.surroundings; heavy = {'torch', 'transformers', 'numpy', 'lm_eval'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
