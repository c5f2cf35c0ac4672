"""Low-rank decomposition of language models: factorize, compress, evaluate, report.

The library knows nothing of Snakemake and nothing of the workflow's paths; every function
takes the files and values that it needs. Modules are small on purpose: a rule of the workflow
declares the modules that its script imports, and an edit reruns just those rules.
"""
