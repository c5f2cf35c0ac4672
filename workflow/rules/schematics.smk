# Schematics: drawn by code from no data, hence without a CSV and once for all models.


rule figure_1_1:
    """Tucker decomposition of a third-order tensor."""
    input:
        script=script("figure_1_1"),
        library=library("figure_1_1"),
        lock=LOCK,
    output:
        pdf="<figures>/thesis/figure_1_1.pdf",
        png=report(
            "<figures>/thesis/figure_1_1.png",
            caption="../report/figure_1_1.rst",
            category="Thesis",
            labels={"item": "Figure 1.1"},
        ),
    log:
        "<logs>/figure_1_1.log",
    conda:
        "../../environment.yml"
    shell:
        "PYTHONPATH=workflow python {input.script} "
        "--pdf {output.pdf} --png {output.png} 2> {log}"


rule figure_3_1:
    """The three axes of a decomposition configuration."""
    input:
        script=script("figure_3_1"),
        library=library("figure_3_1"),
        lock=LOCK,
    output:
        pdf="<figures>/thesis/figure_3_1.pdf",
        png=report(
            "<figures>/thesis/figure_3_1.png",
            caption="../report/figure_3_1.rst",
            category="Thesis",
            labels={"item": "Figure 3.1"},
        ),
    log:
        "<logs>/figure_3_1.log",
    conda:
        "../../environment.yml"
    shell:
        "PYTHONPATH=workflow python {input.script} "
        "--pdf {output.pdf} --png {output.png} 2> {log}"


rule figure_3_3:
    """The decomposable weight tensors of a BERT and a Llama 2 layer."""
    input:
        script=script("figure_3_3"),
        library=library("figure_3_3"),
        lock=LOCK,
    output:
        pdf="<figures>/thesis/figure_3_3.pdf",
        png=report(
            "<figures>/thesis/figure_3_3.png",
            caption="../report/figure_3_3.rst",
            category="Thesis",
            labels={"item": "Figure 3.3"},
        ),
    log:
        "<logs>/figure_3_3.log",
    conda:
        "../../environment.yml"
    shell:
        "PYTHONPATH=workflow python {input.script} "
        "--pdf {output.pdf} --png {output.png} 2> {log}"
