"""A run as a research object crate: every file, every job, and what made them.

The form is RO-Crate 1.1 with the Provenance Run Crate profile, https://w3id.org/ro/wfrun/provenance.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rocrate.model import ContextEntity, Preview
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from lowrank.archive.contents import METADATA, SOURCE, Packed, reason_left_out
from lowrank.archive.jobs import SCRIPT, Job
from lowrank.base.files import sha256_file
from lowrank.base.provenance import versions

VERSION = "1.1"
PREVIEW = Preview.BASENAME
MAIN = f"{SOURCE}/workflow/Snakefile"

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}

BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
COMPLETED = "http://schema.org/CompletedActionStatus"
SHA256 = "https://w3id.org/ro/terms/workflow-run#sha256"

MEDIA_TYPES = {
    ".cff": "application/yaml",
    ".jsonl": "application/jsonl",
    ".lock": "text/plain",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".rst": "text/x-rst",
    ".safetensors": "application/octet-stream",
    ".smk": "text/plain",
    ".tex": "application/x-tex",
    ".typ": "text/plain",
    ".yaml": "application/yaml",
}


def describe(
    packed: Sequence[Packed],
    jobs: Sequence[Job],
    citation: Mapping[str, Any],
    results: str,
    figures: str,
) -> dict[str, Any]:
    """Return the content of `ro-crate-metadata.json`.

    Parameters
    ----------
    packed
        The files of the archive.
    jobs
        The jobs that made them, the earliest first.
    citation
        The content of `CITATION.cff`.
    results, figures
        The folders of the run's results and figures.
    """
    crate = ROCrate(version=VERSION)
    crate.metadata.extra_terms["sha256"] = SHA256
    crate.add(Preview(crate))
    files = _Files(crate, packed, citation["version"])
    _describe_root(crate, citation, results)
    workflow = _add_workflow(crate, citation, next(file for file in packed if file.name == MAIN))
    files.known[MAIN] = workflow
    tools = {rule: _add_tool(files, jobs_of[0]) for rule, jobs_of in _by_rule(jobs).items()}
    workflow["hasPart"] = _unique(tools.values())
    workflow["step"] = [
        crate.add(
            ContextEntity(
                crate,
                f"#step/{rule}",
                {
                    "@type": "HowToStep",
                    "name": rule,
                    "position": str(position),
                    "workExample": tool,
                },
            )
        )
        for position, (rule, tool) in enumerate(tools.items(), start=1)
    ]
    for slot, name, description in (
        ("input", f"{SOURCE}/config/config.yaml", "what is run: models, studies, benchmarks"),
        ("output", f"{results}/claims.json", "the verdict on each claim"),
        ("output", f"{figures}/report/report.pdf", "the report of the run"),
    ):
        if name in files.known:
            workflow.append_to(slot, _parameter(crate, files.known[name], description))
    run = crate.add_action(
        workflow,
        identifier="#run",
        object=[files.known[name] for name in files.known if name.startswith(f"{SOURCE}/config/")],
        result=[files.known[name] for name in files.known if name.startswith(f"{figures}/")]
        + [files.known[f"{results}/claims.json"]],
        properties={
            "name": "The run of the workflow",
            "description": f"{len(jobs)} jobs, done in one go or in several.",
            "startTime": jobs[0].started.isoformat(timespec="seconds"),
            "endTime": max(job.ended for job in jobs).isoformat(timespec="seconds"),
            "actionStatus": COMPLETED,
        },
    )
    actions = [_add_job(crate, files, job, tools[job.rule]) for job in jobs]
    crate.root_dataset["mentions"] = [run, *actions]
    described = crate.metadata.generate()
    described["@graph"] = [
        {name: _single(value) for name, value in entity.items()} for entity in described["@graph"]
    ]
    return described


def _single(value: Any) -> Any:
    """Return the item of a list of one, which is how the form has a single value."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


class _Files:
    """The files of a crate by their path there; what a job names and the crate lacks, once."""

    def __init__(self, crate: ROCrate, packed: Sequence[Packed], version: str) -> None:
        self.crate = crate
        self.known: dict[str, Entity] = {}
        for file in packed:
            if file.name.startswith(f"{METADATA}/") or file.name == MAIN:
                continue
            facts = _facts(file)
            if SCRIPT.fullmatch(file.name):
                facts |= {"@type": ["File", "SoftwareSourceCode"], "version": version}
            self.known[file.name] = crate.add_file(file.path, file.name, properties=facts)
        records = {"name": "Snakemake's records of the jobs, one for each output"}
        crate.add_dataset(dest_path=f"{METADATA}/", properties=records)

    def of(self, path: str) -> list[Entity]:
        """Return what stands for a path of the run: a file, the files of a folder, or a note."""
        for name in (path, f"{SOURCE}/{path}"):
            if name in self.known:
                return [self.known[name]]
        inside = [entity for name, entity in self.known.items() if name.startswith(f"{path}/")]
        if inside:
            return inside
        facts = {"@type": "CreativeWork", "name": path, "description": reason_left_out(path)}
        note = self.crate.add(ContextEntity(self.crate, f"#absent/{path}", facts))
        self.known[path] = note
        return [note]


