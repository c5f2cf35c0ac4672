"""What people bring: a model in a directory, names of any kind, a mirror in their home."""

import json
import subprocess

import pytest
import tiny
import yaml
from copied_workflow import Workflow, make_workflow

TABLE = "results/models/My-Model-1.0/studies/My-Study.v2.csv"
BRINGING = ("--config", 'models=["./My Model (1.0)"]')


@pytest.fixture(scope="module")
def brought(tmp_path_factory) -> Workflow:
    """A workflow whose model is a directory beside it, and whose names are as people write them."""
    made = make_workflow(tmp_path_factory.mktemp("brought") / "clone")
    config = made.folder / "config"
    (made.folder / "mirror/tiny").rename(made.folder / "My Model (1.0)")
    (config / "models/tiny.yaml").unlink()
    (config / "benchmarks/arc_easy.yaml").rename(config / "benchmarks/Arc-Easy.v2.yaml")
    labels = "9: {layers: [2]}\n  1.50: {layers: [3]}\n  2024-01-01: {layers: [1]}\n"
    study = f"title: 2024\nfamily: llama\nconfigurations:\n  {labels}  NA: {{layers: [2, 3]}}\n"
    (config / "studies/My-Study.v2.yaml").write_text(study)

    def change(run):
        run["models"], run["studies"] = ["llama-2-7b-random"], ["My-Study.v2"]
        run["benchmarks"] = {"Arc-Easy.v2": {"limit": 4}, "winogrande": None}
        run["profile"] = {"study": None}

    made.edit_yaml("config/config.yaml", change)
    made.run(*BRINGING, "--", TABLE)
    return made


def fetched(made):
    return tiny.read_json(made.folder / "results/models/My-Model-1.0/manifest.json")


def test_a_directory_is_scored_under_its_own_name(brought):
    rows = (brought.folder / TABLE).read_text().splitlines()
    columns = rows[0].split(",")
    told = [dict(zip(columns, row.split(","), strict=False)) for row in rows[1:]]
    labels = list(dict.fromkeys(row["label"] for row in told))
    assert labels == ["dense", "9", "1.50", "2024-01-01", "NA"]
    assert {row["benchmark"] for row in told} == {"Arc-Easy.v2", "aggregate"}
    folder = brought.folder / "My Model (1.0)"
    assert fetched(brought)["files"]["config.json"] == tiny.sha256(folder / "config.json")
    assert fetched(brought)["source"].startswith("directory:My-Model-1.0@sha256:")
    assert str(brought.folder) not in json.dumps(fetched(brought))


def test_only_a_change_of_its_files_runs_anything_again(brought):
    assert brought.jobs(*BRINGING, "--", TABLE) == {}
    folder = brought.folder / "My Model (1.0)"
    (folder / "README.md").write_text("About it.")  # no part of the model
    (folder / "config.json").touch()
    assert brought.jobs(*BRINGING, "--", TABLE) == {}
    moved = folder.rename(brought.folder / "elsewhere")
    named = 'models=[{path: ./elsewhere, name: My-Model-1.0, label: "My Model (1.0)"}]'
    assert brought.jobs("--config", named, "--", TABLE) == {}
    kept = (moved / "model.safetensors").read_bytes()
    tiny.save_model(moved, seed=1)
    jobs = brought.jobs("--config", named, "--", TABLE)
    assert jobs["fetch_model"] == 1 and jobs["evaluate"] == 5 and "fetch_benchmark" not in jobs
    (moved / "model.safetensors").write_bytes(kept)
    moved.rename(folder)
    assert brought.jobs(*BRINGING, "--", TABLE) == {}


def refused(made, *arguments, **environment):
    done = subprocess.run(
        made.command("-n", *arguments),
        cwd=made.folder,
        env=made.environment | environment,
        capture_output=True,
        text=True,
    )
    said = (done.stdout + done.stderr).splitlines()
    (line,) = [line for line in said if line.startswith("error: ")]
    assert done.returncode and "Traceback" not in done.stdout + done.stderr
    return line


def test_what_is_wrong_is_one_line_before_any_job(brought, tmp_path):
    line = refused(brought, "--config", "models=[./none]")
    assert f"./none: {brought.folder}/none is no directory" in line
    line = refused(brought, "--config", "models=[~/none]", HOME=str(tmp_path))
    assert f"~/none: {tmp_path}/none is no directory" in line
    (tmp_path / "twice.yaml").write_text("hub: true\nhub: false\n")
    line = refused(brought, "--configfile", "config/config.yaml", str(tmp_path / "twice.yaml"))
    assert f"{tmp_path}/twice.yaml, line 2: the key 'hub' stands twice" in line
    line = refused(brought, *BRINGING, LOWRANK_MIRROR="$HOME/typo", HOME=str(tmp_path))
    assert f"the mirror $HOME/typo ({tmp_path}/typo) is no directory" in line


def test_a_mirror_in_the_home(brought):
    """By `~` in the configuration, where the variable is not set."""
    environment = brought.environment
    environment.pop("LOWRANK_MIRROR")
    overlay = brought.folder / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"mirror": "~/mirror", "models": ["./My Model (1.0)"]}))
    done = subprocess.run(
        brought.command("-n", "--configfile", "config/config.yaml", str(overlay), "--", TABLE),
        cwd=brought.folder,
        env=environment | {"HOME": str(brought.folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
