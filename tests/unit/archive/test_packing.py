"""What is in an archive, and what its description says of it."""

import hashlib
import json
import re
import shutil
import subprocess
import tarfile
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from lowrank.archive.contents import LEFT_OUT, SOURCES, contents, reason_left_out
from lowrank.archive.jobs import read_jobs
from lowrank.archive.packing import pack
from lowrank.base.errors import LowrankError
from rocrate.rocrate import ROCrate
from workflow_copy import ROOT

COMPRESSED = "results/models/tiny/compressed/dense+more/factors.safetensors"


@pytest.fixture(scope="module")
def graph(crate):
    described = json.loads((crate / "ro-crate-metadata.json").read_text())
    return {entity["@id"]: entity for entity in described["@graph"]}


def references(value):
    """Every identifier that an entity refers to."""
    if isinstance(value, dict):
        yield from [value["@id"]] if set(value) == {"@id"} else ()
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def jobs_in(graph):
    return {name: entity for name, entity in graph.items() if name.startswith("#job/")}


def test_results_figures_records_and_sources_are_packed_and_nothing_dense(crate, run):
    files = {path.relative_to(crate).as_posix() for path in crate.rglob("*") if path.is_file()}
    assert {COMPRESSED, "results/claims.json", "figures/report/report.pdf"} <= files
    assert {"source/workflow/Snakefile", "source/CITATION.cff"} <= files
    records = {path for path in files if path.startswith(".snakemake/metadata/")}
    assert len(records) == sum(path.is_file() for path in (run / ".snakemake").rglob("*"))
    assert not any(part in LEFT_OUT for path in files for part in Path(path).parts)
    assert not any("__pycache__" in path or "abcdefgh" in path for path in files)


def test_a_file_that_is_too_large_stays_out_and_is_named(run, monkeypatch):
    monkeypatch.setattr("lowrank.archive.contents.LARGEST", 6)
    names = {file.name for file in contents(run, "results", "figures")}
    assert "figures/report/report.pdf" in names and COMPRESSED not in names
    assert f"`snakemake {COMPRESSED}`" in reason_left_out(COMPRESSED)


def test_files_keep_their_times_so_that_nothing_reruns(crate, run):
    for name in ("results/claims.json", COMPRESSED):
        assert (crate / name).stat().st_mtime == (run / name).stat().st_mtime


def test_nothing_that_a_clone_has_is_overwritten(run):
    """All but the page of figures, which is the clone's own."""
    places = {file.name.split("/")[0] for file in contents(run, "results", "figures")}
    assert places == {"results", "figures", ".snakemake", "source"}


