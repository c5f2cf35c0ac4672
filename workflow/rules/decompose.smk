# Factor each weight once, at the largest rank that any study asks for; configurations cut. One that
# no study asks for, with a larger rank, has factors of its own. Methods that read what goes into a
# module walk the dense model once for all of them, and once more back for those that read gradients.
# Those that look behind compressed modules are factored a configuration.

from lowrank.project.views.decompose import (
    SEQUENTIAL,
    evaluation_at_hand,
    exported_from,
    factors_rank,
    layer_factors,
    layer_inputs,
    method_module,
    method_of,
)

COMPRESSING_THREADS = 1  # of a job; the table of costs says so


rule gather_moments:
    """Walk the dense model over a calibration set: the moments of what goes into its modules."""
    input:
        script=script("gather_moments"),
        library=library("gather_moments"),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        calibration=rules.prepare_calibration.output[0],
    output:
        temp(directory("<results>/models/{model}/moments/{calibration}")),
    log:
        "<logs>/gather_moments/{model}/{calibration}.log",
    benchmark:
        "<results>/costs/{model}/gather_moments/{calibration}.tsv"
    conda:
        "../../environment.yml"
    threads: COMPRESSING_THREADS
    resources:
        gpu=gpus,
    params:
        architecture=architecture_of,
        dtype=project.settings["dtype"],
        device=project.settings["device"],
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--architecture {params.architecture:q} --calibration {input.calibration} "
        "--dtype {params.dtype} --device {params.device} --gpus {resources.gpu} "
        "--output {output} 2> {log}"


rule gather_gradients:
    """Walk the dense model to its loss and back: inputs of its modules times their gradients."""
    input:
        script=script("gather_gradients"),
        library=library("gather_gradients"),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        calibration=rules.prepare_calibration.output[0],
    output:
        temp(directory("<results>/models/{model}/gradients/{calibration}")),
    log:
        "<logs>/gather_gradients/{model}/{calibration}.log",
    benchmark:
        "<results>/costs/{model}/gather_gradients/{calibration}.tsv"
    conda:
        "../../environment.yml"
    threads: COMPRESSING_THREADS
    resources:
        gpu=gpus,
    params:
        architecture=architecture_of,
        device=project.settings["device"],
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--architecture {params.architecture:q} --calibration {input.calibration} "
        "--device {params.device} --gpus {resources.gpu} --output {output} 2> {log}"


rule order_layers:
    """Write the layers by their block influence, for `config/influence/`; no target asks for it."""
    input:
        script=script("order_layers"),
        library=library("order_layers"),
        lock=LOCK,
        manifest=rules.fetch_model.output.manifest,
        moments=rules.gather_moments.output[0],
    output:
        "<results>/models/{model}/influence/{calibration}.yaml",
    log:
        "<logs>/order_layers/{model}/{calibration}.log",
    conda:
        "../../environment.yml"
    params:
        architecture=architecture_of,
    shell:
        "PYTHONPATH=workflow python {input.script} --model {wildcards.model} "
        "--architecture {params.architecture:q} --moments {input.moments} "
        "--calibration {wildcards.calibration} --base-manifest {input.manifest} "
        "--output {output} 2> {log}"


rule factorize_layer:
    """Factorize the decomposable tensors of one layer."""
    input:
        script=script("factorize_layer"),
        library=lambda wildcards: library("factorize_layer", method_module(wildcards.factorization)),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        moments=lambda wildcards: layer_inputs(wildcards.model, wildcards.factorization, output_of),
    output:
        "<results>/models/{model}/factors/{factorization}/layer-{layer}.safetensors",
    log:
        "<logs>/factorize_layer/{model}/{factorization}/{layer}.log",
    benchmark:
        "<results>/costs/{model}/factorize_layer/{factorization}/layer-{layer}.tsv"
    conda:
        "../../environment.yml"
    threads: COMPRESSING_THREADS
    resources:
        gpu=gpus,
    params:
        architecture=architecture_of,
        rank=lambda wildcards: factors_rank(project, wildcards.model, wildcards.factorization),
        method=lambda wildcards: method_of(wildcards.factorization),
        device=project.settings["device"],
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--architecture {params.architecture:q} --layer {wildcards.layer} --rank {params.rank} "
        "--method {params.method:q} --device {params.device} --gpus {resources.gpu} "
        "--moments {input.moments} --output {output} 2> {log}"


# The ranks a module of a configuration, whose name holds their digest.
modules_of = lambda wildcards: as_json(
    project.decomposition(model_of(wildcards), wildcards.decomposition).rank.modules
)


