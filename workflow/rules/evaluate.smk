# One result a (configuration, benchmark): lm-eval's own tasks and metrics for causal models,
# the library's for encoders.


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
        benchmark=lambda wildcards: as_json(project.scoring(wildcards.benchmark)),
        settings=lambda wildcards: as_json(project.asking_settings(wildcards.benchmark)),
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--questions {input.questions} --benchmark {params.benchmark:q} "
        "--settings {params.settings:q} --asked {output.asked} --requests {output.requests} 2> {log}"


rule evaluate:
    """Score one configuration on one benchmark."""
    input:
        script=lambda wildcards: script(evaluator(wildcards)),
        library=lambda wildcards: library(evaluator(wildcards)),
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
        benchmark=lambda wildcards: as_json(project.scoring(wildcards.benchmark)),
        settings=lambda wildcards: as_json(project.evaluation_settings(wildcards.benchmark)),
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--compressed $(dirname {input.compressed[0]}) --questions {input.questions} "
        "--benchmark {params.benchmark:q} --settings {params.settings:q} --gpus {resources.gpu} "
        "--output {output.result} --samples {output.samples} "
        "--scores {output.scores} --requests {input.requests} 2> {log}"


rule collect_accuracy:
    """Gather a study's scores, and their paired differences from the dense model."""
    input:
        script=script("collect_accuracy"),
        library=library("collect_accuracy"),
        lock=LOCK,
        results=lambda wildcards: study_evaluations(wildcards, rules.evaluate.output.result),
        scores=lambda wildcards: study_evaluations(wildcards, rules.evaluate.output.scores),
    output:
        "<results>/models/{model}/studies/{study}.csv",
    log:
        "<logs>/collect_accuracy/{model}/{study}.log",
    conda:
        "../../environment.yml"
    params:
        rows=study_rows,
        benchmarks=lambda wildcards: as_json(
            [
                (name, project.benchmark_label(name))
                for name in project.study_benchmarks(wildcards.study, model_of(wildcards))
            ]
        ),
        folder=lambda wildcards, input: os.path.dirname(os.path.dirname(input.results[0])),
    shell:
        "PYTHONPATH=workflow python {input.script} --rows {params.rows:q} "
        "--benchmarks {params.benchmarks:q} --folder {params.folder} --output {output} 2> {log}"
