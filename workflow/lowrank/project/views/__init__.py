"""What the rules ask of a project: names, files, parameters and captions.

One module a stage: what `rules/claims.smk` asks is in `claims`. All are pure functions. They take
the project and, where they name files, `output_of`: a function from the output of a rule, such as
`evaluate.scores`, to its path. The path has the rule's wildcards as fields, such as
``results/models/{model}/evaluations/{decomposition}.csv``.
"""
