# Training of what is left of a model after its compression. The result is a compressed model.

from lowrank.project.views.recover import (
    recovery_examples,
    recovery_settings,
    training_settings,
)

TRAINING_THREADS = 2  # of a job; another number rounds otherwise, so the bytes are of this one


rule fetch_training:
    """Fetch the questions of a benchmark's training split, as `fetch_benchmark` does."""
    input:
        script=script("fetch_benchmark"),
        library=library("fetch_benchmark"),
        lock=LOCK,
    output:
        questions="<results>/training/{benchmark}.parquet",
        manifest="<results>/training/{benchmark}.json",
    log:
        "<logs>/fetch_training/{benchmark}.log",
    conda:
        "../../environment.yml"
    params:
        benchmark=lambda wildcards: as_json(training_settings(project, wildcards.benchmark)),
    shell:
        "PYTHONPATH=workflow python {input.script} --benchmark {params.benchmark:q} "
        "--output {output.questions} --manifest {output.manifest} 2> {log}"


rule prepare_training:
    """Tokenize the questions of a training split, without those that the evaluation asks."""
    input:
        script=script("prepare_training"),
        library=library("prepare_training"),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        questions=rules.fetch_training.output.questions,
        asked=rules.fetch_benchmark.output.questions,
    output:
        "<results>/models/{model}/training/{benchmark}.{shown}.safetensors",
    log:
        "<logs>/prepare_training/{model}/{benchmark}.{shown}.log",
    wildcard_constraints:
        shown="[a-z]+",
    conda:
        "../../environment.yml"
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--questions {input.questions} --asked {input.asked} --shown {wildcards.shown} "
        "--output {output} 2> {log}"


rule recover:
    """Train a configuration's compressed model. A run that was ended goes on from a checkpoint."""
    input:
        script=script("recover"),
        library=library("recover"),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        factors="<results>/models/{model}/compressed/{parent}/factors.safetensors",
        manifest="<results>/models/{model}/compressed/{parent}/manifest.json",
        examples=lambda wildcards: recovery_examples(
            project,
            wildcards.recovery,
            rules.prepare_calibration.output[0],
            rules.prepare_training.output[0],
        ),
    output:
        factors="<results>/models/{model}/compressed/{parent}+{recovery}/factors.safetensors",
        manifest="<results>/models/{model}/compressed/{parent}+{recovery}/manifest.json",
        losses="<results>/models/{model}/compressed/{parent}+{recovery}/losses.csv",
    log:
        "<logs>/recover/{model}/{parent}+{recovery}.log",
    benchmark:
        "<results>/costs/{model}/recover/{parent}+{recovery}.tsv"
    wildcard_constraints:
        parent="[a-z0-9_.+-]+",
        recovery="|".join(project.registry.names("recovery")) or "none_at_all",
    conda:
        "../../environment.yml"
    threads: TRAINING_THREADS
    resources:
        gpu=gpus,
    params:
        settings=lambda wildcards: as_json(
            recovery_settings(project, model_of(wildcards), wildcards.recovery)
        ),
        device=project.settings["device"],
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--compressed $(dirname {input.manifest}) --name {wildcards.recovery} "
        "--settings {params.settings:q} --examples {input.examples} --device {params.device} "
        "--gpus {resources.gpu} --threads {threads} "
        "--work $(dirname {output.manifest}).work --output $(dirname {output.manifest}) 2> {log}"
