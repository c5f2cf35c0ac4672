"""What a result says of its making does not depend on what its process did before."""

import shutil
import subprocess
import sys
from pathlib import Path

import lowrank
import pytest
from lowrank.base import provenance
from lowrank.base.errors import LowrankError


def digest(library, order=()):
    statements = [f"import {module}" for module in (*order, "lowrank.base.provenance")]
    statements.append("print(lowrank.base.provenance.code_digest())")
    return subprocess.check_output(
        [sys.executable, "-c", "; ".join(statements)],
        env={"PYTHONPATH": str(library)},
        text=True,
    ).strip()


def test_the_code_digest_is_the_same_whatever_was_imported_and_in_which_order(tmp_path):
    library = tmp_path / "copy"
    shutil.copytree(
        Path(lowrank.__file__).parent,
        library / "lowrank",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    first = digest(library)
    assert digest(library, ["lowrank.evaluate.packed.tree"]) == first
    assert digest(library, ["lowrank.assets.choice", "lowrank.evaluate.packed.tree"]) == first
    with open(library / "lowrank" / "evaluate" / "causal.py", "a") as file:
        file.write("# another line\n")
    assert digest(library) != first


def test_a_bare_machine_is_told_what_it_lacks(monkeypatch):
    found = {"torch": "2.3.1+cu121", "transformers": "5.23.0"}
    monkeypatch.setattr(provenance, "versions", lambda names: found)
    provenance.require_packages({"transformers": "4.56"})
    with pytest.raises(LowrankError, match=r"torch 2.3.1\+cu121 is too old: 2.8 or newer"):
        provenance.require_packages({"torch": "2.8"})
    with pytest.raises(LowrankError, match="nvidia-ml-py is not installed: 12 or newer"):
        provenance.require_packages({"nvidia-ml-py": "12"})
