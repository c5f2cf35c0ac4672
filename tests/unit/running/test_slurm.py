import os
import re
from pathlib import Path

import pytest
import yaml
from lowrank.running.slurm import keeps_accounts


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("echo 'AccountingStorageType   = accounting_storage/slurmdbd'", True),
        ("echo 'AccountingStorageType   = accounting_storage/none'", False),
        ("echo 'AccountingStorageType   = (null)'", False),
        ("echo 'no controller' >&2; exit 1", False),
        ("sleep 30", False),
    ],
)
def test_accounts_are_what_the_cluster_s_configuration_says(monkeypatch, tmp_path, script, answer):
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert keeps_accounts(seconds=0.5) == answer


def test_without_slurm(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert not keeps_accounts()


def test_the_profile_names_rules_that_there_are():
    """Snakemake takes any name without a word."""
    profile = yaml.safe_load(Path("profiles/slurm/config.yaml").read_text())
    text = "".join(path.read_text() for path in Path("workflow/rules").glob("*.smk"))
    rules = set(re.findall(r"^rule (\w+):", text, flags=re.MULTILINE))
    grouped = dict(entry.split("=") for entry in profile["groups"])
    assert set(grouped) | set(profile["set-resources"]) <= rules
    assert {entry.split("=")[0] for entry in profile["group-components"]} == set(grouped.values())
    # What is grouped is short, or a submission of fifty would wait for a day of somebody's time.
    assert all(profile["set-resources"][rule]["runtime"] <= 5 for rule in grouped)
