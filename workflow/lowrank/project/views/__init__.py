"""What the rules ask of a project: names, files, parameters and captions.

One module a stage: what `rules/claims.smk` asks is in `claims`. All are pure functions of the
project and of patterns. A pattern is a path with fields, as the output of a rule states it:
``results/models/{model}/studies/{study}.csv``.
"""
