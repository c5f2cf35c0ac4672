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
        png="<figures>/{model}/table_4_2.png",
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


rule figure_4_1:
    """Accuracy against parameter reduction."""
    input:
        script=script("figure_4_1"),
        library=library("figure_4_1"),
        lock=LOCK,
        data="<results>/models/{model}/studies/table_4_2.csv",
    output:
        csv="<figures>/{model}/figure_4_1.csv",
        pdf="<figures>/{model}/figure_4_1.pdf",
        png="<figures>/{model}/figure_4_1.png",
    log:
        "<logs>/figure_4_1/{model}.log",
    conda:
        "../../environment.yml"
    params:
        label=lambda wildcards: project.model(wildcards.model).label,
        subtitle=lambda wildcards: (
            f"{project.describe('table_4_2')}; "
            f"{project.benchmark_count(project.model(wildcards.model))} benchmarks"
        ),
    shell:
        "PYTHONPATH=workflow python {input.script} --data {input.data} --label {params.label:q} "
        "--subtitle {params.subtitle:q} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} 2> {log}"
