# Figures: PDF, PNG and the CSV behind each.

from lowrank.project.views.figures import REFERENCE_STUDY, drawings, figure_study, subtitle
from lowrank.project.views.profile import profiled_study


def study_shown(wildcards):
    """The study that a figure of accuracy shows."""
    return figure_study(project, wildcards.figure, model_of(wildcards))


def collected(wildcards, pattern):
    """The measurements behind a figure of efficiency."""
    is_reference = wildcards.model in REFERENCES
    study = REFERENCE_STUDY if is_reference else profiled_study(project, model_of(wildcards))
    return expand(pattern, model=wildcards.model, study=study)


@functools.cache
def drawn():
    """What draws each figure and table of a run: rule, script and the files that it makes."""
    return [
        {
            "rule": rule,
            "script": script(wildcards.get("figure", rule)),
            "files": expand(getattr(rules, rule).output, **wildcards),
        }
        for rule, wildcards in drawings(project, REFERENCES, TABLE_MODELS)
    ]


def figures_and_tables():
    """The files of every figure and table of a run."""
    return [path for job in drawn() for path in job["files"]]


rule accuracy_figure:
    """A figure of one study: its script, its data, nothing else."""
    input:
        script=lambda wildcards: script(wildcards.figure),
        library=lambda wildcards: library(wildcards.figure),
        lock=LOCK,
        data=lambda wildcards: expand(
            rules.collect_accuracy.output, model=wildcards.model, study=study_shown(wildcards)
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
        subtitle=lambda wildcards: subtitle(project, study_shown(wildcards), model_of(wildcards)),
        look_for=lambda wildcards: project.study(study_shown(wildcards))["look_for"],
    shell:
        "PYTHONPATH=workflow python {input.script} --data {input.data} "
        "--label {params.label:q} --subtitle {params.subtitle:q} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} 2> {log}"


rule efficiency_figure:
    """Figures 4.2 to 4.4: one metric against the parameters removed."""
    input:
        script=script("efficiency_figure"),
        library=library("efficiency_figure"),
        lock=LOCK,
        data=lambda wildcards: collected(wildcards, rules.collect_profiles.output.table),
        fits=lambda wildcards: collected(wildcards, rules.collect_profiles.output.fits),
    output:
        csv="<figures>/{model}/{efficiency_figure}.csv",
        pdf="<figures>/{model}/{efficiency_figure}.pdf",
        png=report(
            "<figures>/{model}/{efficiency_figure}.png",
            caption="../report/efficiency_figure.rst",
            category="{model}",
            labels={"item": "{efficiency_figure}"},
        ),
    log:
        "<logs>/figures/{model}/{efficiency_figure}.log",
    conda:
        "../../environment.yml"
    params:
        metric=lambda wildcards: EFFICIENCY_FIGURES[wildcards.efficiency_figure],
        label=lambda wildcards: reference_model(REFERENCES, wildcards.model, project).label,
    shell:
        "PYTHONPATH=workflow python {input.script} --data {input.data} --fits {input.fits} "
        "--metric {params.metric} --label {params.label:q} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} 2> {log}"


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
