# Figures: PDF, PNG and the CSV behind each.

from lowrank.project.views.figures import efficiency_study, figure_study, subtitle

study_shown = lambda wildcards: figure_study(project, wildcards.figure, model_of(wildcards))
study_measured = lambda wildcards: efficiency_study(project, REFERENCES, wildcards.model)


rule accuracy_figure:
    """A figure of one study: its module, its data, nothing else."""
    input:
        script=script("accuracy_figure"),
        library=lambda wildcards: library("accuracy_figure", f"lowrank.figures.{wildcards.figure}"),
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
        "PYTHONPATH=workflow python {input.script} --figure {wildcards.figure} "
        "--data {input.data} --label {params.label:q} --subtitle {params.subtitle:q} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} 2> {log}"


rule efficiency_figure:
    """Figures 4.2 to 4.4: one metric against the parameters removed."""
    input:
        script=script("efficiency_figure"),
        library=library("efficiency_figure"),
        lock=LOCK,
        data=lambda wildcards: expand(
            rules.collect_profiles.output.table,
            model=wildcards.model,
            study=study_measured(wildcards),
        ),
        fits=lambda wildcards: expand(
            rules.collect_profiles.output.fits,
            model=wildcards.model,
            study=study_measured(wildcards),
        ),
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


rule schematic:
    """A figure that is drawn from no data, hence without a CSV and once for all models."""
    input:
        script=script("schematic"),
        library=lambda wildcards: library("schematic", f"lowrank.figures.{wildcards.schematic}"),
        lock=LOCK,
    output:
        pdf="<figures>/thesis/{schematic}.pdf",
        png=report(
            "<figures>/thesis/{schematic}.png",
            caption="../report/schematic.rst",
            category="Thesis",
            labels={"item": "{schematic}"},
        ),
    log:
        "<logs>/{schematic}.log",
    conda:
        "../../environment.yml"
    shell:
        "PYTHONPATH=workflow python {input.script} --figure {wildcards.schematic} "
        "--pdf {output.pdf} --png {output.png} 2> {log}"
