# Tables: PDF, PNG and the CSV behind each.

from lowrank.project.views.assets import counted_benchmarks
from lowrank.project.views.tables import (
    cost_manifests,
    cost_rows,
    interaction_rows,
    is_carried_over,
    size_rows,
    study_manifests,
    study_profiles,
    table_1_1_rows,
    table_3_1_rows,
    table_4_1_rows,
    table_4_2_rows,
)

# The path of what Snakemake records of a rule's job, with its wildcards as fields.
record_of = lambda name: str(getattr(rules, name).benchmark)


rule table_1_1:
    """Model size and computations, from configurations alone."""
    input:
        script=script("table_1_1"),
        library=library("table_1_1"),
        lock=LOCK,
        thesis=THESIS,
    output:
        csv="<figures>/thesis/table_1_1.csv",
        pdf="<figures>/thesis/table_1_1.pdf",
        tex="<figures>/thesis/table_1_1.tex",
        png=report(
            "<figures>/thesis/table_1_1.png",
            caption="../report/table_1_1.rst",
            category="Thesis",
            labels={"item": "Table 1.1"},
        ),
    log:
        "<logs>/table_1_1.log",
    conda:
        "../../environment.yml"
    params:
        models=lambda wildcards: as_json(table_1_1_rows(project)),
    shell:
        "PYTHONPATH=workflow python {input.script} --models {params.models:q} "
        "--thesis {input.thesis} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} --tex {output.tex} 2> {log}"


rule table_3_1:
    """Size of the decomposition design space, from configurations alone."""
    input:
        script=script("table_3_1"),
        library=library("table_3_1"),
        lock=LOCK,
        thesis=THESIS,
    output:
        csv="<figures>/thesis/table_3_1.csv",
        pdf="<figures>/thesis/table_3_1.pdf",
        tex="<figures>/thesis/table_3_1.tex",
        png=report(
            "<figures>/thesis/table_3_1.png",
            caption="../report/table_3_1.rst",
            category="Thesis",
            labels={"item": "Table 3.1"},
        ),
    log:
        "<logs>/table_3_1.log",
    conda:
        "../../environment.yml"
    params:
        models=lambda wildcards: as_json(table_3_1_rows(project)),
    shell:
        "PYTHONPATH=workflow python {input.script} --models {params.models:q} "
        "--thesis {input.thesis} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} --tex {output.tex} 2> {log}"


rule table_4_1:
    """Benchmarks: questions there are and questions asked."""
    input:
        script=script("table_4_1"),
        library=library("table_4_1"),
        lock=LOCK,
        thesis=THESIS,
        manifests=expand(
            rules.fetch_benchmark.output.manifest, benchmark=counted_benchmarks(project)
        ),
    output:
        csv="<figures>/thesis/table_4_1.csv",
        pdf="<figures>/thesis/table_4_1.pdf",
        tex="<figures>/thesis/table_4_1.tex",
        png=report(
            "<figures>/thesis/table_4_1.png",
            caption="../report/table_4_1.rst",
            category="Thesis",
            labels={"item": "Table 4.1"},
        ),
    log:
        "<logs>/table_4_1.log",
    conda:
        "../../environment.yml"
    params:
        benchmarks=lambda wildcards: as_json(table_4_1_rows(project)),
    shell:
        "PYTHONPATH=workflow python {input.script} --benchmarks {params.benchmarks:q} "
        "--manifests {input.manifests} --thesis {input.thesis} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} --tex {output.tex} 2> {log}"


rule table_4_2:
    """Decomposed layers and parameter reduction, from the architecture alone.

    A model that the run loads is found to have this architecture first: fetching it says so.
    """
    input:
        script=script("table_4_2"),
        library=library("table_4_2"),
        lock=LOCK,
        fetched=lambda wildcards: (
            ancient(expand(rules.fetch_model.output.manifest, model=wildcards.model))
            if wildcards.model in project.models
            else []
        ),
    output:
        csv="<figures>/{model}/table_4_2.csv",
        pdf="<figures>/{model}/table_4_2.pdf",
        tex="<figures>/{model}/table_4_2.tex",
        png=report(
            "<figures>/{model}/table_4_2.png",
            caption="../report/table_4_2.rst",
            category="{model}",
            labels={"item": "table_4_2"},
        ),
    log:
        "<logs>/table_4_2/{model}.log",
    conda:
        "../../environment.yml"
    params:
        label=lambda wildcards: project.model(wildcards.model).label,
        architecture=architecture_of,
        rows=lambda wildcards: as_json(table_4_2_rows(project, model_of(wildcards))),
        carried_over=lambda wildcards: as_json(
            is_carried_over(project, "table_4_2", model_of(wildcards))
        ),
        subtitle=lambda wildcards: project.study("table_4_2")["title"],
    shell:
        "PYTHONPATH=workflow python {input.script} --label {params.label:q} "
        "--architecture {params.architecture:q} --rows {params.rows:q} --carried-over {params.carried_over} "
        "--subtitle {params.subtitle:q} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} --tex {output.tex} 2> {log}"


