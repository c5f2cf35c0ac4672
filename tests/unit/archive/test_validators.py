"""The validators of others take the citation file and the archive.

They want older packages than the workflow's, so they get an environment of their own.
"""

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CONTEXT = files("rocrate") / "data/ro-crate.jsonld"
PROFILE = "provenance-run-crate-0.5"


def last_line(text):
    return text.strip().splitlines()[-1] if text.strip() else "no word"


@pytest.fixture(scope="module")
def validators(tmp_path_factory):
    """The folder of the programs of an environment that has the validators."""
    folder = tmp_path_factory.mktemp("validators")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
    pip = [folder / "bin/python", "-m", "pip", "install", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--quiet", "--no-compile", "-r", ROOT / "tests/validators.txt"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        pytest.skip(f"the validators cannot be installed here: {last_line(done.stderr)}")
    return folder / "bin"


def issues(validators, crate, severity, home):
    """What the validator of crates says at a severity or above."""
    done = subprocess.run(
        [
            validators / "python",
            ROOT / "tests/crate_validator.py",
            *(CONTEXT, crate, PROFILE, severity),
        ],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(last_line(done.stdout))


def test_the_citation_file_is_valid(validators):
    done = subprocess.run(
        [validators / "cffconvert", "--validate", "-i", ROOT / "CITATION.cff"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_archive_is_a_provenance_run_crate(validators, crate, tmp_path):
    assert issues(validators, crate, "REQUIRED", tmp_path) == []


def test_the_validator_finds_what_is_wrong(validators, crate, tmp_path):
    """So that its silence says something."""
    described = json.loads((crate / "ro-crate-metadata.json").read_text())
    root = next(entity for entity in described["@graph"] if entity["@id"] == "./")
    del root["mainEntity"], root["license"]
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "ro-crate-metadata.json").write_text(json.dumps(described))
    found = {issue["check"] for issue in issues(validators, damaged, "REQUIRED", tmp_path)}
    assert any(check.startswith("ro-crate-1.1_") for check in found)
    assert any(check.startswith("workflow-ro-crate") for check in found)
