"""How jobs share this machine: GPUs, cores, and what is checked before the first job.

This file, and the line of the root Snakefile, use parts of Snakemake that its manual does not
promise. Tried with 9.27.
"""

from snakemake.dag import DAG
from snakemake.exceptions import InputFunctionException
from snakemake.rules import Rule

from lowrank.assets.sources import DIRECTORIES_VARIABLE, MIRROR_VARIABLE
from lowrank.base.files import read_yaml
from lowrank.project.views.evaluate import runs_programs
from lowrank.project.views.figures import undrawn
from lowrank.running.devices import require_devices
from lowrank.running.slurm import keeps_accounts
from lowrank.sandbox.programs import sandbox_kind

os.environ[DIRECTORIES_VARIABLE] = project.named_models.as_variable()

CLUSTER_THREADS = 4  # of a measurement on a cluster's CPUs; `set-threads` in the profile changes it


class _Following:
    """The jobs that follow on a job: not those that only wait for files which are there (`ancient`)."""

    def __init__(self, depending):
        self.depending = depending

    def __getitem__(self, job):
        return {
            other: files
            for other, files in self.depending[job].items()
            if not all(file.is_ancient and os.path.exists(file) for file in files)
        }


def _following(traverse):
    def bfs(dag, direction, *jobs, **options):
        is_down = direction is dag.depending
        return traverse(dag, _Following(direction) if is_down else direction, *jobs, **options)

    return bfs


# Snakemake seeks no reason to run a job downstream of one that runs: it takes it to follow. One that
# waits for ancient files alone does not follow, so it would miss its own changed parameters.
DAG.bfs = _following(DAG.bfs)


def _in_one_line(apply):
    def applied(rule, function, wildcards, *arguments, **options):
        try:
            return apply(rule, function, wildcards, *arguments, **options)
        except InputFunctionException as error:
            cause = error.__context__ or error
        cause.add_note(", ".join(wildcards.values()))

        def fail():
            raise cause

        return cli.under_the_net(fail, f"rule {rule.name}", [])

    return applied


# What a target's name gets wrong, such as a layer that a model lacks, is found by the functions of
# the rules. Snakemake would show their traceback.
Rule.apply_input_function = _in_one_line(Rule.apply_input_function)


# Snakemake reads the run's own files, and lets the second of two equal keys hide the first.
cli.under_the_net(
    lambda: [read_yaml(path) for path in workflow.configfiles if os.path.exists(path)],
    "configuration",
    asked,
)


def gpus(wildcards):
    return 1 if project.settings["device"] == "cuda" else 0


def measuring_gpus(wildcards):
    return gpus(wildcards) * project.settings["profile"]["gpus"]


def measuring_threads(wildcards):
    """All cores for a measurement on this machine's CPU: nothing else may run beside it."""
    if project.settings["device"] == "cuda":
        return 1
    return workflow.resource_settings.cores or CLUSTER_THREADS


def requested_gpus():
    """What a job of each rule asks for, as the rules and `--set-resources` say.

    A job's own `resources` are clipped to `--resources` already.
    """
    requests = {}
    for job in workflow.dag.needrun_jobs():
        asked = job.rule.resources.get("gpu")
        count = asked.evaluate(job.wildcards, input=job.input, attempt=1, threads=1).value or 0
        requests[job.rule.name] = max(requests.get(job.rule.name, 0), count)
    return requests


onstart:
    # With a limit on the rate of jobs the scheduler looks again once a timespan for every job that it
    # ever started: after some hundred it takes a core. How many run at once is bounded anyway.
    workflow.scheduler.job_rate_limiter = None
    # Snakemake takes `--resources gpu=9` on any machine, and clips what a job asks for.
    if project.settings["device"] == "cuda" and workflow.local_exec:
        try:
            require_devices(workflow.global_resources.get("gpu").value, requested_gpus())
        except LowrankError as error:
            sys.exit(f"error: {error}")
    # On a cluster each job finds out by itself, before it generates.
    if runs_programs(project) and workflow.local_exec:
        try:
            sandbox_kind(project.settings["sandbox"]["accept_risk"])
        except LowrankError as error:
            sys.exit(f"error: {error}")
    # SLURM's plugin takes the command `sacct` for accounts; without any it fails on every call.
    settings = workflow.executor_settings
    if getattr(settings, "status_command", None) == "sacct" and not keeps_accounts():
        settings.status_command = "squeue"


if workflow.is_main_process and (idle := undrawn(project)):
    logger.warning(f"No model of this run takes part in: {', '.join(idle)}.")

if project.unavailable_benchmarks and workflow.is_main_process:
    logger.warning(
        f"Left out for want of a source here: {', '.join(project.unavailable_benchmarks)} "
        f"(set {MIRROR_VARIABLE} to a mirror directory, or `hub: true`)."
    )
