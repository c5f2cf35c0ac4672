# One result a (configuration, benchmark): lm-eval's own tasks and metrics for causal models,
# the library's for encoders.

from lowrank.project.views.evaluate import (
    asking_settings,
    evaluation_settings,
    metrics_modules,
    scoring,
)


def is_for_lm_eval(wildcards):
    return project.benchmarks[wildcards.benchmark]["scorer"] == "lm_eval"


def evaluator(wildcards):
    """The script that scores a benchmark."""
    return "evaluate" if is_for_lm_eval(wildcards) else "evaluate_encoder"


def evaluator_library(wildcards):
    """What the script is made of, and what has the benchmark's metrics."""
    return library(evaluator(wildcards), *metrics_modules(project, wildcards.benchmark))


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
        library=evaluator_library,
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        compressed=rules.compress.output,
        questions=questions_to_ask,
        requests=tokenized_requests,
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
