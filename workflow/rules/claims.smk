# The ledger: a verdict on each claim of the thesis.


rule judge_claims:
    """Test every claim on the results of this run."""
    input:
        script=script("judge_claims"),
        library=library("judge_claims"),
        lock=LOCK,
        evidence=claim_evidence,
    output:
        ledger="<results>/claims.json",
        text="<results>/claims.txt",
    log:
        "<logs>/judge_claims.log",
    conda:
        "../../environment.yml"
    params:
        claims=lambda wildcards: as_json(list(project.claims().items())),  # pairs keep their order
        models=lambda wildcards: as_json(claim_models()),
        figures=lambda wildcards: as_json(claim_figures()),
        design_space=rules.table_3_1.output.csv,
    shell:
        "PYTHONPATH=workflow python {input.script} --claims {params.claims:q} "
        "--models {params.models:q} --figures {params.figures:q} --design-space {params.design_space} "
        "--ledger {output.ledger} --text {output.text} 2> {log}"


rule claims_table:
    """The ledger as a table."""
    input:
        script=script("claims_table"),
        library=library("claims_table"),
        lock=LOCK,
        ledger=rules.judge_claims.output.ledger,
    output:
        csv="<figures>/claims/claims.csv",
        verdicts="<figures>/claims/verdicts.csv",
        pdf="<figures>/claims/claims.pdf",
        tex="<figures>/claims/claims.tex",
        png=report(
            "<figures>/claims/claims.png",
            caption="../report/claims.rst",
            category="Claims",
            labels={"item": "The verdict on every claim"},
        ),
    log:
        "<logs>/claims_table.log",
    conda:
        "../../environment.yml"
    shell:
        "PYTHONPATH=workflow python {input.script} --ledger {input.ledger} "
        "--csv {output.csv} --verdicts {output.verdicts} --pdf {output.pdf} --png {output.png} --tex {output.tex} 2> {log}"
