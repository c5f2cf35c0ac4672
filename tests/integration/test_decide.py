"""`make decide` on the tiny model: two looks, then nothing more to ask."""

import shutil
import subprocess
import sys

import pyarrow.parquet
import pytest
import yaml
from copied_workflow import make_workflow
from lowrank.base.files import read_json
from workflow_copy import ROOT

CLAIM = {
    "title": "Fewer layers score less",
    "claim": "Decomposing all layers costs accuracy.",
    "source": "the test",
    "named": {"model": "Tiny"},
    "speaks_of": {"models": ["tiny"], "devices": []},
    "scales": ["laptop"],
    "figures": [],
    "allowed": "any loss",
    "tests": [
        {
            "says": "loss of all layers",
            "operator": "loss",
            "arguments": {
                "study": "table_4_2",
                "configurations": {"labels": ["all"]},
                "benchmarks": ["arc_easy"],
            },
            "unit": "points",
            "range": [0, None],
        }
    ],
}
DECIDED = {
    "scale": "decided",
    "looks": {"count": 3},
    "profile": {"study": None},
    "pathvars": {f"{name}": f"{name}/decided" for name in ("results", "figures", "logs")},
}


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    made = make_workflow(tmp_path_factory.mktemp("decide") / "workflow")
    shutil.copytree(ROOT / ".ci", made.folder / ".ci")
    (made.folder / "config/claims.yaml").write_text(yaml.safe_dump({"C1": CLAIM}))
    (made.folder / "decided.yaml").write_text(yaml.safe_dump(DECIDED))
    return made


def decide(workflow):
    """Run the command as the Makefile does, and return what it prints."""
    command = [sys.executable, "workflow/scripts/decide.py", "--folder", "config"]
    command += ["--cores", "2", "--budget", "30", "--configfiles", "decided.yaml"]
    done = subprocess.run(
        command,
        cwd=workflow.folder,
        env=workflow.environment | {"PYTHONPATH": "workflow"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answers(workflow, decomposition):
    """How many answers of a configuration the store holds."""
    files = (workflow.folder / "results/answers/tiny" / decomposition).glob("*/*.parquet")
    return sum(pyarrow.parquet.read_metadata(path).num_rows for path in files)


def test_what_the_test_compares_is_asked_more_and_nothing_else(workflow):
    said = decide(workflow)
    plan = read_json(workflow.folder / "results/decided/plan.json")
    assert plan["looks"]["numbers"] == {"arc_easy": [8, 12, 12], "winogrande": [8, 12, 12]}
    # Twelve questions are all that there are: a second look is the last one.
    names = ("dense", "tucker-r1-l1-4-all")
    assert plan["asked"] in ({}, {"tiny": {name: {"arc_easy": 12} for name in names}})
    evaluations = workflow.folder / "results/decided/models/tiny/evaluations"
    for path in evaluations.glob("*.json"):
        asked = {
            name: own["questions"]["asked"] for name, own in read_json(path)["benchmarks"].items()
        }
        own = plan["asked"].get("tiny", {}).get(path.stem, {})
        assert asked == {"arc_easy": 8, "winogrande": 8} | own
    ledger = read_json(workflow.folder / "results/decided/claims.json")
    (test,) = ledger["claims"][0]["scopes"]["run"]["tests"]
    assert test["plan"]["look"] in ((2, 3) if plan["asked"] else (1,))
    assert "3 looks are planned" in said and "tests are decided" in said
    assert (workflow.folder / "figures/decided/report/report.pdf").exists()


def test_a_second_call_asks_nothing_and_the_plan_is_a_configuration(workflow):
    before = {name: answers(workflow, name) for name in ("dense", "tucker-r1-l2-all")}
    ledger = (workflow.folder / "results/decided/claims.json").read_bytes()
    decide(workflow)
    assert {name: answers(workflow, name) for name in before} == before
    assert (workflow.folder / "results/decided/claims.json").read_bytes() == ledger
    files = ("decided.yaml", "results/decided/plan.json")
    assert workflow.jobs("--configfile", *files) == {}
