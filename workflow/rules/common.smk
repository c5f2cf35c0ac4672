"""The checked configuration, and what every rule needs. No import here may load torch."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, os.path.join(workflow.basedir, "workflow"))

from lowrank.base.names import DENSE, DROP
from lowrank.assets import sources
from lowrank.running.devices import require_devices
from lowrank.base.errors import LowrankError
from lowrank.running.imports import library_files
from lowrank.space.methods import METHODS
from lowrank.running.slurm import keeps_accounts
from lowrank.running.variables import surroundings
from lowrank.project.configuration import Project

# What a job needs from its surroundings travels in the environment: it shapes where bytes come
# from, never what they are, so a change of it reruns nothing.
os.environ.update(surroundings(config))

try:
    project = Project(config, os.path.join(workflow.basedir, "config"))
except LowrankError as error:
    sys.exit(f"error: {error}")

LOCK = "requirements.lock"
EFFICIENCY_FIGURES = {"figure_4_2": "latency", "figure_4_3": "energy", "figure_4_4": "memory"}
PROFILE_RECORDS = "paper/reference"  # <device>/<model>/*.json, measured by `make gpu-reference`
REFERENCE_STUDY = "table_4_2"
REFERENCE_RUN = "paper/reference/laptop/run.json"  # times and sizes, measured once
THESIS = "paper/thesis.yaml"  # what the thesis prints, to stand beside our values


wildcard_constraints:
    model="[a-z0-9.-]+",
    decomposition="[a-z0-9_.-]+",
    method="|".join(METHODS),
    layer=r"\d+",
    benchmark="[a-z0-9_]+",
    study="[a-z0-9_]+",
    efficiency_figure="|".join(EFFICIENCY_FIGURES),
    figure="|".join(sorted(set(project.figures))) or "no_figure",


def script(name):
    """The path of a rule's script."""
    return f"workflow/scripts/{name}.py"


def library(name):
    """The library modules that a script imports, directly or not, and nothing else."""
    return library_files("workflow", script(name))


def as_json(value):
    """A parameter as one canonical line: equal values are equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def model_of(wildcards):
    return project.model(wildcards.model)


def architecture_of(wildcards):
    return as_json(model_of(wildcards).architecture.config)


def study_rows(wildcards):
    """A study's configurations as the collecting script takes them."""
    model = model_of(wildcards)
    return as_json(
        [
            {
                "series": row.series,
                "label": row.label,
                "position": row.position,
                "method": row.decomposition.method,
                "rank": row.decomposition.rank.label,
                "decomposition": row.decomposition.name(model.architecture),
            }
            for row in project.configurations(wildcards.study, model)
        ]
    )


def study_evaluations(wildcards, pattern):
    """The files of `pattern` that a study needs, the dense model's first, each once."""
    model = model_of(wildcards)
    names = [DENSE] + [
        row.decomposition.name(model.architecture)
        for row in project.configurations(wildcards.study, model)
    ]
    return expand(
        pattern,
        model=model.name,
        decomposition=dict.fromkeys(names),
        benchmark=project.study_benchmarks(wildcards.study, model),
    )


def layer_factors(wildcards):
    """The factor files that a configuration is cut from."""
    model = model_of(wildcards)
    decomposition = project.decomposition(model, wildcards.decomposition)
    if decomposition.is_dense or METHODS[decomposition.method].scope == "layer":
        return []
    return expand(
        rules.factorize_layer.output,
        model=model.name,
        method=decomposition.method,
        layer=decomposition.layers,
    )


def reference_devices():
    """From a name like `reference-<device>` to the folder of its records."""
    folders = sorted(path.parent for path in Path(PROFILE_RECORDS).glob(f"*/*/{DENSE}.json"))
    devices = [folder.parent.name for folder in folders]
    named = [
        ["reference", device] + ([folder.name] if devices.count(device) > 1 else [])
        for folder, device in zip(folders, devices, strict=True)
    ]
    return dict(zip(map("-".join, named), folders, strict=True))


try:
    REFERENCES = reference_devices()
    for folder in REFERENCES.values():
        project.model(folder.name)