def test_all_that_a_clone_needs_to_go_on_is_among_the_sources():
    """`make reproduce` in the unpacked sources, and every page that another one links to."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no git checkout")
    outside = {path for path in done.stdout.splitlines() if not is_source(path)}
    assert outside == {".dockerignore", ".gitignore", ".snakemake-workflow-catalog.yml"}


def is_source(path):
    return any(path == source or path.startswith(f"{source}/") for source in SOURCES)


def rules_of(folder, results, figures):
    """The rules of the jobs that an archive describes."""
    pack(folder, results, figures, folder / "made.tar.gz")
    with tarfile.open(folder / "made.tar.gz") as archive:
        described = json.load(archive.extractfile("ro-crate-metadata.json"))
    graph = {entity["@id"]: entity for entity in described["@graph"]}
    return {name.split("/")[1] for name in jobs_in(graph)}


def test_runs_of_other_scales_stay_out(run, record_job, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    for name in ("results/other/claims.json", "figures/other/claims.png"):
        (folder / name).parent.mkdir()
        shutil.copy(run / "results/claims.json", folder / name)
        record_job(folder, name, "of_another_run", "judge_claims", [], 9)
    (folder / "results/other/models").mkdir()
    own = {"fetch_model", "compress", "judge_claims", "build_report", "collect"}
    assert [file for file in contents(folder, "results", "figures") if "other/" in file.name] == []
    assert rules_of(folder, "results", "figures") == own
    assert rules_of(folder, "results/other/", "figures/other") == {"of_another_run"}
    shutil.move(folder / "results/other", folder / "results/moved")
    with pytest.raises(LowrankError, match="knows of no job that made results/moved: run it again"):
        rules_of(folder, "results/moved", "figures/moved")


def test_every_file_is_described_with_its_checksum(crate, graph):
    described = {name for name, entity in graph.items() if "File" in entity["@type"]}
    for path in crate.rglob("*"):
        name = path.relative_to(crate).as_posix()
        if not path.is_file() or name.startswith((".snakemake/", "ro-crate-")):
            continue
        assert quote(name) in described
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert graph[quote(name)]["sha256"] == digest
    for name in described:
        assert (crate / unquote(name)).is_file()


def test_whatever_is_referred_to_is_there_or_on_the_web(graph):
    for name, entity in graph.items():
        for target in (one for value in entity.values() for one in references(value)):
            assert target in graph or target.startswith(("http://", "https://")), (name, target)


def test_every_job_has_its_command_times_inputs_and_outputs(graph):
    jobs = {entity["name"]: entity for entity in jobs_in(graph).values()}
    assert len(jobs) == 5  # the record of a lost file, and the unfinished one, do not count
    judge = jobs["judge_claims: results/claims.json"]
    assert judge["instrument"] == {"@id": "source/workflow/scripts/judge_claims.py"}
    assert judge["description"] == "python workflow/scripts/judge_claims.py --number 3"
    assert judge["startTime"] == "2023-11-14T22:13:50+00:00"
    assert judge["endTime"] == "2023-11-14T22:13:55+00:00"
    assert set(references(judge["object"])) == {quote(COMPRESSED), "source/config/config.yaml"}
    assert set(references(judge["result"])) == {"results/claims.json", "results/claims.txt"}


def test_a_rule_without_a_script_stands_for_itself(graph):
    collect = next(job for name, job in jobs_in(graph).items() if "/collect/" in name)
    assert graph[collect["instrument"]["@id"]]["name"] == "the rule collect"


def test_what_was_left_out_is_named_with_the_way_to_get_it(graph):
    compress = next(job for name, job in jobs_in(graph).items() if "compress" in name)
    (absent,) = references(compress["object"])
    assert absent == "#absent/results/models/tiny/weights"
    assert "fetched anew" in graph[absent]["description"]


def test_the_description_is_read_by_the_library_for_crates(crate):
    read = ROCrate(crate)
    assert read.mainEntity.id == "source/workflow/Snakefile"
    assert read.name.startswith("Results of: ")
    assert len(read.root_dataset["mentions"]) == 6  # the run and its jobs
    assert read.license.id == "https://spdx.org/licenses/MIT"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("href", "src")]

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_links_to_what_is_inside_and_needs_no_network(crate):
    page = Page((crate / "ro-crate-preview.html").read_text())
    assert page.links
    for link in page.links:
        assert (crate / link).exists(), link
    text = " ".join(page.words)
    ledger = json.loads((crate / "results/claims.json").read_text())
    for claim in ledger["claims"]:
        assert claim["title"] in text and claim["id"] in page.words
    assert re.search(r"\d+ files of 5 jobs", text)


def test_jobs_come_in_the_order_in_which_they_ran(run):
    jobs = read_jobs(run / ".snakemake/metadata", run)
    assert [job.rule for job in jobs] == [
        *("fetch_model", "compress", "judge_claims", "build_report", "collect"),
    ]
    assert jobs[0].started == datetime(2023, 11, 14, 22, 13, 30, tzinfo=UTC)
    assert len(jobs[-1].outputs[0]) > 500 and (run / jobs[-1].outputs[0]).exists()
    assert (jobs[0].script, jobs[-1].script) == ("workflow/scripts/fetch_model.py", "")


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        ("results/claims.json", "claims.json is not there: the run is not complete"),
        (".snakemake/metadata", "is not there: run `make reproduce` first"),
        (".snakemake/metadata/*", "knows of no finished job"),
    ],
)
def test_a_run_that_is_not_complete_is_one_line(run, tmp_path, lost, says):
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    for path in [*folder.glob(lost)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(LowrankError, match=says) as caught:
        pack(folder, "results", "figures", tmp_path / "out.tar.gz")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.tar.gz").exists()
