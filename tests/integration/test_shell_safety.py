"""What a shell would act on stays text, in names and in parameters; tokens reach no file."""

import re
from pathlib import Path

from copied_workflow import Workflow, make_workflow
from workflow_copy import ROOT

HOSTILE = "a b'c\"$(touch exploded);d"
SECRET = "hf_secretsecret"


def test_a_folder_with_a_name_that_a_shell_would_act_on(finished, tmp_path):
    """The folder of the workflow and that of the mirror; with a token in the environment."""
    made = make_workflow(tmp_path / HOSTILE)
    made = Secretive(made.folder)
    made.run("results/models/tiny/studies/table_4_2.csv", "figures/tiny/figure_4_1.pdf")
    assert not list(tmp_path.rglob("exploded"))
    for path in sorted(finished.folder.glob("results/models/tiny/evaluations/*.jsonl")):
        other = made.folder / path.relative_to(finished.folder)
        assert other.read_bytes() == path.read_bytes()
    written = [
        path
        for part in ("results", "logs", "figures", ".snakemake")
        for path in (made.folder / part).rglob("*")
        if path.is_file()
    ]
    assert len(written) > 40
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []


class Secretive(Workflow):
    """A workflow that is run with a token."""

    @property
    def environment(self):
        return super().environment | {"HF_TOKEN": SECRET}


PLAIN = {"answers", "carried_over", "device", "dtype", "rank", "metric", "folder", "published"}
"""Parameters that are numbers, booleans, words of a schema's list, or paths below the pathvars."""


def test_every_parameter_that_may_hold_any_text_is_quoted():
    found = set()
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for name, form in re.findall(r"\{params\.(\w+)(:\w+)?\}", Path(path).read_text()):
            found.add(name)
            assert form == ":q" or name in PLAIN, f"{path.name}: {{params.{name}}}"
    assert len(found) > 10 and found >= PLAIN