except LowrankError as error:
    sys.exit(f"error: {PROFILE_RECORDS}: {error}")


TABLE_MODELS = ["llama-2-7b"]  # whose Table 4.2 needs no weights, on top of the run's models


def profiled_model(wildcards):
    """The model of a measurement, made by this run or elsewhere."""
    folder = REFERENCES.get(wildcards.model)
    return project.model(folder.name) if folder else model_of(wildcards)


def profiled_configurations(wildcards):
    """The records of a study's configurations, the dense model's first."""
    if wildcards.model in REFERENCES:
        return sorted(map(str, REFERENCES[wildcards.model].glob("*.json")))
    model = model_of(wildcards)
    names = [DENSE] + [
        row.decomposition.name(model.architecture)
        for row in project.configurations(wildcards.study, model)
        if row.decomposition.method != DROP
    ]
    return expand(rules.profile.output, model=model.name, decomposition=dict.fromkeys(names))


def profiled(wildcards, pattern):
    """The files of `pattern` of the benchmarks whose requests are measured."""
    benchmarks = project.profiled_benchmarks(model_of(wildcards))
    return expand(pattern, model=wildcards.model, benchmark=benchmarks)


def collected(wildcards, pattern):
    """The measurements behind a figure of efficiency."""
    is_reference = wildcards.model in REFERENCES
    study = REFERENCE_STUDY if is_reference else project.profiled_study(model_of(wildcards))
    return expand(pattern, model=wildcards.model, study=study)


def claim_evidence(wildcards):
    """The results that judge the claims: the tables of each family's model."""
    files = [rules.table_3_1.output.csv]
    for model in project.judged_models().values():
        for study in project.studies_of(model):
            files += expand(rules.collect_accuracy.output, model=model.name, study=study)
            files += study_evaluations(
                SimpleNamespace(model=model.name, study=study),
                rules.evaluate.output.scores,
            )
        if project.profiled_study(model):
            files += expand(
                rules.collect_profiles.output.table,
                model=model.name,
                study=project.profiled_study(model),
            )
    return files


def claim_models():
    """Where the results of each family's model are."""
    return {
        family: {
            "model": model.name,
            "label": model.label,
            "device_type": project.settings["device"],
            "benchmarks": {
                name: {key: entry[key] for key in ("label", "chance")}
                for name, entry in project.benchmarks.items()
            },
            "studies": dict(
                zip(
                    project.studies_of(model),
                    expand(
                        rules.collect_accuracy.output,
                        model=model.name,
                        study=project.studies_of(model),
                    ),
                    strict=True,
                )
            ),
            "profiles": (
                expand(
                    rules.collect_profiles.output.table,
                    model=model.name,
                    study=project.profiled_study(model),
                )
                if project.profiled_study(model)
                else []
            ),
        }
        for family, model in project.judged_models().items()
    }


def claim_figures():
    """The document of each figure and table, by the name that claims use."""
    made = {}
    for path in figures():
        name, extension = os.path.splitext(os.path.basename(path))
        if extension == ".pdf":
            made.setdefault(name, []).append(path)
    return made


def fact_models():
    """What the report's facts are gathered from, by model."""
    made = []
    for model in project.models.values():
        profiled = project.profiled_study(model)
        kept = ("title", "figure", "look_for", "depth", "width")
        studies = [
            {
                "study": study,
                **{key: project.study(study)[key] for key in kept},
                "source": project.study(study).get("source"),
                "carried_over": project.is_carried_over(study, model),
                "benchmarks": project.study_benchmarks(study, model),
                "table": expand(rules.collect_accuracy.output, model=model.name, study=study)[0],
            }
            for study in project.studies_of(model)
        ]
        asked = {name for study in studies for name in study["benchmarks"]}
        fits = expand(rules.collect_profiles.output.fits, model=model.name, study=profiled)
        made.append(
            {
                "model": model.name,
                "label": model.label,
                "parameters": model.architecture.parameters(),
                "layers": model.architecture.layers,
                "width": model.architecture.config["hidden_size"],
                "quantized": {
                    sources.describe(source): os.path.basename(source["gguf"])
                    for source in model.sources
                    if "gguf" in source
                },
                "manifest": expand(rules.fetch_model.output.manifest, model=model.name)[0],
                "benchmarks": [
                    {
                        "benchmark": name,
                        "label": project.benchmark_label(name),
                        "chance": entry["chance"],
                        "result": expand(
                            rules.evaluate.output.result,
                            model=model.name,
                            decomposition=DENSE,
                            benchmark=name,
                        )[0],
                    }
                    for name, entry in project.benchmarks.items()
                    if name in asked
                ],
                "studies": studies,
                "fits": fits[0] if profiled else None,
            }
        )
    return made


