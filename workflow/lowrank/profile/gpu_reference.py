"""Measurements for others to compare with: a model's shapes with random weights, on one GPU.

Needs torch, transformers, safetensors, nvidia-ml-py and SciPy, nothing else of the workflow, since
GPU machines are often bare. Values are drawn at the initialiser's scale: a matrix of zeros runs
faster and at less power. Speed, energy and memory depend on shapes; accuracy is not asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from lowrank.base.files import read_json, write_json
from lowrank.base.names import DENSE, DROP
from lowrank.base.provenance import code_digest, device_name
from lowrank.decompose.linear import LowRankLinear, PivotedLinear
from lowrank.decompose.loading import DTYPES, shared_copy
from lowrank.profile import job
from lowrank.project.studies import Model, expand_study
from lowrank.space.design_space import Decomposition
from lowrank.space.methods import PAIRS

AGAIN = "dense again"
"""The dense model beside itself: what the protocol makes of no difference."""


def measure_reference(
    model: Model,
    study: Mapping[str, Any],
    settings: Mapping[str, Any],
    folder: str | Path,
) -> list[Path]:
    """Measure every configuration of a study on a model's shapes, all of them in the same rounds.

    Records that are all there, of the same settings, code and device, are kept. They are written
    anew after each workload: a run that is cut short leaves the workloads that it measured.

    Parameters
    ----------
    model
        Its architecture gives the shapes.
    study
        A study of `config/studies/`; whole layers that are left out are not measured.
    settings
        As for `lowrank.profile.job.measure`.
    folder
        Records are written to `<folder>/<decomposition>.json`, the dense model's own among them.

    Returns
    -------
    The records' paths.

    Raises
    ------
    LowrankError
        If the study does not fit the model, memory runs out, or the GPU fails.
    """
    architecture = model.architecture
    dense = Decomposition.from_name(architecture, DENSE)
    decompositions = {AGAIN: dense} | {
        row.decomposition.name(architecture): row.decomposition
        for row in expand_study(study, model, "study")
        if row.decomposition.method != DROP
    }
    paths = {
        name: Path(folder) / f"{made.name(architecture)}.json"
        for name, made in decompositions.items()
    }
    if all(_is_current(path, settings) for path in paths.values()):
        return list(paths.values())

    def load(device: str) -> job.Models:
        base = random_model(model, settings, device)
        return {job.DENSE: base} | {
            name: decomposed(base, model, made, settings["seed"])
            for name, made in decompositions.items()
        }

    def keep(records: Mapping[str, Any]) -> None:
        for name, path in paths.items():
            _write(path, model, decompositions[name], records[name])

    job.measure(load, [], settings, keep)
    return list(paths.values())


def _write(
    path: Path, model: Model, decomposition: Decomposition, record: Mapping[str, Any]
) -> None:
    architecture = model.architecture
    source = f"random:seed={record['settings']['seed']}"
    facts = {"source": source, "weights": "random, at the initialiser's scale"}
    write_json(
        path,
        {
            "model": model.name,
            "decomposition": decomposition.name(architecture),
            "parameter_reduction_percent": decomposition.parameter_reduction(architecture),
            **record,
            "provenance": record["provenance"] | facts,
        },
    )


def _is_current(path: Path, settings: Mapping[str, Any]) -> bool:
    if not path.exists():
        return False
    record = read_json(path)
    made = record["provenance"]
    return (
        record["settings"] == dict(settings)
        and len(record["workloads"]) == len(settings["workloads"])
        and made["code_sha256"] == code_digest()
        and made["device_name"] == device_name(settings["device"])
    )


def random_model(model: Model, settings: Mapping[str, Any], device: str) -> PreTrainedModel:
    """Return a dense model of the given shapes, with values of its own initialiser by the seed."""
    fields = dict(model.architecture.config)
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    torch.manual_seed(settings["seed"])
    with torch.device(device):
        made = AutoModelForCausalLM.from_config(config, dtype=DTYPES[settings["dtype"]])
    return made.requires_grad_(False).eval()


def decomposed(
    dense: PreTrainedModel, model: Model, decomposition: Decomposition, seed: int
) -> PreTrainedModel:
    """Return a decomposed model that shares with a dense one what the two have in common.

    A decomposed tensor becomes two random factors whose product has the initialiser's scale.
    """
    made = shared_copy(dense)
    torch.manual_seed(seed)
    for layer in decomposition.layers:
        for tensor in decomposition.tensors:
            path = model.architecture.module_path(layer, tensor)
            rank = decomposition.rank.rank_of(model.architecture, layer, tensor)
            made.set_submodule(path, _random_factors(made, path, rank, decomposition.form))
    return made.requires_grad_(False).eval()


def _random_factors(
    made: PreTrainedModel, path: str, rank: int, form: str
) -> LowRankLinear | PivotedLinear:
    dense = made.get_submodule(path)
    assert isinstance(dense, nn.Linear)
    outputs, inputs = dense.weight.shape
    bias = None if dense.bias is None else dense.bias.data
    # The product of two such factors has entries of the initialiser's standard deviation.
    scale = (made.config.initializer_range / rank**0.5) ** 0.5
    rows = outputs if form == PAIRS else outputs - rank
    left, right = (
        nn.init.normal_(torch.empty(shape, device=dense.weight.device), std=scale).to(
            dense.weight.dtype
        )
        for shape in ((rows, rank), (rank, inputs))
    )
    if form == PAIRS:
        return LowRankLinear(left, right, bias)
    order = torch.randperm(outputs, device=dense.weight.device)
    return PivotedLinear(right, left, order, bias)


def reference_folder(root: str | Path, device: str, model: str) -> Path:
    """Return where a device's records of a model lie below `root`.

    Raises
    ------
    LowrankError
        If a GPU is asked for and there is none.
    """
    if device == "cuda":
        job.require_gpus(1)
    name = device_name(device).lower()
    slug = "-".join("".join(c if c.isalnum() else " " for c in name).split())
    return Path(root) / slug / model
