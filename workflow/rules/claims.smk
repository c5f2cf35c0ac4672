# The ledger: a verdict on each claim of the thesis, for every scope.

from lowrank.project.references import find_kept_runs
from lowrank.project.views.claims import (
    claim_evaluations,
    claim_evidence,
    claim_scopes,
    documents,
)

OTHER_SCOPES = {
    "authors": AUTHORS_DATA,
    "references": REFERENCES,
    "kept": find_kept_runs(PROFILE_RECORDS),  # by `make reference`, of any scale
}


rule judge_claims:
    """Test every claim on the results of this run, and on those that others or an earlier run left."""
    input:
        script=script("judge_claims"),
        library=library("judge_claims"),
        lock=LOCK,
        results=lambda wildcards: claim_evidence(project, output_of, **OTHER_SCOPES),
        # The studies' tables are made anew where what they show of these has changed.
        evaluations=lambda wildcards: [
            ancient(file) for file in claim_evaluations(project, output_of)
        ],
    output:
        ledger="<results>/claims.json",
        text="<results>/claims.txt",
        details="<results>/claims_details.txt",
    log:
        "<logs>/judge_claims.log",
    conda:
        "../../environment.yml"
    params:
        claims=lambda wildcards: as_json(list(project.registry.claims().items())),  # pairs keep their order
        scopes=lambda wildcards: as_json(claim_scopes(project, output_of, **OTHER_SCOPES)),
        figures=lambda wildcards: as_json(documents(drawn())),
    shell:
        "PYTHONPATH=workflow python {input.script} --claims {params.claims:q} "
        "--scopes {params.scopes:q} --figures {params.figures:q} "
        "--ledger {output.ledger} --text {output.text} --details {output.details} 2> {log}"


rule claims_table:
    """The verdicts on one page, and a table of the tests."""
    input:
        script=script("claims_table"),
        library=library("claims_table"),
        lock=LOCK,
        template="paper/verdicts.typ",
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
        "PYTHONPATH=workflow python {input.script} --ledger {input.ledger} --template {input.template} "
        "--csv {output.csv} --verdicts {output.verdicts} --pdf {output.pdf} --png {output.png} --tex {output.tex} 2> {log}"
