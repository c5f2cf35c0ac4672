# Latency, energy and memory of a study's configurations, each beside the dense model.

from lowrank.project.views.profile import (
    fine_tuning_settings,
    profile_settings,
    profiled_benchmarks,
    profiled_requests,
)


rule profile:
    """Measure one configuration and the dense model in turns, alone on the device."""
    input:
        script=script("measure"),
        library=library("measure"),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        compressed=rules.compress.output,
        below=lambda wildcards: below(
            project, model_of(wildcards), wildcards.decomposition, rules.compress.output
        ),
        requests=lambda wildcards: profiled_requests(
            project, model_of(wildcards), rules.prepare_requests.output.requests
        ),
        questions=lambda wildcards: profiled_requests(
            project, model_of(wildcards), rules.prepare_requests.output.asked
        ),
    output:
        "<results>/models/{model}/profiles/{decomposition}.json",
    log:
        "<logs>/profile/{model}/{decomposition}.log",
    conda:
        "../../environment.yml"
    threads: measuring_threads
    resources:
        gpu=measuring_gpus,
    params:
        settings=lambda wildcards: as_json(profile_settings(project)),
        labels=lambda wildcards: as_json(
            [
                project.benchmarks[name]["label"]
                for name in profiled_benchmarks(project, model_of(wildcards))
            ]
        ),
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--compressed $(dirname {input.compressed[0]}) --labels {params.labels:q} "
        "--settings {params.settings:q} --output {output} "
        "--requests {input.requests} --questions {input.questions} 2> {log}"


rule profile_training:
    """Measure the memory of a step of QLoRA over a configuration and over the dense model."""
    input:
        script=script("measure_training"),
        library=library("measure_training"),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        compressed=rules.compress.output,
    output:
        "<results>/models/{model}/training_memory/{decomposition}.json",
    log:
        "<logs>/profile_training/{model}/{decomposition}.log",
    conda:
        "../../environment.yml"
    threads: measuring_threads
    resources:
        gpu=gpus,
    params:
        settings=lambda wildcards: as_json(fine_tuning_settings(project)),
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--compressed $(dirname {input.compressed[0]}) --settings {params.settings:q} "
        "--output {output} 2> {log}"
