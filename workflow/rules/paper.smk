# The reproduction report.


rule gather_facts:
    """The numbers that the report's text states."""
    input:
        script=script("gather_facts"),
        library=library("gather_facts"),
        lock=LOCK,
        thesis=THESIS,
        results=lambda wildcards: fact_files(),
    output:
        "<results>/facts.json",
    log:
        "<logs>/gather_facts.log",
    conda:
        "../../environment.yml"
    params:
        models=lambda wildcards: as_json(fact_models()),
        tables=lambda wildcards: as_json(fact_tables()),
        run=lambda wildcards: as_json(fact_run()),
    shell:
        "PYTHONPATH=workflow python {input.script} --models {params.models:q} "
        "--tables {params.tables:q} --run {params.run:q} --thesis {input.thesis} "
        "--output {output} 2> {log}"


rule build_report:
    """Compile the report."""
    input:
        script=script("build_report"),
        library=library("build_report"),
        lock=LOCK,
        template="paper/report.typ",
        files=lambda wildcards: [made["path"] for made in report_inputs().values()],
    output:
        report(
            "<figures>/report/report.pdf",
            caption="../report/document.rst",
            category="Report",
            labels={"item": "The reproduction report (PDF)"},
        ),
    log:
        "<logs>/build_report.log",
    conda:
        "../../environment.yml"
    params:
        inputs=lambda wildcards: as_json(report_inputs()),
    shell:
        "PYTHONPATH=workflow python {input.script} --template {input.template} "
        "--inputs {params.inputs:q} --output {output} 2> {log}"
