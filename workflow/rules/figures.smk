# Tables and figures: PDF, PNG and the CSV behind each.


rule table_4_2:
    """Decomposed layers and parameter reduction, from the architecture alone."""
    input:
        script=script("table_4_2"),
        library=library("table_4_2"),
        lock=LOCK,
    output:
        csv="<figures>/{model}/table_4_2.csv",
        pdf="<figures>/{model}/table_4_2.pdf",
        png=report(
            "<figures>/{model}/table_4_2.png",
            caption="../report/table_4_2.rst",
            category="{model}",
            labels={"item": "table_4_2"},
        ),
    log:
        "<logs>/table_4_2/{model}.log",
    conda:
        "../../environment.yml"
    params:
        label=lambda wildcards: project.model(wildcards.model).label,
        architecture=architecture_of,
        rows=table_4_2_rows,
        carried_over=lambda wildcards: as_json(
            project.is_carried_over("table_4_2", project.model(wildcards.model))
        ),
        subtitle=project.describe("table_4_2"),
    shell:
        "PYTHONPATH=workflow python {input.script} --label {params.label:q} "
        "--architecture {params.architecture:q} --rows {params.rows:q} --carried-over {params.carried_over} "
        "--subtitle {params.subtitle:q} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} 2> {log}"


rule accuracy_figure:
    """A figure of one study: its script, its data, nothing else."""
    input:
        script=lambda wildcards: script(wildcards.figure),
        library=lambda wildcards: library(wildcards.figure),
        lock=LOCK,
        data=lambda wildcards: expand(
            rules.collect_accuracy.output, model=wildcards.model, study=study_of(wildcards.figure)
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
        subtitle=lambda wildcards: project.describe(study_of(wildcards.figure)),
        look_for=lambda wildcards: project.study(study_of(wildcards.figure))["look_for"],
    shell:
        "PYTHONPATH=workflow python {input.script} --data {input.data} "
        "--label {params.label:q} --subtitle {params.subtitle:q} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} 2> {log}"