def _facts(file: Packed) -> dict[str, Any]:
    suffix = file.path.suffix
    guessed = MEDIA_TYPES.get(suffix) or mimetypes.guess_type(file.path.name)[0]
    return {
        "name": file.name,
        "contentSize": str(file.path.stat().st_size),
        "encodingFormat": guessed or ("application/octet-stream" if suffix else "text/plain"),
        "sha256": sha256_file(file.path),
    }


def _describe_root(crate: ROCrate, citation: Mapping[str, Any], results: str) -> None:
    crate.name = f"Results of: {citation['title']}"
    crate.description = (
        f"Results, figures, verdicts and provenance of a run. Begin with {PREVIEW}; the verdicts "
        f"are in {results}/claims.txt. "
        "Models, questions and texts are under their authors' licences."
    )
    license_ = citation["license"]
    facts = {"@type": "CreativeWork", "name": f"{license_} licence"}
    crate.license = crate.add(ContextEntity(crate, f"https://spdx.org/licenses/{license_}", facts))
    crate.root_dataset["author"] = _authors(crate, citation)
    crate.root_dataset["conformsTo"] = [
        crate.add(
            ContextEntity(
                crate, address, {"@type": "CreativeWork", "name": name, "version": version}
            )
        )
        for address, (name, version) in PROFILES.items()
    ]


def _authors(crate: ROCrate, citation: Mapping[str, Any]) -> list[Entity]:
    made = []
    for author in citation["authors"]:
        is_person = "family-names" in author
        name = f"{author['given-names']} {author['family-names']}" if is_person else author["name"]
        facts = {"@type": "Person" if is_person else "Organization", "name": name}
        identifier = author.get("orcid") or f"#author/{name.replace(' ', '-')}"
        made.append(crate.add(ContextEntity(crate, identifier, facts)))
    return made


def _add_workflow(crate: ROCrate, citation: Mapping[str, Any], file: Packed) -> Entity:
    return crate.add_workflow(
        file.path,
        MAIN,
        main=True,
        lang="snakemake",
        lang_version=versions(["snakemake"])["snakemake"],
        properties={
            **_facts(file),
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            "conformsTo": {"@id": BIOSCHEMAS},
            "name": citation["title"],
            "version": citation["version"],
            "description": f"What made the results; {SOURCE}/README.md says how to run it.",
            "softwareRequirements": {"@id": f"{SOURCE}/requirements.lock"},
        },
    )


def _by_rule(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    made: dict[str, list[Job]] = {}
    for job in jobs:
        made.setdefault(job.rule, []).append(job)
    return made


def _add_tool(files: _Files, job: Job) -> Entity:
    """Return what does the jobs of a rule: its script, with the library beside it."""
    script = files.known.get(f"{SOURCE}/{job.script}")
    if script is None:
        facts = {"@type": "SoftwareApplication", "name": f"the rule {job.rule}"}
        return files.crate.add(ContextEntity(files.crate, f"#rule/{job.rule}", facts))
    return script


def _parameter(crate: ROCrate, example: Entity, description: str) -> Entity:
    name = Path(example.id).name
    facts = {
        "@type": "FormalParameter",
        "additionalType": "File",
        "name": name,
        "description": description,
        "workExample": example,
    }
    parameter = crate.add(ContextEntity(crate, f"#parameter/{name}", facts))
    example["exampleOfWork"] = parameter
    return parameter


def _add_job(crate: ROCrate, files: _Files, job: Job, tool: Entity) -> Entity:
    # The modules of the library are left out: they belong to the tool, and each job names them all.
    inputs = [path for path in job.inputs if not path.startswith("workflow/")]
    digest = hashlib.sha256("\0".join(job.outputs).encode()).hexdigest()[:16]
    properties = {
        "name": f"{job.rule}: {job.outputs[0]}",
        "startTime": job.started.isoformat(timespec="seconds"),
        "endTime": job.ended.isoformat(timespec="seconds"),
        "actionStatus": COMPLETED,
    }
    if job.command:
        properties["description"] = job.command
    return crate.add_action(
        tool,
        identifier=f"#job/{job.rule}/{digest}",
        object=_unique(entity for path in inputs for entity in files.of(path)),
        result=_unique(entity for path in job.outputs for entity in files.of(path)),
        properties=properties,
    )


def _unique(entities: Iterable[Entity]) -> list[Entity]:
    return list({entity.id: entity for entity in entities}.values())
