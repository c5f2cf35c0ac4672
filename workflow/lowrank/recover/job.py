"""One recovery: a compressed model and examples in, a compressed model out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from lowrank.assets.training import Example, read_examples
from lowrank.base.errors import LowrankError
from lowrank.base.files import atomic_path, read_json, sha256_file, write_json
from lowrank.base.provenance import provenance, versions
from lowrank.decompose.chains import LEFT, RIGHT
from lowrank.decompose.compressed_format import FACTORS, LOSSES, MANIFEST
from lowrank.decompose.loading import load_tokenizer, read_factors, read_manifest
from lowrank.recover.pieces import Piece, as_pieces, changed_arrays
from lowrank.recover.training import FACTORS as TRAINS_FACTORS
from lowrank.recover.training import Phase, phase_steps, train

ORDERS: Mapping[str, tuple[tuple[str | None, ...], ...]] = {
    "joint": ((LEFT, RIGHT, None),),
    "left_first": ((LEFT, None), (RIGHT, None)),
    "right_first": ((RIGHT, None), (LEFT, None)),
}
"""From an order to the sides of products that each of its phases trains. What has no sides is
trained in each: so a model without factors takes the same steps."""

COLUMNS = ("phase", "step", "loss", "held_out_loss", "learning_rate")
"""Those of a loss curve; see `lowrank.recover.training.train`."""

STATE = "state.json"
"""The file, among what a recovery keeps while it runs, that says which recovery it is."""


def recover(
    base: str | Path,
    compressed: str | Path,
    name: str,
    settings: Mapping[str, Any],
    examples: Sequence[str | Path],
    output: str | Path,
    work: str | Path,
    device: str = "cpu",
) -> None:
    """Train what is left of a model after its compression, and write it as a compressed model.

    Equal inputs make equal bytes on one device, with the same number of threads.

    Parameters
    ----------
    base
        The dense model, a Hugging Face directory.
    compressed
        The compressed model to begin with.
    name
        The recovery's name, which the name of the configuration ends with.
    settings
        The recovery's entry; `dense_layers` holds for the model at hand.
    examples
        Files that `lowrank.assets.training.read_examples` reads, in the order of the training.
    output
        The directory to write: a compressed model, and its loss curve.
    work
        Where the run keeps what it needs to go on after it was ended. It is removed at the end.
    device
        Where to train.

    Raises
    ------
    LowrankError
        If a file cannot be read, nothing is left to train, or the loss or a weight is not finite.
    """
    compressed, work = Path(compressed), Path(work)
    parent = read_manifest(compressed)
    sets = [_cut(read_examples(path), settings["length"]) for path in examples]
    sets, held_out = _hold_out(sets, settings["held_out"])
    identity = {
        "parent": parent["factors_sha256"],
        "settings": dict(settings),
        "examples": [sha256_file(path) for path in examples],
        "threads": torch.get_num_threads(),
    }
    _open(work, identity)
    model, pieces = as_pieces(base, compressed, settings["dtype"])
    model.to(device).train()
    stored, changed = read_factors(compressed, parent), dict(parent.get("changed", {}))
    phases = _phases(pieces, set(parent["modules"]), sets, settings)
    tokenizer = load_tokenizer(base)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    curve: list[dict[str, Any]] = []
    for number, phase in enumerate(phases, 1):
        kept = work / f"phase-{number}.safetensors"
        rows = kept.with_suffix(".json")
        if not (kept.exists() and rows.exists()):
            weights, updates, losses = train(
                model, phase, held_out, settings, work / f"phase-{number}", pad or 0
            )
            with atomic_path(kept) as temporary:
                save_file(_as_arrays(weights, updates), temporary)
            write_json(rows, losses)
        weights, updates = _from_arrays(load_file(kept))
        _apply(model, weights, updates)
        stored, own = changed_arrays(pieces, weights, updates, stored)
        changed |= own
        curve += [{"phase": phase.name} | row for row in read_json(rows)]
    record = {
        "name": name,
        "settings": dict(settings),
        "examples": [
            {"sha256": checksum, "examples": len(own), "tokens": _tokens(own)}
            for checksum, own in zip(identity["examples"], sets, strict=True)
        ],
        "steps": sum(phase.steps for phase in phases),
        "trained_parameters": _trained(model, pieces, phases, settings),
        "threads": identity["threads"],
    }
    _write(parent, record, stored, changed, curve, output, device)
    shutil.rmtree(work)


def _cut(examples: Sequence[Example], length: int | None) -> list[Example]:
    """Return examples of at most so many tokens; what has nothing left to predict is left out."""
    made = [replace(own, tokens=own.tokens[:length]) for own in examples]
    return [own for own in made if len(own.tokens) > own.first]


def _hold_out(
    sets: Sequence[Sequence[Example]], count: int
) -> tuple[list[Sequence[Example]], list[Example]]:
    """Return the sets without their last examples, and these: equal parts of `count`."""
    share = -(-count // len(sets))
    for own in sets:
        if len(own) <= share:
            raise LowrankError(
                f"of {len(own)} examples {share} are to be held out: nothing is left to train on; "
                "use a larger set, or a smaller `held_out`"
            )
    held_out = [example for own in sets for example in own[len(own) - share :]]
    return [own[: len(own) - share] for own in sets], held_out


def _phases(
    pieces: Sequence[Piece],
    modules: set[str],
    sets: Sequence[Sequence[Example]],
    settings: Mapping[str, Any],
) -> list[Phase]:
    """Return the phases of a recovery: its order, and in each its sets, one after the other."""
    candidates = list(pieces)
    if settings["trains"] == TRAINS_FACTORS:
        layers = settings["dense_layers"]
        candidates = [own for own in pieces if own.module in modules] or [
            own for own in pieces if layers is None or own.layer in layers
        ]
    every = [
        (sides, [own.path for own in candidates if own.side in sides], examples)
        for sides in ORDERS[settings["order"]]
        for examples in sets
    ]
    every = [own for own in every if own[1]]
    if not every:
        raise LowrankError("the model has no layer that this recovery trains")
    made = []
    for number, (sides, paths, examples) in enumerate(every):
        if settings["steps"] is None:
            steps = phase_steps(len(examples), settings["batch"], settings["epochs"])
        else:
            steps = settings["steps"] // len(every) + (number < settings["steps"] % len(every))
        named = "all" if len(sides) == 3 else str(sides[0])
        if steps:
            made.append(Phase(f"{number + 1}: {named}", tuple(paths), examples, steps))
    return made


def _open(work: Path, identity: Mapping[str, Any]) -> None:
    """Make the folder of a run, or go on with one of the same identity."""
    if (work / STATE).is_file() and read_json(work / STATE) == identity:
        return
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    write_json(work / STATE, dict(identity))


def _apply(
    model: PreTrainedModel,
    weights: Mapping[str, Tensor],
    updates: Mapping[str, tuple[Tensor, Tensor]],
) -> None:
    """Give a model what a phase made, as every run of it finds it."""
    for path, weight_OI in weights.items():
        model.get_submodule(path).weight.data.copy_(weight_OI)
    for path, (left_OK, right_KI) in updates.items():
        weight = model.get_submodule(path).weight
        weight.data.add_((left_OK @ right_KI).to(weight))


def _as_arrays(
    weights: Mapping[str, Tensor], updates: Mapping[str, tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    made = {f"{path}:weight": own for path, own in weights.items()}
    for path, sides in updates.items():
        made |= {f"{path}:{side}": own for side, own in zip((LEFT, RIGHT), sides, strict=True)}
    return {name: own.cpu().contiguous() for name, own in made.items()}


def _from_arrays(
    arrays: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Tensor]]]:
    found = [name.rpartition(":") for name in arrays]
    weights = {path: arrays[f"{path}:weight"] for path, _, kind in found if kind == "weight"}
    updates = {
        path: (arrays[f"{path}:{LEFT}"], arrays[f"{path}:{RIGHT}"])
        for path, _, kind in found
        if kind == LEFT
    }
    return weights, updates


def _tokens(examples: Sequence[Example]) -> int:
    return sum(len(own.tokens) for own in examples)


def _trained(
    model: PreTrainedModel,
    pieces: Sequence[Piece],
    phases: Sequence[Phase],
    settings: Mapping[str, Any],
) -> int:
    """Return how many numbers are trained in any phase."""
    paths = {path for phase in phases for path in phase.paths}
    shapes = [model.get_submodule(own.path).weight.shape for own in pieces if own.path in paths]
    if settings["trains"] == TRAINS_FACTORS:
        return sum(out * in_ for out, in_ in shapes)
    return settings["lora"]["rank"] * sum(out + in_ for out, in_ in shapes)


def _write(
    parent: Mapping[str, Any],
    record: Mapping[str, Any],
    stored: Mapping[str, Tensor],
    changed: Mapping[str, str],
    curve: Sequence[Mapping[str, Any]],
    output: str | Path,
    device: str,
) -> None:
    """Write a recovered model: the parent's manifest, with what was done to it."""
    own = parent["decomposition"]
    after = [*own.get("after", []), record["name"]]
    with atomic_path(output) as directory:
        directory.mkdir()
        save_file(dict(stored), directory / FACTORS, metadata={"format": parent["format"]})
        pd.DataFrame(curve, columns=COLUMNS).to_csv(
            directory / LOSSES, index=False, float_format="%.6g"
        )
        manifest = {
            **parent,
            "decomposition": {**own, "name": f"{own['name']}+{record['name']}", "after": after},
            "changed": dict(sorted(changed.items())),
            "recoveries": [*parent.get("recoveries", []), dict(record)],
            "factors_sha256": sha256_file(directory / FACTORS),
            "provenance": provenance(
                device,
                model_source=parent["provenance"]["model_source"],
                training=versions(["peft", "accelerate"]),
            ),
        }
        write_json(directory / MANIFEST, manifest)
