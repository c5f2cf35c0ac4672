"""The cluster that the tests submit to, and the workflow's folder."""

import pytest
import slurm_cluster


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """The variables of a running cluster; skips, with the reason, where there can be none."""
    against = slurm_cluster.reason_against()
    if against:
        pytest.skip(against)
    with slurm_cluster.running(tmp_path_factory.mktemp("slurm") / "cluster") as environment:
        yield environment
