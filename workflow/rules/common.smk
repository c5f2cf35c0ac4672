"""The checked configuration, and what every rule needs. No import here may load torch."""

import json
import os
import sys
from types import SimpleNamespace

sys.path.insert(0, os.path.join(workflow.basedir, "workflow"))

from lowrank import assets
from lowrank.design_space import DENSE, Decomposition
from lowrank.devices import require_devices
from lowrank.errors import LowrankError
from lowrank.imports import library_files
from lowrank.methods import METHODS
from lowrank.surroundings import surroundings
from lowrank.project import Project

# What a job needs from its surroundings travels in the environment: it shapes where bytes come
# from, never what they are, so a change of it reruns nothing.
os.environ.update(surroundings(config))

try:
    project = Project(config, os.path.join(workflow.basedir, "config"))
except LowrankError as error:
    sys.exit(f"error: {error}")

LOCK = "requirements.lock"
EFFICIENCY_FIGURES = {"figure_4_2": "latency", "figure_4_3": "energy", "figure_4_4": "memory"}
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
                "rank": row.decomposition.rank,
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
    decomposition = Decomposition.from_name(model.architecture, wildcards.decomposition)
    if decomposition.is_dense or METHODS[decomposition.method].scope == "layer":
        return []
    return expand(
        rules.factorize_layer.output,
        model=model.name,
        method=decomposition.method,
        layer=decomposition.layers,
    )


TABLE_MODELS = ["llama-2-7b"]  # whose Table 4.2 needs no weights, on top of the run's models


def profiled_configurations(wildcards):
    """The records of a study's configurations, the dense model's first."""
    model = model_of(wildcards)
    names = [DENSE] + [
        row.decomposition.name(model.architecture)
        for row in project.configurations(wildcards.study, model)
        if row.decomposition.method != "drop"
    ]
    return expand(rules.profile.output, model=model.name, decomposition=dict.fromkeys(names))


def profiled_requests(wildcards):
    """The requests whose lengths are measured."""
    return expand(
        rules.prepare_requests.output.requests,
        model=wildcards.model,
        benchmark=project.profiled_benchmarks(model_of(wildcards)),
    )


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
        studies = [
            {
                "study": study,
                **{key: project.study(study)[key] for key in ("title", "figure", "look_for")},
                "table": expand(rules.collect_accuracy.output, model=model.name, study=study)[0],
            }
            for study in project.studies_of(model)
        ]
        fits = expand(rules.collect_profiles.output.fits, model=model.name, study=profiled)
        made.append(
            {
                "model": model.name,
                "label": model.label,
                "parameters": model.architecture.parameters(),
                "layers": model.architecture.layers,
                "manifest": expand(rules.fetch_model.output.manifest, model=model.name)[0],
                "studies": studies,
                "fits": fits[0] if profiled else None,
            }
        )
    return made


def fact_files():
    """The files behind the facts."""
    files = [rules.table_1_1.output.csv, rules.table_3_1.output.csv]
    for entry in fact_models():
        files += [study["table"] for study in entry["studies"]]
        files += [entry["manifest"]] + ([entry["fits"]] if entry["fits"] else [])
        files += expand(
            rules.evaluate.output.result,
            model=entry["model"],
            decomposition=DENSE,
            benchmark=[name for name in project.benchmarks if is_asked(name, entry["model"])],
        )
    return files


def is_asked(benchmark, model):
    """Whether any study of the run asks a benchmark of a model."""
    found = project.model(model)
    return any(
        benchmark in project.study_benchmarks(study, found) for study in project.studies_of(found)
    )


def report_inputs():
    """From the name in the report's template to the file."""
    inputs = {
        "facts.json": rules.gather_facts.output[0],
        "claims.json": rules.judge_claims.output.ledger,
        "thesis.yaml": THESIS,
    }
    if os.path.exists(REFERENCE_RUN):
        inputs["run.json"] = REFERENCE_RUN
    for path in figures():
        if path.endswith(".pdf"):
            folder, name = os.path.split(path)
            inputs[f"{os.path.basename(folder)}/{name}"] = path
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
    targets = [*rules.table_1_1.output, *rules.table_3_1.output, *rules.table_4_1.output]
    targets += [*rules.figure_1_1.output, *rules.figure_3_1.output, *rules.figure_3_3.output]
    for name, model in project.models.items():
        for study in project.studies_of(model):
            figure = project.study(study)["figure"]
            target = rules.accuracy_figure.output if figure else rules.collect_accuracy.output
            targets += expand(target, model=name, study=study, figure=figure)
        if project.profiled_study(model):
            targets += expand(
                rules.efficiency_figure.output, model=name, efficiency_figure=EFFICIENCY_FIGURES
            )
    if "table_4_2" in project.settings["studies"]:
        targets += expand(
            rules.table_4_2.output,
            model=dict.fromkeys(
                TABLE_MODELS
                + [
                    name
                    for name, model in project.models.items()
                    if "table_4_2" in project.studies_of(model)
                ]
            ),
        )
    return targets


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
                "thesis_reduction": row.thesis_reduction,
            }
            for row in project.configurations("table_4_2", model)
            if row.series == ""
        ]
    )


def gpus(wildcards):
    return 1 if project.settings["device"] == "cuda" else 0


onstart:
    # Snakemake takes `--resources gpu=9` on any machine, and clips what a job asks for.
    allowed = workflow.global_resources.get("gpu").value
    if project.settings["device"] == "cuda" and workflow.local_exec and allowed is not None:
        try:
            require_devices(allowed)
        except LowrankError as error:
            sys.exit(f"error: {error}")


if project.unavailable_benchmarks and workflow.is_main_process:
    logger.warning(
        f"Left out for want of a source here: {', '.join(project.unavailable_benchmarks)} "
        f"(set {assets.MIRROR_VARIABLE} to a mirror directory, or `hub: true`)."
    )
