"""Benchmarks that ask for programs, or for continuations: what an entry must say."""

import shutil

import pytest
import yaml
from lowrank.base.errors import LowrankError
from lowrank.base.files import merge, read_yaml
from lowrank.project.configuration import Project
from lowrank.project.views.evaluate import asked_of, metrics_modules, runs_programs
from lowrank.project.views.profile import profiled_benchmarks

NAMES = ("humaneval", "humaneval_sampled", "humaneval_canonical")
SETTINGS = {
    "models": ["smollm2-135m-instruct"],
    "studies": ["table_4_2"],
    "benchmarks": {"arc_easy": {"limit": 8}, **{key: {} for key in NAMES}},
    "device": "cpu",
    "dtype": "float32",
    "batch_size": 16,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LOWRANK_HUB", "0")
    monkeypatch.delenv("LOWRANK_MIRROR", raising=False)
    return shutil.copytree("config", tmp_path / "config")


def changed(folder, name, **changes):
    """Change the entry of a benchmark; None takes a key away."""
    path = folder / "benchmarks" / f"{name}.yaml"
    entry = {k: v for k, v in (read_yaml(path) | changes).items() if v is not None}
    path.write_text(yaml.safe_dump(entry))


def protocol(of, **changes):
    entry = read_yaml(f"config/benchmarks/{of}.yaml")["protocol"] | changes
    return {"protocol": {key: value for key, value in entry.items() if value is not None}}


def test_the_protocols_are_those_of_the_harnesses():
    greedy, sampled = (
        read_yaml(f"config/benchmarks/{name}.yaml")["protocol"] for name in NAMES[:2]
    )
    assert greedy == {
        **{"name": "greedy", "prompt": "raw", "samples": 1, "new_tokens": 1024},
        "stop": ["\nclass", "\ndef", "\n#", "\nif", "\nprint"],
    }
    assert sampled == {
        **{"name": "sampled", "prompt": "stripped", "samples": 50, "length": 512},
        **{"temperature": 0.2, "top_p": 0.95},
        "stop": ["\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```"],
    }


def test_what_rules_ask(folder):
    """The sandbox shapes the answers to programs alone: others' jobs do not know of it."""
    project = Project(SETTINGS | {"sandbox": {"seconds": 5}}, folder)
    model = project.models["smollm2-135m-instruct"]
    asked = {own["entry"]["name"]: own["settings"] for own in asked_of(project, model, "dense")}
    sandbox = {"accept_risk": False, "seconds": 5, "memory_mib": 512}
    assert {name: own.get("sandbox") for name, own in asked.items()} == {
        **{"arc_easy": {}, "humaneval": sandbox},
        **{"humaneval_sampled": sandbox, "humaneval_canonical": {}},
    }
    assert metrics_modules(project, NAMES) == ["lowrank.evaluate.programs"]
    assert metrics_modules(project, ["arc_easy", "humaneval_canonical"]) == []
    assert profiled_benchmarks(project, model) == ["arc_easy"]
    assert runs_programs(project)
    benchmarks = {"arc_easy": {}, "humaneval_canonical": {}}
    assert not runs_programs(Project(SETTINGS | {"benchmarks": benchmarks}, folder))


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("humaneval", {"protocol": None}, "protocol: programs need one"),
        ("humaneval", protocol("humaneval", name="beam"), "protocol.name: .*'beam'"),
        ("humaneval", protocol("humaneval", samples=0), "protocol.samples: 0 is less than"),
        (
            "humaneval",
            protocol("humaneval", samples=2),
            "protocol.samples: greedy programs are all",
        ),
        ("humaneval", protocol("humaneval", new_tokens=None), "protocol.new_tokens: .* needs one"),
        ("humaneval", protocol("humaneval", top_p=0.9), "protocol.top_p: .*'greedy' has none"),
        (
            "humaneval_sampled",
            protocol("humaneval_sampled", temperature=None),
            "protocol.temperature: the protocol 'sampled' needs one",
        ),
        ("humaneval_sampled", protocol("humaneval_sampled", top_p=1.5), "protocol.top_p: 1.5"),
        (
            "humaneval_sampled",
            protocol("humaneval_sampled", samples=9),
            "metric: pass@10 needs 10 programs, not 9",
        ),
        ("humaneval", {"metric": "acc"}, "programs have no metric 'acc'"),
        ("humaneval", {"metric": "pass@10"}, "metric: pass@10 needs 10 programs, not 1"),
        ("humaneval", {"columns": ["prompt", "test"]}, "columns: 'entry_point' is missing"),
        ("humaneval", {"tasks": ["humaneval"]}, "tasks: programs have none"),
        ("humaneval_canonical", {"context": None}, "context: it needs one"),
        ("humaneval_canonical", {"continuation": "solution"}, "columns: 'solution' is missing"),
        ("humaneval_canonical", {"metric": "acc"}, "metric: continuations have no 'acc'"),
        ("humaneval_canonical", {"generation": True}, "generation: continuations have none"),
        ("arc_easy", protocol("humaneval"), "protocol: the scorer 'lm_eval' has none"),
        ("arc_easy", {"context": "question"}, "context: the scorer 'lm_eval' has none"),
    ],
)
def test_a_wrong_entry_is_one_line(name, changes, says, folder):
    changed(folder, name, **changes)
    with pytest.raises(LowrankError, match=rf"{name}\.yaml: {says}") as raised:
        Project(SETTINGS, folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("sandbox", "says"),
    [
        ({"seconds": 0}, "config: sandbox.seconds"),
        ({"memory_mib": 1}, "config: sandbox.memory_mib"),
        ({"accept_risk": "yes"}, "config: sandbox.accept_risk"),
        ({"network": True}, "config: sandbox"),
    ],
)
def test_a_wrong_sandbox_is_one_line(sandbox, says, folder):
    with pytest.raises(LowrankError, match=says):
        Project(SETTINGS | {"sandbox": sandbox}, folder)


def test_the_shipped_scale_asks_programs_and_solutions(monkeypatch):
    monkeypatch.setenv("LOWRANK_HUB", "0")
    monkeypatch.delenv("LOWRANK_MIRROR", raising=False)
    files = ("config", "laptop", "humaneval")
    project = Project(merge(read_yaml(f"config/{name}.yaml") for name in files), "config")
    (model,) = project.models.values()
    assert list(project.benchmarks) == ["humaneval", "humaneval_canonical"]
    assert project.limit(model, "dense", "humaneval_canonical") is None
    dense, smaller = project.decompositions(model)
    assert dense == "dense" and smaller.startswith("svd_llm")
