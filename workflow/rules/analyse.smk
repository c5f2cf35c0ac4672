# One table a study: its scores, and its measurements.

from lowrank.project.references import find_references, reference_model
from lowrank.project.views.analyse import (
    described_benchmarks,
    shaped_by,
    shaping_scripts,
    study_baselines,
    study_evaluations,
    study_rows,
)
from lowrank.project.views.authors import (
    authors_benchmarks,
    authors_files,
    authors_labels,
    authors_model,
)
from lowrank.project.views.profile import study_records, training_records

AUTHORS_DATA = "paper/authors"  # what the thesis's authors published

PROFILE_RECORDS = "paper/reference"  # <device>/<model>/*.json, measured by `make gpu-reference`

try:
    REFERENCES = find_references(PROFILE_RECORDS, project)
except LowrankError as error:
    sys.exit(f"error: {error}")


rule collect_accuracy:
    """Gather a study's scores, and their paired differences from the dense model."""
    input:
        script=script("collect_accuracy"),
        library=library("collect_accuracy"),
        lock=LOCK,
        # An evaluation is written anew whenever one of its benchmarks changes, and most studies do
        # not show that one. So a study waits for evaluations, but follows what shapes its scores.
        shaping_code=lambda wildcards: sorted(
            {
                file
                for name, modules in shaping_scripts(
                    project, wildcards.study, model_of(wildcards)
                ).items()
                for file in (script(name), *library(name, *modules))
            }
        ),
        results=lambda wildcards: [
            ancient(file)
            for file in study_evaluations(
                project, wildcards.study, model_of(wildcards), rules.evaluate.output.result
            )
        ],
        scores=lambda wildcards: [
            ancient(file)
            for file in study_evaluations(
                project, wildcards.study, model_of(wildcards), rules.evaluate.output.scores
            )
        ],
        baselines=lambda wildcards: study_baselines(
            project, wildcards.study, model_of(wildcards), rules.score_baseline.output[0]
        ),
    output:
        "<results>/models/{model}/studies/{study}.csv",
    log:
        "<logs>/collect_accuracy/{model}/{study}.log",
    conda:
        "../../environment.yml"
    params:
        rows=lambda wildcards: as_json(study_rows(project, wildcards.study, model_of(wildcards))),
        benchmarks=lambda wildcards: as_json(
            described_benchmarks(project, wildcards.study, model_of(wildcards))
        ),
        folder=lambda wildcards, input: os.path.dirname(input.results[0]),
        shaped_by=lambda wildcards: as_json(
            shaped_by(project, wildcards.study, model_of(wildcards))
        ),
    shell:
        "PYTHONPATH=workflow python {input.script} --rows {params.rows:q} "
        "--benchmarks {params.benchmarks:q} --folder {params.folder} --output {output} "
        "--baselines {input.baselines} 2> {log}"


rule collect_profiles:
    """Gather a study's measurements, and how each follows the parameters removed.

    Of a model of the run, or of one that was measured elsewhere (`paper/reference/`).
    """
    input:
        script=script("collect_profiles"),
        library=library("collect_profiles"),
        lock=LOCK,
        thesis=THESIS,
        records=lambda wildcards: study_records(
            project, REFERENCES, wildcards.study, wildcards.model, rules.profile.output[0]
        ),
        training=lambda wildcards: training_records(
            project, REFERENCES, wildcards.study, wildcards.model, rules.profile_training.output[0]
        ),
    output:
        table="<results>/models/{model}/studies/{study}.profiles.csv",
        fits="<results>/models/{model}/studies/{study}.profile_fits.json",
    log:
        "<logs>/collect_profiles/{model}/{study}.log",
    conda:
        "../../environment.yml"
    shell:
        "PYTHONPATH=workflow python {input.script} --thesis {input.thesis} "
        "--table {output.table} --fits {output.fits} --records {input.records} {input.training} 2> {log}"


rule authors_tables:
    """The figures that the thesis's authors published, as the tables of a study."""
    input:
        script=script("authors_tables"),
        library=library("authors_tables"),
        lock=LOCK,
        thesis=THESIS,
        published=authors_files(AUTHORS_DATA),
    output:
        scores="<results>/authors/studies/table_4_2.csv",
        table="<results>/authors/studies/table_4_2.profiles.csv",
        fits="<results>/authors/studies/table_4_2.profile_fits.json",
    log:
        "<logs>/authors_tables.log",
    conda:
        "../../environment.yml"
    params:
        folder=lambda wildcards, input: os.path.dirname(input.published[0]),
        architecture=lambda wildcards: as_json(
            authors_model(project, AUTHORS_DATA).architecture.config
        ),
        labels=lambda wildcards: as_json(authors_labels(project, AUTHORS_DATA)),
        benchmarks=lambda wildcards: as_json(authors_benchmarks(project)),
    shell:
        "PYTHONPATH=workflow python {input.script} --folder {params.folder} "
        "--architecture {params.architecture:q} --labels {params.labels:q} "
        "--benchmarks {params.benchmarks:q} --thesis {input.thesis} "
        "--scores {output.scores} --table {output.table} --fits {output.fits} 2> {log}"
