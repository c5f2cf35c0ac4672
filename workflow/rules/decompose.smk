# Factor each weight once, at the largest rank that any study asks for; configurations cut.

from lowrank.project.views.decompose import layer_factors


rule factorize_layer:
    """Factorize the decomposable tensors of one layer."""
    input:
        script=script("factorize_layer"),
        library=library("factorize_layer"),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
    output:
        "<results>/models/{model}/factors/{method}/layer-{layer}.safetensors",
    log:
        "<logs>/factorize_layer/{model}/{method}/{layer}.log",
    conda:
        "../../environment.yml"
    resources:
        gpu=gpus,
    params:
        architecture=architecture_of,
        rank=lambda wildcards: project.largest_rank(wildcards.model, wildcards.method),
        device=project.settings["device"],
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--architecture {params.architecture:q} --layer {wildcards.layer} --rank {params.rank} "
        "--method {wildcards.method} --device {params.device} --gpus {resources.gpu} "
        "--output {output} 2> {log}"


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
    conda:
        "../../environment.yml"
    params:
        architecture=architecture_of,
        modules=lambda wildcards: as_json(
            project.decomposition(model_of(wildcards), wildcards.decomposition).rank.modules
        ),
    shell:
        "PYTHONPATH=workflow python {input.script} --model {wildcards.model} "
        "--architecture {params.architecture:q} --base-manifest {input.manifest} "
        "--decomposition {wildcards.decomposition} --modules {params.modules:q} "
        "--layer-factors {input.factors} "
        "--output $(dirname {output.manifest}) 2> {log}"


rule export:
    """Multiply a configuration out into a dense Hugging Face directory, for other tools."""
    input:
        script=script("export"),
        library=library("export"),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        compressed=rules.compress.output,
    output:
        directory("<results>/models/{model}/exported/{decomposition}"),
    log:
        "<logs>/export/{model}/{decomposition}.log",
    conda:
        "../../environment.yml"
    params:
        dtype=project.settings["dtype"],
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--compressed $(dirname {input.compressed[0]}) --dtype {params.dtype} "
        "--output {output} 2> {log}"
