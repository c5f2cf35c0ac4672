"""Low-rank decomposition of language models: factorize, compress, evaluate, report.

The library knows nothing of Snakemake and nothing of the workflow's paths; every function
takes the files and values that it needs. Modules are small on purpose: a rule of the workflow
declares the modules that its script imports, and an edit reruns just those rules.

`import lowrank` lets transformers load exported low-rank checkpoints. It imports no other library.
"""

from lowrank.base.after_import import after_import

for _part, _registering in (("configuration", "config"), ("modeling", "model")):
    after_import(
        f"transformers.models.auto.{_part}_auto",
        f"lowrank.decompose.pretrained_{_registering}:register",
    )
