# Pinned inputs: any source of a model, of questions or of a text becomes one form.

from lowrank.project.views.assets import (
    calibration_settings,
    calibration_text,
    questions_settings,
    text_settings,
)


rule fetch_model:
    """Fetch a model from the first of its sources and make a plain Hugging Face directory of it."""
    input:
        script=script("fetch_model"),
        library=library("fetch_model"),
        lock=LOCK,
    output:
        weights=directory("<results>/models/{model}/weights"),
        manifest="<results>/models/{model}/manifest.json",
    log:
        "<logs>/fetch_model/{model}.log",
    conda:
        "../../environment.yml"
    params:
        sources=lambda wildcards: as_json(project.model(wildcards.model).sources),
        architecture=architecture_of,
    shell:
        "PYTHONPATH=workflow python {input.script} --model {wildcards.model} --sources {params.sources:q} "
        "--architecture {params.architecture:q} --weights {output.weights} "
        "--manifest {output.manifest} 2> {log}"


rule fetch_benchmark:
    """Fetch a benchmark's questions from the first of their sources, as lm-eval reads them."""
    input:
        script=script("fetch_benchmark"),
        library=library("fetch_benchmark"),
        lock=LOCK,
    output:
        questions="<results>/benchmarks/{benchmark}.parquet",
        manifest="<results>/benchmarks/{benchmark}.json",
    log:
        "<logs>/fetch_benchmark/{benchmark}.log",
    conda:
        "../../environment.yml"
    params:
        benchmark=lambda wildcards: as_json(questions_settings(project, wildcards.benchmark)),
    shell:
        "PYTHONPATH=workflow python {input.script} --benchmark {params.benchmark:q} "
        "--output {output.questions} --manifest {output.manifest} 2> {log}"


rule fetch_text:
    """Fetch a text from the first of its sources: a part to calibrate on, and one to evaluate on."""
    input:
        script=script("fetch_text"),
        library=library("fetch_text"),
        lock=LOCK,
    output:
        calibration="<results>/texts/{text}.calibration.txt",
        evaluation="<results>/texts/{text}.evaluation.txt",
        manifest="<results>/texts/{text}.json",
    log:
        "<logs>/fetch_text/{text}.log",
    wildcard_constraints:
        text="[a-z0-9_]+",
    conda:
        "../../environment.yml"
    params:
        text=lambda wildcards: as_json(text_settings(project, wildcards.text)),
    shell:
        "PYTHONPATH=workflow python {input.script} --text {params.text:q} "
        "--calibration {output.calibration} --evaluation {output.evaluation} "
        "--manifest {output.manifest} 2> {log}"


rule prepare_calibration:
    """Draw windows of a text's calibration part, as a model's tokens."""
    input:
        script=script("prepare_calibration"),
        library=library("prepare_calibration"),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        text=lambda wildcards: calibration_text(
            project, wildcards.calibration, rules.fetch_text.output.calibration
        ),
    output:
        "<results>/models/{model}/calibration/{calibration}.safetensors",
    log:
        "<logs>/prepare_calibration/{model}/{calibration}.log",
    wildcard_constraints:
        calibration="[a-z0-9_]+",
    conda:
        "../../environment.yml"
    params:
        settings=lambda wildcards: as_json(calibration_settings(project, wildcards.calibration)),
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} --text {input.text} "
        "--settings {params.settings:q} --output {output} 2> {log}"
