# The reproduction report.

from lowrank.project.views.paper import fact_files, fact_models, fact_run, report_figures

REFERENCE_RUN = "paper/reference/laptop/run.json"  # times and sizes, measured once


def facts_of_models():
    return fact_models(
        project,
        rules.fetch_model.output.manifest,
        rules.evaluate.output.result,
        rules.collect_accuracy.output[0],
        rules.collect_profiles.output.fits,
    )


def facts_of_tables():
    """The tables that the report's facts are gathered from, by name."""
    tables = {"table_1_1": rules.table_1_1.output.csv, "table_3_1": rules.table_3_1.output.csv}
    if "table_4_2" in project.settings["studies"]:
        tables["table_4_2"] = expand(rules.table_4_2.output.csv, model=TABLE_MODELS[0])[0]
    return tables


def report_inputs():
    """From the name in the report's template to the file, and to what made it."""
    inputs = {
        "facts.json": {"path": rules.gather_facts.output[0]},
        "claims.json": {"path": rules.judge_claims.output.ledger},
        "thesis.yaml": {"path": THESIS},
        "verdicts.typ": {"path": rules.claims_table.input.template},
    }
    if os.path.exists(REFERENCE_RUN):
        inputs["run.json"] = {"path": REFERENCE_RUN}
    return inputs | report_figures(drawn())


rule gather_facts:
    """The numbers that the report's text states."""
    input:
        script=script("gather_facts"),
        library=library("gather_facts"),
        lock=LOCK,
        thesis=THESIS,
        results=lambda wildcards: fact_files(
            project, facts_of_models(), facts_of_tables(), rules.evaluate.output.scores
        ),
    output:
        "<results>/facts.json",
    log:
        "<logs>/gather_facts.log",
    conda:
        "../../environment.yml"
    params:
        models=lambda wildcards: as_json(facts_of_models()),
        tables=lambda wildcards: as_json(facts_of_tables()),
        run=lambda wildcards: as_json(fact_run(project, THESIS_BENCHMARKS)),
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
