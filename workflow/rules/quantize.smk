# Quantization of a configuration's compressed model. The result is a compressed model of fewer bits.

from lowrank.project.views.quantize import below, quantization_settings


rule quantize:
    """Store the weights of a compressed model in few bits."""
    input:
        script=script("quantize"),
        library=library("quantize"),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        factors="<results>/models/{model}/compressed/{parent}/factors.safetensors",
        manifest="<results>/models/{model}/compressed/{parent}/manifest.json",
    output:
        factors="<results>/models/{model}/compressed/{parent}+{quantization}/factors.safetensors",
        manifest="<results>/models/{model}/compressed/{parent}+{quantization}/manifest.json",
    log:
        "<logs>/quantize/{model}/{parent}+{quantization}.log",
    benchmark:
        "<results>/costs/{model}/quantize/{parent}+{quantization}.tsv"
    wildcard_constraints:
        parent="[a-z0-9_.+-]+",
        quantization="|".join(project.registry.names("quantization")) or "none_at_all",
    conda:
        "../../environment.yml"
    threads: COMPRESSING_THREADS
    resources:
        gpu=gpus,
    params:
        settings=lambda wildcards: as_json(quantization_settings(project, wildcards.quantization)),
        dtype=project.settings["dtype"],
        device=project.settings["device"],
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--compressed $(dirname {input.manifest}) --name {wildcards.quantization} "
        "--settings {params.settings:q} --dtype {params.dtype} --device {params.device} "
        "--gpus {resources.gpu} --output $(dirname {output.manifest}) 2> {log}"
