"""Measurements for others to compare with: a model's shapes with random weights, on one GPU.

Needs torch, transformers, safetensors and nvidia-ml-py, nothing else of the workflow, since GPU
machines are often bare. Values are drawn at the initialiser's scale: a matrix of zeros runs faster
and at less power. Speed, energy and memory depend on shapes; accuracy is not asked for.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from lowrank.design_space import DENSE, Decomposition
from lowrank.files import write_json
from lowrank.low_rank_model import DTYPES, LowRankLinear
from lowrank.profiling.job import measure
from lowrank.studies import Model, expand_study


def measure_reference(
    model: Model,
    study: Mapping[str, Any],
    settings: Mapping[str, Any],
    folder: str | Path,
) -> list[Path]:
    """Measure every configuration of a study on a model's shapes; records that exist are kept.

    Parameters
    ----------
    model
        Its architecture gives the shapes.
    study
        A study of `config/studies/`; whole layers that are left out are not measured.
    settings
        As for `lowrank.profiling.job.measure`.
    folder
        Records are written to `<folder>/<decomposition>.json`, the dense model's own among them.

    Returns
    -------
    The records' paths.

    Raises
    ------
    LowrankError
        If the study does not fit the model, or there is no GPU where one is asked for.
    """
    architecture = model.architecture
    decompositions = [Decomposition.from_name(architecture, DENSE)]
    decompositions += [
        row.decomposition
        for row in expand_study(study, model, "study")
        if row.decomposition.method != "drop"
    ]
    paths = []
    for decomposition in tqdm(dict.fromkeys(decompositions), desc="Configurations"):
        path = Path(folder) / f"{decomposition.name(architecture)}.json"
        paths.append(path)
        if path.exists():
            continue
        record = measure(
            lambda chosen=decomposition: random_model(model, chosen, settings),
            lambda: random_model(model, decompositions[0], settings),
            {},
            settings,
        )
        source = f"random:seed={settings['seed']}"
        write_json(
            path,
            {
                "model": model.name,
                "decomposition": decomposition.name(architecture),
                "parameter_reduction_percent": decomposition.parameter_reduction(architecture),
                **record,
                "provenance": record["provenance"]
                | {"source": source, "weights": "random, at the initialiser's scale"},
            },
        )
    return paths


def random_model(
    model: Model, decomposition: Decomposition, settings: Mapping[str, Any]
) -> PreTrainedModel:
    """Return a model of the given shapes on the device, decomposed, with values from the seed.

    Weights come from the class's own initialiser; a decomposed tensor becomes two factors whose
    product has the same scale.
    """
    architecture, device = model.architecture, settings["device"]
    fields = dict(architecture.config)
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    torch.manual_seed(settings["seed"])
    with torch.device(device):
        made = AutoModelForCausalLM.from_config(config, dtype=DTYPES[settings["dtype"]])
        for layer in decomposition.layers:
            for tensor in decomposition.tensors:
                path = architecture.module_path(layer, tensor)
                made.set_submodule(path, _random_factors(made, path, decomposition.rank))
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    return made.requires_grad_(False).eval()


def _random_factors(made: PreTrainedModel, path: str, rank: int) -> LowRankLinear:
    dense = made.get_submodule(path)
    assert isinstance(dense, nn.Linear)
    outputs, inputs = dense.weight.shape
    # The product of two such factors has entries of the initialiser's standard deviation.
    scale = (made.config.initializer_range / rank**0.5) ** 0.5
    left, right = torch.empty(outputs, rank), torch.empty(rank, inputs)
    factors = [
        nn.init.normal_(factor, std=scale).to(dense.weight.dtype) for factor in (left, right)
    ]
    return LowRankLinear(*factors, None if dense.bias is None else dense.bias.data)


def reference_folder(root: str | Path, device: str, model: str) -> Path:
    """Return where a device's records of a model lie below `root`."""
    from lowrank.provenance import device_name

    name = device_name(device).lower()
    slug = "-".join("".join(c if c.isalnum() else " " for c in name).split())
    return Path(root) / slug / model
