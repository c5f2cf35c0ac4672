# One result a configuration, over all its benchmarks: lm-eval's own tasks and metrics for causal
# models, the library's for encoders.

from lowrank.project.views.assets import questions_file
from lowrank.project.views.evaluate import (
    answers_folder,
    asked_of,
    asking_settings,
    baseline_of,
    benchmarks_asked,
    files_of_benchmarks,
    is_causal,
    limit_of,
    metrics_modules,
    run_settings,
    scoring,
)

evaluator = lambda wildcards: "evaluate" if is_causal(model_of(wildcards)) else "evaluate_encoder"


# The files of what is asked of a configuration, one a benchmark.
of_benchmarks = lambda path: lambda wildcards: files_of_benchmarks(
    project, model_of(wildcards), wildcards.decomposition, path
)


rule prepare_requests:
    """Choose the questions to ask, or windows of a text, and tokenize them for a model."""
    input:
        script=script("prepare_requests"),
        library=library("prepare_requests"),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        questions=lambda wildcards: questions_file(
            project,
            wildcards.benchmark,
            rules.fetch_benchmark.output.questions,
            rules.fetch_text.output.evaluation,
        ),
    output:
        asked="<results>/models/{model}/requests/{benchmark}.{limit}.questions.parquet",
        requests="<results>/models/{model}/requests/{benchmark}.{limit}.parquet",
    log:
        "<logs>/prepare_requests/{model}/{benchmark}.{limit}.log",
    conda:
        "../../environment.yml"
    params:
        benchmark=lambda wildcards: as_json(scoring(project, wildcards.benchmark)),
        settings=lambda wildcards: as_json(
            asking_settings(
                project, model_of(wildcards), wildcards.benchmark, limit_of(wildcards.limit)
            )
        ),
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--questions {input.questions} --benchmark {params.benchmark:q} "
        "--settings {params.settings:q} --asked {output.asked} --requests {output.requests} 2> {log}"


rule evaluate:
    """Score one configuration on all its benchmarks.

    What the store of answers holds is not asked again. The store is no output: it only grows, and
    what an answer depends on is part of its name.
    """
    input:
        script=lambda wildcards: script(evaluator(wildcards)),
        library=lambda wildcards: library(
            evaluator(wildcards),
            *metrics_modules(
                project,
                benchmarks_asked(project, model_of(wildcards), wildcards.decomposition),
            ),
        ),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        compressed=rules.compress.output,
        below=lambda wildcards: below(
            project, model_of(wildcards), wildcards.decomposition, rules.compress.output
        ),
        questions=branch(
            lambda wildcards: is_causal(model_of(wildcards)),
            then=of_benchmarks(rules.prepare_requests.output.asked),
            otherwise=of_benchmarks(rules.fetch_benchmark.output.questions),
        ),
        requests=branch(
            lambda wildcards: is_causal(model_of(wildcards)),
            then=of_benchmarks(rules.prepare_requests.output.requests),
        ),
    output:
        result="<results>/models/{model}/evaluations/{decomposition}.json",
        samples="<results>/models/{model}/evaluations/{decomposition}.jsonl",
        scores="<results>/models/{model}/evaluations/{decomposition}.csv",
    log:
        "<logs>/evaluate/{model}/{decomposition}.log",
    benchmark:
        "<results>/models/{model}/evaluations/{decomposition}.time.tsv"
    conda:
        "../../environment.yml"
    resources:
        gpu=gpus,
    params:
        benchmarks=lambda wildcards: as_json(
            asked_of(project, model_of(wildcards), wildcards.decomposition)
        ),
        settings=lambda wildcards: as_json(run_settings(project)),
        answers=answers_folder(project),
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--compressed $(dirname {input.compressed[0]}) --benchmarks {params.benchmarks:q} "
        "--settings {params.settings:q} --gpus {resources.gpu} --answers {params.answers} "
        "--output {output.result} --samples {output.samples} --scores {output.scores} "
        "--questions {input.questions} --requests {input.requests} 2> {log}"


rule score_baseline:
    """Score what sees a benchmark's words alone, on the questions that the dense model is asked."""
    input:
        script=script("score_baseline"),
        library=library("score_baseline"),
        lock=LOCK,
        questions=rules.fetch_benchmark.output.questions,
    output:
        "<results>/models/{model}/baselines/{benchmark}.json",
    log:
        "<logs>/score_baseline/{model}/{benchmark}.log",
    conda:
        "../../environment.yml"
    params:
        benchmark=lambda wildcards: as_json(
            baseline_of(project, model_of(wildcards), wildcards.benchmark)["entry"]
        ),
        settings=lambda wildcards: as_json(
            baseline_of(project, model_of(wildcards), wildcards.benchmark)["settings"]
        ),
    shell:
        "PYTHONPATH=workflow python {input.script} --questions {input.questions} "
        "--benchmark {params.benchmark:q} --settings {params.settings:q} --output {output} 2> {log}"
