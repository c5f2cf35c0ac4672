"""The checked configuration, and what several stages need. No import here may load torch."""

import json
import os
import sys
from pathlib import Path

WORKFLOW = Path(workflow.current_basedir).parent
sys.path.insert(0, str(WORKFLOW))

from lowrank.assets.sources import DIRECTORIES_VARIABLE, require_mirror
from lowrank.base import cli
from lowrank.base.errors import LowrankError
from lowrank.project.configuration import Project
from lowrank.project.figures import EFFICIENCY_FIGURES, SCHEMATICS
from lowrank.project.names import NAME, STUDY_NAME
from lowrank.project.views.figures import drawings, figure_names
from lowrank.running.imports import library_files
from lowrank.running.variables import surroundings
# The environment says where bytes come from, never what they are: a change of it reruns nothing.
os.environ.update(surroundings(config))
project = cli.under_the_net(
    lambda: require_mirror() or Project(config, WORKFLOW.parent / "config"), "read", ["config"]
)
os.environ[DIRECTORIES_VARIABLE] = project.named_models.as_variable()
LOCK = "requirements.lock"
THESIS = "paper/thesis.yaml"  # what the thesis prints, to stand beside our values


wildcard_constraints:
    model=NAME,
    decomposition="[a-z0-9_.+-]+",
    factorization=r"[a-z_]+(\.[a-z0-9_]+)?(-r\d+)?",
    calibration="[a-z0-9_]+",
    layer=r"\d+",
    benchmark=NAME,
    limit=r"\d+|all",
    study=STUDY_NAME,
    schematic="|".join(SCHEMATICS),
    efficiency_figure="|".join(EFFICIENCY_FIGURES),
    figure="|".join(figure_names(project)) or "no_figure",


def script(name):
    return f"workflow/scripts/{name}.py"


def library(name, *modules):
    """The library modules that a script imports, directly or not or by name, and nothing else."""
    return library_files("workflow", script(name), *modules)


def outputs_of(name):
    """The paths of a rule's outputs, with its wildcards as fields."""
    return getattr(rules, name).output


def output_of(name):
    """The path of an output, such as `evaluate.scores`, or `profile` for a rule's only one."""
    outputs = outputs_of(name.split(".")[0])
    return getattr(outputs, name.split(".")[1]) if "." in name else outputs[0]


def drawn():
    """The jobs that make the figures and tables of this run."""
    return drawings(project, REFERENCES, outputs_of)


def as_json(value):
    """A parameter as one canonical line: equal values are equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def model_of(wildcards):
    return project.model(wildcards.model)


def architecture_of(wildcards):
    return as_json(model_of(wildcards).architecture.config)
