# Figures: PDF, PNG and the CSV behind each.


rule accuracy_figure:
    """A figure of one study: its script, its data, nothing else."""
    input:
        script=lambda wildcards: script(wildcards.figure),
        library=lambda wildcards: library(wildcards.figure),
        lock=LOCK,
        data=lambda wildcards: expand(
            rules.collect_accuracy.output, model=wildcards.model, study=figure_study(wildcards)
        ),
    output:
        csv="<figures>/{model}/{figure}.csv",
        pdf="<figures>/{model}/{figure}.pdf",
        png=report(
            "<figures>/{model}/{figure}.png",
            caption="../report/accuracy_figure.rst",
            category="{model}",
            labels={"item": "{figure}"},
        ),
    log:
        "<logs>/figures/{model}/{figure}.log",
    conda:
        "../../environment.yml"
    params:
        label=lambda wildcards: project.model(wildcards.model).label,
        subtitle=lambda wildcards: project.describe(figure_study(wildcards), model_of(wildcards)),
        look_for=lambda wildcards: project.study(figure_study(wildcards))["look_for"],
    shell:
        "PYTHONPATH=workflow python {input.script} --data {input.data} "
        "--label {params.label:q} --subtitle {params.subtitle:q} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} 2> {log}"
