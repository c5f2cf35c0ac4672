"""The package by itself: what it takes to load a low-rank checkpoint, and no more."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[3]
LOADING = ("lowrank.decompose.pretrained_config", "lowrank.decompose.pretrained_model")
WITH_TRANSFORMERS = {"yaml", "numpy", "huggingface_hub", "tokenizers", "packaging"}


def test_loading_takes_the_packages_that_are_declared():
    graph = grimp.build_graph("lowrank", include_external_packages=True, cache_dir=None)
    inside = set(LOADING).union(*(graph.find_upstream_modules(name) for name in LOADING))
    outside = {name for name in inside if not name.startswith("lowrank")} - sys.stdlib_module_names
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {line.partition(">")[0] for line in project["dependencies"]}
    assert declared == {"torch", "transformers", "safetensors"}
    assert outside <= declared | WITH_TRANSFORMERS


def test_a_wheel_holds_the_library_and_works(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--wheel-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip("pip cannot get the package that builds wheels here")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert all(name.startswith(("lowrank/", "lowrank_workflow-")) for name in names)
    code = "import lowrank, transformers; from transformers.models.auto.configuration_auto import "
    code += "CONFIG_MAPPING as M; print(lowrank.__file__); print(*M._extra_content)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], env=environment, capture_output=True, text=True
    )
    file, registered = done.stdout.splitlines()
    assert file == str(tmp_path / "site/lowrank/__init__.py")
    assert registered == "lowrank (import lowrank first)"