rule table_costs:
    """What compressing takes, from Snakemake's records of the jobs.

    A record is no input: where it is missing, the table says so, and nothing runs again for it.
    """
    input:
        script=script("table_costs"),
        library=library("table_costs"),
        lock=LOCK,
        manifests=lambda wildcards: cost_manifests(
            project, wildcards.study, model_of(wildcards), rules.compress.output.manifest
        ),
    output:
        csv="<figures>/{model}/costs_{study}.csv",
        pdf="<figures>/{model}/costs_{study}.pdf",
        tex="<figures>/{model}/costs_{study}.tex",
        png=report(
            "<figures>/{model}/costs_{study}.png",
            caption="../report/table_costs.rst",
            category="{model}",
            labels={"item": "costs_{study}"},
        ),
    log:
        "<logs>/table_costs/{model}/{study}.log",
    conda:
        "../../environment.yml"
    params:
        label=lambda wildcards: project.model(wildcards.model).label,
        subtitle=lambda wildcards: project.study(wildcards.study)["title"],
        rows=lambda wildcards: as_json(
            cost_rows(project, wildcards.study, model_of(wildcards), record_of)
        ),
        device=project.settings["device"],
        threads=COMPRESSING_THREADS,
    shell:
        "PYTHONPATH=workflow python {input.script} --label {params.label:q} "
        "--subtitle {params.subtitle:q} --device {params.device:q} --threads {params.threads:q} "
        "--rows {params.rows:q} --manifests {input.manifests} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} --tex {output.tex} 2> {log}"


rule table_sizes:
    """What a study's configurations take in bytes, and in time where the study is measured."""
    input:
        script=script("table_sizes"),
        library=library("table_sizes"),
        lock=LOCK,
        manifests=lambda wildcards: study_manifests(
            project, wildcards.study, model_of(wildcards), rules.compress.output.manifest
        ),
        profiles=lambda wildcards: study_profiles(
            project, wildcards.study, model_of(wildcards), rules.collect_profiles.output.table
        ),
    output:
        csv="<figures>/{model}/sizes_{study}.csv",
        pdf="<figures>/{model}/sizes_{study}.pdf",
        tex="<figures>/{model}/sizes_{study}.tex",
        png=report(
            "<figures>/{model}/sizes_{study}.png",
            caption="../report/table_sizes.rst",
            category="{model}",
            labels={"item": "sizes_{study}"},
        ),
    log:
        "<logs>/table_sizes/{model}/{study}.log",
    conda:
        "../../environment.yml"
    params:
        label=lambda wildcards: project.model(wildcards.model).label,
        subtitle=lambda wildcards: project.study(wildcards.study)["title"],
        rows=lambda wildcards: as_json(size_rows(project, wildcards.study, model_of(wildcards))),
        dtype=project.settings["dtype"],
    shell:
        "PYTHONPATH=workflow python {input.script} --label {params.label:q} "
        "--subtitle {params.subtitle:q} --dtype {params.dtype} --rows {params.rows:q} "
        "--manifests {input.manifests} --profiles {input.profiles} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} --tex {output.tex} 2> {log}"


rule table_interactions:
    """What compression and fewer bits cost together, beyond the sum of what each costs alone."""
    input:
        script=script("table_interactions"),
        library=library("table_interactions"),
        lock=LOCK,
        # It is made anew where what it shows of the evaluations has changed.
        scores=rules.collect_accuracy.output[0],
        evaluations=lambda wildcards: [
            ancient(file)
            for file in study_evaluations(
                project, wildcards.study, model_of(wildcards), rules.evaluate.output.scores
            )
        ],
    output:
        csv="<figures>/{model}/interactions_{study}.csv",
        pdf="<figures>/{model}/interactions_{study}.pdf",
        tex="<figures>/{model}/interactions_{study}.tex",
        png=report(
            "<figures>/{model}/interactions_{study}.png",
            caption="../report/table_interactions.rst",
            category="{model}",
            labels={"item": "interactions_{study}"},
        ),
    log:
        "<logs>/table_interactions/{model}/{study}.log",
    conda:
        "../../environment.yml"
    params:
        label=lambda wildcards: project.model(wildcards.model).label,
        subtitle=lambda wildcards: project.study(wildcards.study)["title"],
        rows=lambda wildcards: as_json(
            interaction_rows(project, wildcards.study, model_of(wildcards))
        ),
        benchmarks=lambda wildcards: as_json(
            described_benchmarks(project, wildcards.study, model_of(wildcards))
        ),
        folder=lambda wildcards, input: os.path.dirname(input.evaluations[0]),
    shell:
        "PYTHONPATH=workflow python {input.script} --label {params.label:q} "
        "--subtitle {params.subtitle:q} --folder {params.folder:q} --rows {params.rows:q} "
        "--benchmarks {params.benchmarks:q} "
        "--csv {output.csv} --pdf {output.pdf} --png {output.png} --tex {output.tex} 2> {log}"
