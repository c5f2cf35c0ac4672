"""The workflow's form: what Snakemake's linter and catalog ask of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("arguments", [[], ["-s", "workflow/Snakefile"]], ids=["root", "catalog"])
def test_snakemake_lints_it(arguments):
    command = [sys.executable, "-m", "snakemake", *arguments, "--lint"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_both_files_plan_the_same_jobs():
    """The root's file includes the other, and keeps its default target."""
    planned = []
    for name in ("Snakefile", "workflow/Snakefile"):
        command = [sys.executable, "-m", "snakemake", "-s", name, "-n", "--cores", "1"]
        command += ["--quiet", "all", "--summary", "--configfile", "config/laptop.yaml"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        planned.append(done.stdout)
    assert planned[0] == planned[1] and "figures/report/report.pdf" in planned[0]


def test_the_catalog_finds_what_it_asks_for():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert (ROOT / "config/README.md").is_file()


def test_every_setting_is_described_with_its_default():
    page = (ROOT / "config/README.md").read_text()
    schema = yaml.safe_load((ROOT / "config/schemas/config.schema.yaml").read_text())
    run = schema["properties"]
    benchmark = run["benchmarks"]["additionalProperties"]["properties"]
    for keys, text in (
        (run, section(page, "", "A benchmark has")),
        (benchmark, section(page, "A benchmark has", "`profile` has")),
        (run["profile"]["properties"], section(page, "`profile` has", "`sandbox` has")),
        (run["sandbox"]["properties"], section(page, "`sandbox` has", "`pathvars` has")),
    ):
        told = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.MULTILINE))
        assert set(told) == set(keys)
        for key, default in told.items():
            if default.startswith("`"):
                assert yaml.safe_load(default.strip("`")) == keys[key]["default"], key
            else:
                assert default in ("required", "below", "four"), key
    folders = re.search(r"`pathvars` has the keys (.+?)\.", page)[1]
    assert set(re.findall(r"`(\w+)`", folders)) == set(run["pathvars"]["properties"])


def section(page, begin, end):
    return page[page.index(begin) : page.index(end)]


def test_the_oldest_snakemake_is_the_one_that_is_installed():
    body = (ROOT / "workflow/Snakefile").read_text()
    locked = re.search(r"^snakemake==(\d+\.\d+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert re.findall(r'min_version\("(.+)"\)', body) == [locked[1]]


def test_a_stage_has_one_file_of_rules_and_what_they_share_is_short():
    rules = {path.stem: path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk")}
    stages = {"assets", "decompose", "evaluate", "profile", "analyse", "claims", "figures"}
    assert set(rules) == stages | {"recover", "quantize", "tables", "paper", "common", "running"}
    assert len(rules["common"].splitlines()) <= 80
    # What Snakemake does not promise is asked for in one file.
    private = re.compile(r"workflow\.(?!basedir|current_basedir|source_path|get_rule)\w+[.( ]")
    assert {name for name, text in rules.items() if private.search(text)} == {"running"}


def test_what_compresses_is_recorded_and_has_the_threads_that_the_table_of_costs_says():
    body = (ROOT / "workflow/rules/decompose.smk").read_text()
    rules = dict(re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", body, re.MULTILINE | re.DOTALL))
    recorded = {name for name, text in rules.items() if "    benchmark:\n" in text}
    walks = {"gather_moments", "gather_gradients"}
    assert recorded == walks | {"factorize_layer", "compress", "compress_in_sequence"}
    for name in recorded:
        (path,) = re.findall(r'benchmark:\n        "(.+)"', rules[name])
        assert path.startswith(f"<results>/costs/{{model}}/{name}/") and path.endswith(".tsv")
        assert "    threads: COMPRESSING_THREADS\n" in rules[name]
