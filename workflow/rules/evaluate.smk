# One result a (configuration, benchmark): lm-eval's own tasks and metrics for causal models,
# the library's for encoders.

from lowrank.project.views.evaluate import (
    asking_settings,
    evaluation_settings,
    is_for_lm_eval,
    metrics_modules,
    scoring,
)

has_requests = lambda wildcards: is_for_lm_eval(project, wildcards.benchmark)
evaluator = branch(has_requests, then="evaluate", otherwise="evaluate_encoder")


rule prepare_requests:
    """Choose the questions to ask, and tokenize lm-eval's requests, once for all configurations."""
    input:
        script=script("prepare_requests"),
        library=library("prepare_requests"),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        questions=rules.fetch_benchmark.output.questions,
    output:
        asked="<results>/models/{model}/requests/{benchmark}.questions.parquet",
        requests="<results>/models/{model}/requests/{benchmark}.parquet",
    log:
        "<logs>/prepare_requests/{model}/{benchmark}.log",
    conda:
        "../../environment.yml"
    params:
        benchmark=lambda wildcards: as_json(scoring(project, wildcards.benchmark)),
        settings=lambda wildcards: as_json(asking_settings(project, wildcards.benchmark)),
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--questions {input.questions} --benchmark {params.benchmark:q} "
        "--settings {params.settings:q} --asked {output.asked} --requests {output.requests} 2> {log}"


rule evaluate:
    """Score one configuration on one benchmark."""
    input:
        script=lambda wildcards: script(evaluator(wildcards)),
        library=lambda wildcards: library(
            evaluator(wildcards), *metrics_modules(project, wildcards.benchmark)
        ),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        compressed=rules.compress.output,
        questions=branch(
            has_requests,
            then=rules.prepare_requests.output.asked,
            otherwise=rules.fetch_benchmark.output.questions,
        ),
        requests=branch(has_requests, then=rules.prepare_requests.output.requests),
    output:
        result="<results>/models/{model}/evaluations/{decomposition}/{benchmark}.json",
        samples="<results>/models/{model}/evaluations/{decomposition}/{benchmark}.jsonl",
        scores="<results>/models/{model}/evaluations/{decomposition}/{benchmark}.csv",
    log:
        "<logs>/evaluate/{model}/{decomposition}/{benchmark}.log",
    benchmark:
        "<results>/models/{model}/evaluations/{decomposition}/{benchmark}.time.tsv"
    conda:
        "../../environment.yml"
    resources:
        gpu=gpus,
    params:
        benchmark=lambda wildcards: as_json(scoring(project, wildcards.benchmark)),
        settings=lambda wildcards: as_json(evaluation_settings(project, wildcards.benchmark)),
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--compressed $(dirname {input.compressed[0]}) --questions {input.questions} "
        "--benchmark {params.benchmark:q} --settings {params.settings:q} --gpus {resources.gpu} "
        "--output {output.result} --samples {output.samples} "
        "--scores {output.scores} --requests {input.requests} 2> {log}"
