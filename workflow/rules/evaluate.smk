# One result a (configuration, benchmark): lm-eval's own tasks and metrics for causal models,
# the library's for encoders.


rule evaluate:
    """Score one configuration on one benchmark."""
    input:
        script=lambda wildcards: script(evaluator(wildcards)),
        library=lambda wildcards: library(evaluator(wildcards)),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        compressed=rules.compress.output,
        questions=rules.fetch_benchmark.output.questions,
    output:
        result="<results>/models/{model}/evaluations/{decomposition}/{benchmark}.json",
        samples="<results>/models/{model}/evaluations/{decomposition}/{benchmark}.jsonl",
    log:
        "<logs>/evaluate/{model}/{decomposition}/{benchmark}.log",
    benchmark:
        "<results>/models/{model}/evaluations/{decomposition}/{benchmark}.time.tsv"
    conda:
        "../../environment.yml"
    resources:
        gpu=gpus,
    params:
        benchmark=lambda wildcards: as_json(project.scoring(wildcards.benchmark)),
        settings=lambda wildcards: as_json(project.evaluation_settings(wildcards.benchmark)),
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--compressed $(dirname {input.compressed[0]}) --questions {input.questions} "
        "--benchmark {params.benchmark:q} --settings {params.settings:q} "
        "--output {output.result} --samples {output.samples} 2> {log}"


rule collect_accuracy:
    """Gather a study's scores into one table."""
    input:
        script=script("collect_accuracy"),
        library=library("collect_accuracy"),
        lock=LOCK,
        results=lambda wildcards: expand(
            rules.evaluate.output.result,
            model=wildcards.model,
            decomposition=sorted(set(study_labels(wildcards).values())),
            benchmark=benchmarks_of(wildcards),
        ),
    output:
        "<results>/models/{model}/studies/{study}.csv",
    log:
        "<logs>/collect_accuracy/{model}/{study}.log",
    conda:
        "../../environment.yml"
    params:
        labels=lambda wildcards: as_json(list(study_labels(wildcards).items())),
        benchmarks=lambda wildcards: as_json(
            [(name, entry["label"]) for name, entry in benchmarks_of(wildcards).items()]
        ),
    shell:
        "PYTHONPATH=workflow python {input.script} --labels {params.labels:q} "
        "--benchmarks {params.benchmarks:q} --results {input.results} --output {output} 2> {log}"
