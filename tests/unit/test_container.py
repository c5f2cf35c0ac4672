"""The container files: one base, one lock, one environment. Building them needs an engine."""

import re
import subprocess
from pathlib import Path

import pytest

DOCKER = Path("Dockerfile").read_text()
APPTAINER = Path("apptainer.def").read_text()
INSTRUCTIONS = {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "CMD"}


def test_every_instruction_is_one_of_docker_s():
    joined = re.sub(r"\\\n", " ", DOCKER)
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    assert {line.split()[0] for line in lines} <= INSTRUCTIONS
    assert lines[0].startswith("FROM ")


def test_both_start_from_one_pinned_image():
    (docker,) = re.findall(r"^FROM (\S+)$", DOCKER, flags=re.MULTILINE)
    (apptainer,) = re.findall(r"^From: (\S+)$", APPTAINER, flags=re.MULTILINE)
    assert docker == apptainer
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", docker)


@pytest.mark.parametrize("text", [DOCKER, APPTAINER], ids=["docker", "apptainer"])
def test_packages_come_from_the_lock_alone(text):
    installs = re.findall(r"pip install ([^\n\\&]+)", text)
    assert installs and all(found.strip().endswith("requirements.lock") for found in installs)
    assert "curl" not in text and "ADD http" not in text


@pytest.mark.parametrize("text", [DOCKER, APPTAINER], ids=["docker", "apptainer"])
def test_make_takes_the_container_s_environment(text):
    assert 'MAKEFLAGS="VENV=/opt/lowrank/venv"' in text
    assert "touch -d 2100-01-01 /opt/lowrank/venv/.runtime" in text


def test_make_with_an_environment_elsewhere_builds_none(tmp_path):
    subprocess.run(["touch", "-d", "2100-01-01", tmp_path / ".runtime"], check=True)
    made = subprocess.run(
        ["make", "-n", f"VENV={tmp_path}", "reproduce"], capture_output=True, text=True, check=True
    )
    assert f"{tmp_path}/bin/snakemake" in made.stdout
    assert "-m venv" not in made.stdout


def test_the_shell_of_the_apptainer_definition_parses():
    post = APPTAINER.split("%post")[1].split("%environment")[0]
    subprocess.run(["sh", "-n"], input=post, text=True, check=True)


def test_the_build_context_is_what_is_copied():
    """Results and environments of gigabytes would be sent to the engine otherwise."""
    lines = [line for line in Path(".dockerignore").read_text().split("\n") if line[:1] not in "#"]
    copied = re.findall(r"^COPY (\S+)", DOCKER, flags=re.MULTILINE)
    assert lines == ["*", *(f"!{name}" for name in copied)]