rule compress:
    """Cut one configuration from the stored factors: a small file and its manifest."""
    input:
        script=script("compress"),
        library=library("compress"),
        lock=LOCK,
        manifest=rules.fetch_model.output.manifest,
        factors=lambda wildcards: layer_factors(
            project,
            model_of(wildcards),
            wildcards.decomposition,
            rules.factorize_layer.output[0],
        ),
    output:
        factors="<results>/models/{model}/compressed/{decomposition}/factors.safetensors",
        manifest="<results>/models/{model}/compressed/{decomposition}/manifest.json",
    log:
        "<logs>/compress/{model}/{decomposition}.log",
    benchmark:
        "<results>/costs/{model}/compress/{decomposition}.tsv"
    wildcard_constraints:
        decomposition=rf"(?!({SEQUENTIAL})\.)[a-z0-9_.-]+",
    conda:
        "../../environment.yml"
    threads: COMPRESSING_THREADS
    params:
        architecture=architecture_of,
        modules=modules_of,
    shell:
        "PYTHONPATH=workflow python {input.script} --model {wildcards.model} "
        "--architecture {params.architecture:q} --base-manifest {input.manifest} "
        "--decomposition {wildcards.decomposition} --modules {params.modules:q} "
        "--layer-factors {input.factors} "
        "--output $(dirname {output.manifest}) 2> {log}"


rule compress_in_sequence:
    """Factor one configuration behind its own compressed modules: nothing is stored to be cut."""
    input:
        script=script("compress_in_sequence"),
        library=lambda wildcards: library("compress_in_sequence", method_module(wildcards.method)),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        manifest=rules.fetch_model.output.manifest,
        calibration=rules.prepare_calibration.output[0],
    output:
        factors="<results>/models/{model}/compressed/{method}.{calibration}-{rest}/factors.safetensors",
        manifest="<results>/models/{model}/compressed/{method}.{calibration}-{rest}/manifest.json",
    log:
        "<logs>/compress/{model}/{method}.{calibration}-{rest}.log",
    benchmark:
        "<results>/costs/{model}/compress_in_sequence/{method}.{calibration}-{rest}.tsv"
    wildcard_constraints:
        method=SEQUENTIAL,
        rest="[a-z0-9_.-]+",
    conda:
        "../../environment.yml"
    threads: COMPRESSING_THREADS
    resources:
        gpu=gpus,
    params:
        architecture=architecture_of,
        decomposition="{method}.{calibration}-{rest}",
        modules=lambda wildcards: as_json(
            project.decomposition(
                model_of(wildcards), "{method}.{calibration}-{rest}".format(**wildcards)
            ).rank.modules
        ),
        dtype=project.settings["dtype"],
        device=project.settings["device"],
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--model {wildcards.model} --architecture {params.architecture:q} "
        "--base-manifest {input.manifest} --calibration {input.calibration} "
        "--decomposition {params.decomposition:q} --modules {params.modules:q} "
        "--dtype {params.dtype} --device {params.device} --gpus {resources.gpu} "
        "--output $(dirname {output.manifest}) 2> {log}"


# Whatever is asked for in place of a configuration gets an answer: its name may be any text.
compressed_to_export = lambda is_dense: lambda wildcards: exported_from(
    project, model_of(wildcards), wildcards.decomposition, rules.compress.output, is_dense
)


rule export:
    """Multiply a configuration out into a dense Hugging Face directory, for other tools."""
    input:
        script=script("export"),
        library=library("export"),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        compressed=compressed_to_export(True),
    output:
        directory("<results>/models/{model}/exported/{decomposition}"),
    log:
        "<logs>/export/{model}/{decomposition}.log",
    wildcard_constraints:
        model="[^/]+",
        decomposition="[^/]+",
    conda:
        "../../environment.yml"
    params:
        dtype=project.settings["dtype"],
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--compressed $(dirname {input.compressed[0]}) --dtype {params.dtype} "
        "--output {output} 2> {log}"


# Results that are there when a card is written are read, but nothing is evaluated for it.
results_at_hand = lambda decomposition: lambda wildcards: evaluation_at_hand(
    output_of("evaluate.result"), wildcards.model, decomposition or wildcards.decomposition
)


rule export_low_rank:
    """Write a configuration as a checkpoint of factors, for transformers after `import lowrank`."""
    input:
        script=script("export_low_rank"),
        library=library("export_low_rank"),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        compressed=compressed_to_export(False),
    output:
        directory("<results>/models/{model}/exported/low_rank/{decomposition}"),
    log:
        "<logs>/export_low_rank/{model}/{decomposition}.log",
    wildcard_constraints:
        model="[^/]+",
        decomposition="[^/]+",
    conda:
        "../../environment.yml"
    params:
        dtype=project.settings["dtype"],
        evaluation=results_at_hand(None),
        dense=results_at_hand("dense"),
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--compressed $(dirname {input.compressed[0]}) --dtype {params.dtype} "
        "--evaluation={params.evaluation:q} --dense-evaluation={params.dense:q} "
        "--output {output} 2> {log}"
