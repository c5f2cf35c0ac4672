"""The floors of the library: what `make lint` checks, and that it fails where it must."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lowrank.running.imports import drawing

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "workflow/lowrank"


def check(folder):
    """Check the contract on the package in a folder; return the exit status and what is said."""
    done = subprocess.run(
        [
            Path(sys.executable).parent / "lint-imports",
            *("--config", ROOT / "pyproject.toml", "--no-cache", "--no-logo"),
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_library_imports_downward_and_in_no_circle():
    status, said = check(ROOT / "workflow")
    assert status == 0, said
    assert "Contracts: 2 kept, 0 broken." in said


@pytest.fixture
def copy(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(LIBRARY, tmp_path / "lowrank", ignore=ignored))


def add(path, line):
    """Add a line to a module; return its number."""
    lines = [*path.read_text(encoding="utf-8").splitlines(), line]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


@pytest.mark.parametrize(
    ("importer", "imported", "line"),
    [
        ("base.files", "claims.ledger", "from lowrank.claims.ledger import judge_claims"),
        ("profile.rounds", "evaluate.job", "    from lowrank.evaluate.job import evaluate"),
        ("tables.macs", "figures.style", "import lowrank.figures.style"),
        ("space.methods", "project.studies", "if TYPE_CHECKING: import lowrank.project.studies"),
    ],
    ids=["upward", "beside, in a function", "beside", "upward, for types"],
)
def test_an_import_that_runs_upward_or_across_is_named(copy, importer, imported, line):
    path = copy.joinpath(*importer.split(".")).with_suffix(".py")
    if line.startswith(" "):
        add(path, "def added() -> None:")
    elif "TYPE_CHECKING" in line:
        add(path, "from typing import TYPE_CHECKING")
    number = add(path, line)
    status, said = check(copy.parent)
    assert status == 1
    assert f"- lowrank.{importer} -> lowrank.{imported} (l.{number})" in said


def test_a_circle_of_modules_is_named(copy):
    add(copy / "claims/evidence.py", "import lowrank.claims.operators")
    status, said = check(copy.parent)
    assert status == 1
    assert "No cycles are allowed in lowrank.claims." in said
    assert re.search(r"- \.(evidence -> \.operators|operators -> \.evidence) ", said)


def test_a_package_on_no_floor_is_named(copy):
    (copy / "elsewhere").mkdir()
    (copy / "elsewhere/__init__.py").write_text('"""No floor."""\n', encoding="utf-8")
    status, said = check(copy.parent)
    assert status == 1
    assert "- lowrank.elsewhere" in said


def test_the_drawing_has_every_package_above_what_it_imports():
    floors = {}
    for line in drawing(ROOT / "pyproject.toml").splitlines()[1:]:
        floor, package, *imports = line.replace(",", "").split()
        floors[package] = int(floor), imports
    assert set(floors) == {path.name for path in LIBRARY.iterdir() if path.name[0] != "_"}
    assert floors["base"] == (1, [])
    for floor, imports in floors.values():
        assert all(floors[name][0] < floor for name in imports)
    assert "base" in floors["claims"][1] and "figures" not in floors["tables"][1]
