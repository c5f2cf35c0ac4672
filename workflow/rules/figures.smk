# Figures: PDF, PNG and the CSV behind each.


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
        subtitle=f"{project.describe('table_4_2')}; {project.benchmark_count} benchmarks",
    shell:
        "PYTHONPATH=workflow python {input.script} --data {input.data} --label {params.label:q} "
        "--subtitle {params.subtitle:q} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} 2> {log}"
