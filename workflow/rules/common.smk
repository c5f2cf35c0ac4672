"""The checked configuration, and what the rules of several stages need. No import may load torch."""

import functools
import json
import os
import sys
from pathlib import Path

WORKFLOW = Path(workflow.current_basedir).parent

sys.path.insert(0, str(WORKFLOW))

from lowrank.assets import sources
from lowrank.base.errors import LowrankError
from lowrank.project.configuration import Project
from lowrank.project.views.figures import EFFICIENCY_FIGURES, SCHEMATICS, figure_names
from lowrank.running.imports import library_files
from lowrank.running.variables import surroundings
from lowrank.space.methods import METHODS

# What a job needs from its surroundings travels in the environment: it shapes where bytes come
# from, never what they are, so a change of it reruns nothing.
os.environ.update(surroundings(config))

try:
    project = Project(config, WORKFLOW.parent / "config")
except LowrankError as error:
    sys.exit(f"error: {error}")

LOCK = "requirements.lock"
THESIS = "paper/thesis.yaml"  # what the thesis prints, to stand beside our values


wildcard_constraints:
    model="[a-z0-9.-]+",
    decomposition="[a-z0-9_.-]+",
    method="|".join(METHODS),
    layer=r"\d+",
    benchmark="[a-z0-9_]+",
    study="[a-z0-9_]+",
    efficiency_figure="|".join(EFFICIENCY_FIGURES),
    figure="|".join(figure_names(project)) or "no_figure",


def script(name):
    """The path of a rule's script."""
    return f"workflow/scripts/{name}.py"


def library(name, *modules):
    """The library modules that a script imports, directly or not or by name, and nothing else."""
    return library_files("workflow", script(name), *modules)


def as_json(value):
    """A parameter as one canonical line: equal values are equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def model_of(wildcards):
    return project.model(wildcards.model)


def architecture_of(wildcards):
    return as_json(model_of(wildcards).architecture.config)
