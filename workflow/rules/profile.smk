# Latency, energy and memory of a study's configurations, each beside the dense model.


rule profile:
    """Measure one configuration and the dense model in turns, alone on the device."""
    input:
        script=script("measure"),
        library=library("measure"),
        lock=LOCK,
        weights=rules.fetch_model.output.weights,
        compressed=rules.compress.output,
        requests=lambda wildcards: profiled(wildcards, rules.prepare_requests.output.requests),
        questions=lambda wildcards: profiled(wildcards, rules.prepare_requests.output.asked),
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
        settings=lambda wildcards: as_json(project.profile_settings()),
        labels=lambda wildcards: as_json(
            [
                project.benchmarks[name]["label"]
                for name in project.profiled_benchmarks(model_of(wildcards))
            ]
        ),
    shell:
        "PYTHONPATH=workflow python {input.script} --weights {input.weights} "
        "--compressed $(dirname {input.compressed[0]}) --labels {params.labels:q} "
        "--settings {params.settings:q} --output {output} "
        "--requests {input.requests} --questions {input.questions} 2> {log}"


rule collect_profiles:
    """Gather a study's measurements, and how each follows the parameters removed.

    Of a model of the run, or of one that was measured elsewhere (`paper/reference/`).
    """
    input:
        script=script("collect_profiles"),
        library=library("collect_profiles"),
        lock=LOCK,
        thesis=THESIS,
        records=profiled_configurations,
    output:
        table="<results>/models/{model}/studies/{study}.profiles.csv",
        fits="<results>/models/{model}/studies/{study}.profile_fits.json",
    log:
        "<logs>/collect_profiles/{model}/{study}.log",
    conda:
        "../../environment.yml"
    shell:
        "PYTHONPATH=workflow python {input.script} --thesis {input.thesis} "
        "--table {output.table} --fits {output.fits} --records {input.records} 2> {log}"


rule efficiency_figure:
    """Figures 4.2 to 4.4: one metric against the parameters removed."""
    input:
        script=script("efficiency_figure"),
        library=library("efficiency_figure"),
        lock=LOCK,
        data=lambda wildcards: collected(wildcards, rules.collect_profiles.output.table),
        fits=lambda wildcards: collected(wildcards, rules.collect_profiles.output.fits),
    output:
        csv="<figures>/{model}/{efficiency_figure}.csv",
        pdf="<figures>/{model}/{efficiency_figure}.pdf",
        png=report(
            "<figures>/{model}/{efficiency_figure}.png",
            caption="../report/efficiency_figure.rst",
            category="{model}",
            labels={"item": "{efficiency_figure}"},
        ),
    log:
        "<logs>/figures/{model}/{efficiency_figure}.log",
    conda:
        "../../environment.yml"
    params:
        metric=lambda wildcards: EFFICIENCY_FIGURES[wildcards.efficiency_figure],
        label=lambda wildcards: profiled_model(wildcards).label,
    shell:
        "PYTHONPATH=workflow python {input.script} --data {input.data} --fits {input.fits} "
        "--metric {params.metric} --label {params.label:q} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} 2> {log}"
