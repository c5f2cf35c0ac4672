# The workflow is workflow/Snakefile; with this file `snakemake` finds it in the root as well.
# The directive `include:` would drop the default target.
workflow.include("workflow/Snakefile", overwrite_default_target=True)
