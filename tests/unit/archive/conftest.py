"""A small finished run, as Snakemake and the workflow leave it, and its unpacked archive."""

import base64
import json
import os
import shutil
import tarfile

import pytest
from made_ledger import made_ledger
from workflow_copy import ROOT

WEIGHTS = "results/models/tiny/weights"
COMPRESSED = "results/models/tiny/compressed/dense+more/factors.safetensors"
DEEP = "results/" + "/".join(["a-long-name" * 8] * 6) + "/table.csv"
SOURCES = ("Snakefile", "workflow/Snakefile", "config/config.yaml", "requirements.lock")
BEGIN = 1_700_000_000


def write(folder, path, text):
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def record(folder, output, rule, script, inputs, number, **changes):
    """Write what Snakemake records of a job's output."""
    encoded = base64.urlsafe_b64encode(output.encode()).decode()
    parts = [encoded[start : start + 254] for start in range(0, len(encoded), 254)]
    path = "/".join([*(f"@{part}" for part in parts[:-1]), parts[-1]])
    content = {
        "rule": rule,
        "shellcmd": f"python workflow/scripts/{script}.py --number {number}",
        "input": inputs,
        "incomplete": False,
        "starttime": BEGIN + 10.0 * number,
        "endtime": BEGIN + 10.0 * number + 5.25,
        **changes,
    }
    write(folder, f".snakemake/metadata/{path}", json.dumps(content))


@pytest.fixture
def record_job():
    return record


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The folder of the run."""
    folder = tmp_path_factory.mktemp("run")
    for name in SOURCES:
        write(folder, name, (ROOT / name).read_text())
    for name in ("README.md", "LICENSE", "CITATION.cff"):
        shutil.copy(ROOT / name, folder / name)
    scripts = ("fetch_model", "compress", "judge_claims", "build_report")
    for script in scripts:
        write(folder, f"workflow/scripts/{script}.py", "print()\n")
    write(folder, "workflow/scripts/__pycache__/x.pyc", "compiled")
    write(folder, f"{WEIGHTS}/model.safetensors", "dense")
    write(folder, "results/wheels/model.whl", "a wheel")
    write(folder, "results/models/tiny/factors/svd/layer-1.safetensors", "left out")
    write(folder, "results/models/tiny/.factors.abcdefgh/half", "left by a kill")
    write(folder, COMPRESSED, "factors")
    made_ledger(folder / "results/claims.json")
    write(folder, "results/claims.txt", "C1 supported\n")
    write(folder, "figures/report/report.pdf", "%PDF")
    library = ["workflow/scripts/fetch_model.py"]
    record(folder, WEIGHTS, "fetch_model", "fetch_model", library, 1)
    record(folder, COMPRESSED, "compress", "compress", [WEIGHTS], 2)
    for name in ("results/claims.txt", "results/claims.json"):
        inputs = [COMPRESSED, "config/config.yaml"]
        record(folder, name, "judge_claims", "judge_claims", inputs, 3)
    report = ["results/claims.json"]
    record(folder, "figures/report/report.pdf", "build_report", "build_report", report, 4)
    write(folder, DEEP, "a,b\n")
    record(folder, DEEP, "collect", "none", [], 7, shellcmd=None)
    record(folder, "results/gone.json", "judge_claims", "judge_claims", [], 5)
    record(folder, "results/claims.txt.new", "judge_claims", "judge_claims", [], 6, incomplete=True)
    for path in folder.rglob("*"):
        os.utime(path, (BEGIN, BEGIN))
    return folder


@pytest.fixture(scope="session")
def crate(run, tmp_path_factory):
    """The folder where the run's archive is unpacked."""
    from lowrank.archive.packing import pack

    folder = tmp_path_factory.mktemp("crate")
    pack(run, "results", "figures", folder / "archive.tar.gz")
    with tarfile.open(folder / "archive.tar.gz") as archive:
        archive.extractall(folder / "unpacked", filter="data")
    return folder / "unpacked"