def fact_tables():
    """The tables that the report's facts are gathered from, by name."""
    tables = {"table_1_1": rules.table_1_1.output.csv, "table_3_1": rules.table_3_1.output.csv}
    if "table_4_2" in project.settings["studies"]:
        tables["table_4_2"] = expand(rules.table_4_2.output.csv, model=TABLE_MODELS[0])[0]
    return tables


def fact_run():
    """What of the run's settings the report's deviations speak of."""
    return {
        "unavailable": project.unavailable_benchmarks,
        "thesis_benchmarks": [
            (name, project.benchmark(name)["label"]) for name in THESIS_BENCHMARKS
        ],
        "profile": project.profile_settings(),
    }


def fact_files():
    """The files behind the facts."""
    files = list(fact_tables().values())
    for entry in fact_models():
        files += [entry["manifest"]] + ([entry["fits"]] if entry["fits"] else [])
        files += [benchmark["result"] for benchmark in entry["benchmarks"]]
        for study in entry["studies"]:
            wildcards = SimpleNamespace(model=entry["model"], study=study["study"])
            files += [study["table"], *study_evaluations(wildcards, rules.evaluate.output.scores)]
    return list(dict.fromkeys(files))


def report_inputs():
    """From the name in the report's template to the file, and to what made it."""
    inputs = {
        "facts.json": {"path": rules.gather_facts.output[0]},
        "claims.json": {"path": rules.judge_claims.output.ledger},
        "thesis.yaml": {"path": THESIS},
        "verdicts.typ": {"path": rules.claims_table.input.template},
    }
    if os.path.exists(REFERENCE_RUN):
        inputs["run.json"] = {"path": REFERENCE_RUN}
    for job in figure_jobs():
        made = {"rule": job["rule"], "script": job["script"], "data": None}
        for path in job["files"]:
            if path.endswith(".csv"):
                made["data"] = path
        for path in job["files"]:
            if path.endswith(".pdf"):
                name = Path(Path(path).parent.name, Path(path).name).as_posix()
                inputs[name] = {"path": path, **made}
    return inputs


CLUSTER_THREADS = 4  # of a measurement on a cluster's CPUs; `set-threads` in the profile changes it


def measuring_threads(wildcards):
    """All cores for a measurement on this machine's CPU: nothing else may run beside it."""
    if project.settings["device"] == "cuda":
        return 1
    return workflow.resource_settings.cores or CLUSTER_THREADS


def figures_and_tables():
    """The targets of a run."""
    return [
        *figures(),
        *rules.judge_claims.output,
        *rules.claims_table.output,
        *rules.build_report.output,
    ]


def figures():
    """Every figure and table of a run."""
    return [path for job in figure_jobs() for path in job["files"]]


