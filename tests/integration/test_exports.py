"""Exports on demand: of any configuration, in both forms, beside what the studies share."""

import subprocess

import tiny
from copied_workflow import make_workflow

EXPORTED = "results/models/tiny/exported"


def test_any_configuration_is_exported_and_studies_do_not_notice(tmp_path):
    workflow = make_workflow(tmp_path / "workflow")
    before = workflow.jobs()
    name = "tucker-r3-l2-all"  # the studies ask for rank 1
    workflow.run(f"{EXPORTED}/{name}", f"{EXPORTED}/low_rank/{name}")
    dense, low_rank = (workflow.folder / EXPORTED / part for part in (name, f"low_rank/{name}"))
    assert (dense / "model.safetensors").exists()
    assert tiny.read_json(dense / "config.json")["model_type"] == "llama"
    assert not (low_rank / "model.safetensors").exists()
    assert "not evaluated" in (low_rank / "README.md").read_text()
    sizes = [sum(p.stat().st_size for p in d.glob("*.safetensors")) for d in (dense, low_rank)]
    assert sizes[0] > sizes[1]
    # What is there of the studies' jobs is done but for what every job needs: the weights.
    left = workflow.jobs()
    assert before.pop("fetch_model") == 1 and left == before

    for wrong, said in (
        ("tucker-r1-l9-all", "layer 9 is outside 1…4"),
        ("low_rank/Tucker", "is not the name of a decomposition"),
        ("dense+nf4", "is quantized"),
    ):
        command = workflow.command("-n", f"{EXPORTED}/{wrong}")
        done = subprocess.run(
            command, cwd=workflow.folder, env=workflow.environment, capture_output=True, text=True
        )
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert done.returncode != 0 and len(errors) == 1 and said in errors[0]
        assert "Traceback" not in done.stderr + done.stdout
