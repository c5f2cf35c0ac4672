# The reproduction report.

from lowrank.project.views.paper import (
    fact_evaluations,
    fact_files,
    fact_models,
    fact_run,
    fact_tables,
    report_inputs,
)

REFERENCE_RUN = "paper/reference/laptop/run.json"  # times and sizes, measured once


rule gather_facts:
    """The numbers that the report's text states."""
    input:
        script=script("gather_facts"),
        library=library("gather_facts"),
        lock=LOCK,
        thesis=THESIS,
        published=rules.authors_tables.input.published,
        results=lambda wildcards: fact_files(project, output_of),
        # The studies' tables are made anew where what they show of these has changed.
        evaluations=lambda wildcards: [
            ancient(file) for file in fact_evaluations(project, output_of)
        ],
    output:
        "<results>/facts.json",
    log:
        "<logs>/gather_facts.log",
    conda:
        "../../environment.yml"
    params:
        models=lambda wildcards: as_json(fact_models(project, output_of)),
        tables=lambda wildcards: as_json(fact_tables(project, output_of)),
        run=lambda wildcards: as_json(fact_run(project)),
        published=lambda wildcards, input: os.path.dirname(input.published[0]),
    shell:
        "PYTHONPATH=workflow python {input.script} --models {params.models:q} "
        "--tables {params.tables:q} --run {params.run:q} --thesis {input.thesis} "
        "--published {params.published} --output {output} 2> {log}"


REPORT_FILES = {
    "facts.json": rules.gather_facts.output[0],
    "claims.json": rules.judge_claims.output.ledger,
    "thesis.yaml": THESIS,
    "verdicts.typ": rules.claims_table.input.template,
}
if "table_4_2" in project.settings["studies"]:
    REPORT_FILES["authors.yaml"] = f"{AUTHORS_DATA}/sources.yaml"
    REPORT_FILES["authors_fits.json"] = rules.authors_tables.output.fits
if os.path.exists(REFERENCE_RUN):
    REPORT_FILES["run.json"] = REFERENCE_RUN


rule build_report:
    """Compile the report."""
    input:
        script=script("build_report"),
        library=library("build_report"),
        lock=LOCK,
        template="paper/report.typ",
        files=lambda wildcards: [
            made["path"] for made in report_inputs(REPORT_FILES, drawn(), script).values()
        ],
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
        inputs=lambda wildcards: as_json(report_inputs(REPORT_FILES, drawn(), script)),
    shell:
        "PYTHONPATH=workflow python {input.script} --template {input.template} "
        "--inputs {params.inputs:q} --output {output} 2> {log}"
