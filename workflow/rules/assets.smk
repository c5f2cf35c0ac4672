# Pinned inputs: any source of a model or of questions becomes one form.

from lowrank.project.views.assets import questions_settings


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
