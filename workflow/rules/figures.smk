# Figures: PDF, PNG and the CSV behind each. Those of the authors' data are made like a model's.

from lowrank.project.views.figures import costs_shown, figure_module, scores_shown
from lowrank.project.views.recover import loss_curves, loss_files

scores = lambda wildcards: scores_shown(
    project, wildcards.model, wildcards.figure, output_of, AUTHORS_DATA
)
costs = lambda wildcards: costs_shown(project, REFERENCES, wildcards.model, output_of, AUTHORS_DATA)


rule accuracy_figure:
    """A figure of one study: its module, its data, nothing else."""
    input:
        script=script("accuracy_figure"),
        library=lambda wildcards: library(
            "accuracy_figure", figure_module(project, wildcards.figure)
        ),
        lock=LOCK,
        data=lambda wildcards: scores(wildcards).data,
        authors=lambda wildcards: scores(wildcards).beside,
    output:
        csv="<figures>/{model}/{figure}.csv",
        pdf="<figures>/{model}/{figure}.pdf",
        png=report(
            "<figures>/{model}/{figure}.png",
            caption="../report/accuracy_figure.rst",
            category=lambda wildcards: scores(wildcards).category,
            labels={"item": "{figure}"},
        ),
    log:
        "<logs>/figures/{model}/{figure}.log",
    conda:
        "../../environment.yml"
    params:
        module=lambda wildcards: figure_module(project, wildcards.figure),
        label=lambda wildcards: scores(wildcards).title,
        subtitle=lambda wildcards: scores(wildcards).subtitle,
        look_for=lambda wildcards: scores(wildcards).look_for,
    shell:
        "PYTHONPATH=workflow python {input.script} --figure {params.module:q} "
        "--data {input.data} --authors {input.authors} "
        "--label {params.label:q} --subtitle {params.subtitle:q} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} 2> {log}"


rule efficiency_figure:
    """Figures 4.2 to 4.4: one metric against the parameters removed."""
    input:
        script=script("efficiency_figure"),
        library=library("efficiency_figure"),
        lock=LOCK,
        data=lambda wildcards: costs(wildcards).data,
        fits=lambda wildcards: costs(wildcards).fits,
        authors=lambda wildcards: costs(wildcards).beside,
    output:
        csv="<figures>/{model}/{efficiency_figure}.csv",
        pdf="<figures>/{model}/{efficiency_figure}.pdf",
        png=report(
            "<figures>/{model}/{efficiency_figure}.png",
            caption="../report/efficiency_figure.rst",
            category=lambda wildcards: costs(wildcards).category,
            labels={"item": "{efficiency_figure}"},
        ),
    log:
        "<logs>/figures/{model}/{efficiency_figure}.log",
    conda:
        "../../environment.yml"
    params:
        metric=lambda wildcards: EFFICIENCY_FIGURES[wildcards.efficiency_figure],
        label=lambda wildcards: costs(wildcards).title,
    shell:
        "PYTHONPATH=workflow python {input.script} --data {input.data} --fits {input.fits} "
        "--authors {input.authors} --metric {params.metric} --label {params.label:q} "
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


rule figure_losses:
    """How the losses of a study's recoveries fall."""
    input:
        script=script("figure_losses"),
        library=library("figure_losses"),
        lock=LOCK,
        losses=lambda wildcards: loss_files(
            project, wildcards.study, model_of(wildcards), rules.recover.output.losses
        ),
    output:
        csv="<figures>/{model}/losses_{study}.csv",
        pdf="<figures>/{model}/losses_{study}.pdf",
        png=report(
            "<figures>/{model}/losses_{study}.png",
            caption="../report/figure_losses.rst",
            category="{model}",
            labels={"item": "losses_{study}"},
        ),
    log:
        "<logs>/figure_losses/{model}/{study}.log",
    conda:
        "../../environment.yml"
    params:
        label=lambda wildcards: project.model(wildcards.model).label,
        subtitle=lambda wildcards: project.study(wildcards.study)["title"],
        curves=lambda wildcards: as_json(loss_curves(project, wildcards.study, model_of(wildcards))),
    shell:
        "PYTHONPATH=workflow python {input.script} --label {params.label:q} "
        "--subtitle {params.subtitle:q} --curves {params.curves:q} --files {input.losses} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} 2> {log}"