def figure_jobs():
    """What draws each figure and table of a run: rule, script and the files that it makes."""
    made = []

    def add(rule, name, files):
        made.append({"rule": rule, "script": script(name), "files": list(files)})

    add("table_1_1", "table_1_1", rules.table_1_1.output)
    add("table_3_1", "table_3_1", rules.table_3_1.output)
    add("table_4_1", "table_4_1", rules.table_4_1.output)
    add("figure_1_1", "figure_1_1", rules.figure_1_1.output)
    add("figure_3_1", "figure_3_1", rules.figure_3_1.output)
    add("figure_3_3", "figure_3_3", rules.figure_3_3.output)
    for name, model in project.models.items():
        for study in project.studies_of(model):
            figure = project.study(study)["figure"]
            if figure:
                files = expand(rules.accuracy_figure.output, model=name, figure=figure)
                add("accuracy_figure", figure, files)
            else:
                files = expand(rules.collect_accuracy.output, model=name, study=study)
                add("collect_accuracy", "collect_accuracy", files)
        for figure in EFFICIENCY_FIGURES if project.profiled_study(model) else []:
            files = expand(rules.efficiency_figure.output, model=name, efficiency_figure=figure)
            add("efficiency_figure", "efficiency_figure", files)
    for model in REFERENCES:
        for figure in EFFICIENCY_FIGURES:
            files = expand(rules.efficiency_figure.output, model=model, efficiency_figure=figure)
            add("efficiency_figure", "efficiency_figure", files)
    if "table_4_2" in project.settings["studies"]:
        runs = [
            name
            for name in project.models
            if "table_4_2" in project.studies_of(project.model(name))
        ]
        for name in dict.fromkeys(TABLE_MODELS + runs):
            add("table_4_2", "table_4_2", expand(rules.table_4_2.output, model=name))
    return made


def figure_study(wildcards):
    """The study that a figure shows."""
    return project.study_of(wildcards.figure, model_of(wildcards))


def is_for_lm_eval(wildcards):
    return project.benchmarks[wildcards.benchmark]["scorer"] == "lm_eval"


def evaluator(wildcards):
    """The script that scores a benchmark."""
    return "evaluate" if is_for_lm_eval(wildcards) else "evaluate_encoder"


def questions_to_ask(wildcards):
    """The questions as the evaluator reads them: chosen already, or all of them."""
    if is_for_lm_eval(wildcards):
        return expand(rules.prepare_requests.output.asked, **wildcards)
    return expand(rules.fetch_benchmark.output.questions, **wildcards)


def tokenized_requests(wildcards):
    """The requests of lm-eval's tasks; encoders have none."""
    if is_for_lm_eval(wildcards):
        return expand(rules.prepare_requests.output.requests, **wildcards)
    return []


def table_4_2_rows(wildcards):
    model = model_of(wildcards)
    return as_json(
        [
            {
                "label": row.label,
                "name": row.decomposition.name(model.architecture),
                "modules": row.decomposition.rank.modules,
                "thesis_reduction": row.thesis_reduction,
            }
            for row in project.configurations("table_4_2", model)
            if row.series == ""
        ]
    )


def gpus(wildcards):
    return 1 if project.settings["device"] == "cuda" else 0


def requested_gpus():
    """What a job of each rule asks for, as the rules and `--set-resources` say.

    A job's own `resources` are clipped to `--resources` already.
    """
    requests = {}
    for job in workflow.dag.needrun_jobs():
        asked = job.rule.resources.get("gpu")
        count = asked.evaluate(job.wildcards, input=job.input, attempt=1, threads=1).value or 0
        requests[job.rule.name] = max(requests.get(job.rule.name, 0), count)
    return requests


def measuring_gpus(wildcards):
    return gpus(wildcards) * project.settings["profile"]["gpus"]


onstart:
    # With a limit on the rate of jobs the scheduler looks again once a timespan for every job that it
    # ever started: after some hundred it takes a core. How many run at once is bounded anyway.
    workflow.scheduler.job_rate_limiter = None
    # Snakemake takes `--resources gpu=9` on any machine, and clips what a job asks for.
    if project.settings["device"] == "cuda" and workflow.local_exec:
        try:
            require_devices(workflow.global_resources.get("gpu").value, requested_gpus())
        except LowrankError as error:
            sys.exit(f"error: {error}")
    # SLURM's plugin takes the command `sacct` for accounts; without any it fails on every call.
    settings = workflow.executor_settings
    if getattr(settings, "status_command", None) == "sacct" and not keeps_accounts():
        settings.status_command = "squeue"


if project.unavailable_benchmarks and workflow.is_main_process:
    logger.warning(
        f"Left out for want of a source here: {', '.join(project.unavailable_benchmarks)} "
        f"(set {sources.MIRROR_VARIABLE} to a mirror directory, or `hub: true`)."
    )
