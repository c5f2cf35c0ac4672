import os

import pytest
from lowrank.scheduler import keeps_accounts


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
