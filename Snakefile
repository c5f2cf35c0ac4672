# Accuracy and efficiency of low-rank decomposed language models (Moar, 2024): from pinned weights
# and questions to every figure and table. README.md says how to run it, config/ what is run.
from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


pathvars:
    figures="figures",


include: "workflow/rules/common.smk"
include: "workflow/rules/running.smk"
include: "workflow/rules/assets.smk"
include: "workflow/rules/decompose.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/profile.smk"
include: "workflow/rules/analyse.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/paper.smk"


rule all:
    """Every figure and table of the run, the verdict on each claim, and the report."""
    default_target: True
    input:
        figures_and_tables(),
        rules.judge_claims.output,
        rules.claims_table.output,
        rules.build_report.output,
