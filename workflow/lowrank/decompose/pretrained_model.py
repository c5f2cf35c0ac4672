"""Low-rank models as transformers' own: built small, loaded, saved and placed as any other.

A class of transformers is taken as it is; where a module was compressed, it gets a smaller one
before any weight is read. So no dense copy is made.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_QUESTION_ANSWERING_MAPPING,
    MODEL_MAPPING,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    PreTrainedModel,
)

from lowrank.base.errors import LowrankError, one_line
from lowrank.decompose.linear import LowRankLinear, PivotedLinear
from lowrank.decompose.pretrained_config import NOTE, follow_classes
from lowrank.decompose.pretrained_files import INDEX, SINGLE, VARIANT, check_files, write_checksums
from lowrank.space.methods import CHANNELS, PAIRS, PIVOTED

AUTO: dict[Any, Any] = {
    AutoModelForCausalLM: MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForQuestionAnswering: MODEL_FOR_QUESTION_ANSWERING_MAPPING,
    AutoModel: MODEL_MAPPING,
}
"""Auto classes that load checkpoints, and the classes of models that each knows."""


def register() -> None:
    """Let transformers' Auto classes load low-rank checkpoints."""
    follow_classes(register_model)


class LowRankModel:
    """What a low-rank model has before what its class in transformers has."""

    config: Any

    def __init__(self, config: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)  # type: ignore[call-arg]
        note = getattr(config, NOTE)
        for name in note["absent"]:
            setattr(self, name, None)
        for path, own in note["modules"].items():
            try:
                made = empty_module(own)
                self.set_submodule(path, made.requires_grad_(True), strict=True)  # type: ignore
            except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
                said = one_line(error)[:200]
                raise LowrankError(
                    f"config.json: {NOTE}.modules: {path} cannot be made ({said}): export again"
                ) from None

    @classmethod
    def from_pretrained(cls, directory: Any, *arguments: Any, **options: Any) -> Any:
        """Load a checkpoint as `PreTrainedModel.from_pretrained` does, whole or not at all.

        Raises
        ------
        LowrankError
            If a file is missing or damaged, or its weights are not those of its configuration.
        """
        tells = options.pop("output_loading_info", False)
        options |= {"variant": VARIANT, "use_safetensors": True, "output_loading_info": True}
        folder = Path(directory) / (options.get("subfolder") or "")
        if folder.is_dir():
            check_files(folder, options.get("config"))
        try:
            model, report = super().from_pretrained(directory, *arguments, **options)  # type: ignore
        except RuntimeError as error:
            if "ignore_mismatched_sizes" not in str(error):
                raise
            raise LowrankError(
                f"{directory}: weights have other shapes than config.json says: export again"
            ) from None
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if report.get(kind):
                name = sorted(map(str, report[kind]))[0]
                raise LowrankError(f"{directory}: {name} is one of the {kind}: export again")
        _require_finite(model, directory)
        return (model, report) if tells else model

    def save_pretrained(self, directory: Any, *arguments: Any, **options: Any) -> None:
        """Save the model in its low-rank form, as `PreTrainedModel.save_pretrained` does.

        A single file of an earlier model would be loaded in place of parts, and is removed.
        """
        options["variant"] = VARIANT
        single, index = (Path(directory) / name for name in (SINGLE, INDEX))
        is_main = options.get("is_main_process", True)
        if is_main:
            index.unlink(missing_ok=True)
        super().save_pretrained(directory, *arguments, **options)  # type: ignore[misc]
        if is_main:
            if index.exists():
                single.unlink(missing_ok=True)
            write_checksums(directory)


def empty_module(own: dict[str, Any]) -> nn.Module:
    """Return the module of an entry of the note's `modules`, all zeros.

    Parameters
    ----------
    own
        Its `form`; its `shape`, (out, in), without what was left out; its `rank`; and `bias`.
    """
    (out, in_), rank = own["shape"], own["rank"]
    bias_O = torch.zeros(out) if own["bias"] else None
    if own["form"] == CHANNELS:
        return nn.Linear(in_, out, bias=own["bias"])
    if own["form"] == PIVOTED:
        rows_RI, coefficients_SR = torch.zeros(rank, in_), torch.zeros(out - rank, rank)
        return PivotedLinear(rows_RI, coefficients_SR, torch.arange(out), bias_O, pads=False)
    if own["form"] == PAIRS:
        return LowRankLinear(torch.zeros(out, rank), torch.zeros(rank, in_), bias_O, pads=False)
    raise ValueError(f"there is no form {own['form']!r}")


def _require_finite(model: nn.Module, directory: Any) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_meta or not tensor.is_floating_point() or not tensor.numel():
            continue
        least, most = tensor.aminmax()  # NaN if there is one; a mask would be another large tensor
        if not (least.isfinite() and most.isfinite()):
            raise LowrankError(f"{directory}: {name} is not finite (NaN or infinite): export again")
    for name, module in model.named_modules():
        if isinstance(module, PivotedLinear) and not module.place.is_meta:
            places = torch.arange(len(module.place), device=module.place.device)
            if not module.place.sort().values.equal(places):
                raise LowrankError(f"{directory}: {name}.place is no order: export again")


@functools.cache
def model_class(config: Any, base: Any) -> Any:
    """Return the low-rank form of a class of transformers.

    Parameters
    ----------
    config
        The class of its configurations.
    base
        The class.
    """
    name = f"LowRank{base.__name__}"
    own = {"config_class": config, "__module__": __name__, "__doc__": base.__doc__}
    made = globals()[name] = type(base)(name, (LowRankModel, base), own)  # pickle looks it up here
    return made


def register_model(config: Any, base_config: Any, name: str) -> Any:
    """Let the Auto class of a model load its low-rank form, and others say that they do not.

    Parameters
    ----------
    config
        The class of the configurations of its low-rank form.
    base_config
        The class of the configurations of its dense form.
    name
        The name of its class.

    Returns
    -------
    The class of its low-rank form.

    Raises
    ------
    LowrankError
        If no Auto class has that class.
    """
    known = {auto: mapping.get(base_config, None) for auto, mapping in AUTO.items()}
    found = {auto: own for auto, own in known.items() if getattr(own, "__name__", "") == name}
    if not found:
        raise LowrankError(f"config.json: {NOTE}.class: transformers has no {name!r} of this type")
    (auto, base), *_ = found.items()
    made = model_class(config, base)
    for other in AUTO:
        chosen = made if other is auto else _refusing(config, name, auto.__name__)
        other.register(config, chosen, exist_ok=True)
    return made


@functools.cache
def _refusing(config: Any, name: str, auto: str) -> Any:
    """Return what stands for a class in the Auto classes that do not load it."""

    class Refusing(PreTrainedModel):
        config_class = config

        @classmethod
        def from_pretrained(cls, directory: Any, *arguments: Any, **options: Any) -> Any:
            raise LowrankError(f"{directory} holds a {name}: load it with {auto}")

    return Refusing
