"""Training of some linear layers of a model, by transformers' trainer and, for LoRA, peft.

Checkpoints are the trainer's own. A run that was ended goes on from the last one.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging as transformers_logging

from lowrank.assets.training import Example
from lowrank.base.errors import LowrankError

IGNORED = -100
"""The label of a token whose prediction does not count."""

CHECKPOINTS, ROWS = 5, 100
"""How often a phase is kept, so that it can be gone on with, and most rows of its loss curve."""

LORA, FACTORS = "lora", "factors"
"""What is trained: low-rank updates of the layers, or the layers themselves."""


@dataclass(frozen=True)
class Phase:
    """A part of a recovery: what is trained, on what, for how long.

    Attributes
    ----------
    name
        What the loss curve calls it.
    paths
        The linear layers that are trained.
    examples
        What is trained on.
    steps
        Steps of the optimizer.
    """

    name: str
    paths: tuple[str, ...]
    examples: Sequence[Example]
    steps: int


def phase_steps(examples: int, batch: int, epochs: float) -> int:
    """Return how many steps a number of epochs takes; the last batch of an epoch may be smaller."""
    return max(1, math.ceil(math.ceil(examples / batch) * epochs))


def train(
    model: PreTrainedModel,
    phase: Phase,
    held_out: Sequence[Example],
    settings: Mapping[str, Any],
    folder: Path,
    pad: int,
) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Tensor]], list[dict[str, Any]]]:
    """Train some layers of a model, and return what they learnt; LoRA leaves the model as it was.

    Parameters
    ----------
    model
        A causal language model on the device to train on. Nothing of it has a gradient.
    phase
        What to train, and on what.
    held_out
        Examples whose loss is computed before, meanwhile and after; may be empty.
    settings
        Those of a recovery: `trains`, `lora`, `batch`, `learning_rate`, `schedule`,
        `warmup_steps`, `weight_decay`, `clip`, `seed`, `gradient_checkpointing`.
    folder
        Where checkpoints are kept; it is removed at the end.
    pad
        The token that fills up a batch.

    Returns
    -------
    The weights of layers that were trained themselves, by path; what was added to the weights of
    others, (out × rank) and (rank × in); and the loss curve: `step`, `loss` (nats a token, the
    mean since the row before) or `held_out_loss`, and `learning_rate`.

    Raises
    ------
    LowrankError
        If the loss is not finite.
    """
    is_lora = settings["trains"] == LORA
    set_seed(settings["seed"])  # updates begin at random numbers
    tuned: nn.Module = model
    if is_lora:
        own = settings["lora"]
        tuned = get_peft_model(
            model,
            LoraConfig(
                r=own["rank"],
                lora_alpha=own["alpha"],
                lora_dropout=own["dropout"],
                target_modules=list(phase.paths),
                task_type="CAUSAL_LM",
            ),
        )
    else:
        for path in phase.paths:
            model.get_submodule(path).weight.requires_grad_(True)
    if settings["gradient_checkpointing"]:
        model.enable_input_require_grads()
    transformers_logging.set_verbosity_error()
    trainer = _Trainer(
        tuned,
        _arguments(phase, settings, folder, model.device.type, bool(held_out)),
        data_collator=_Collator(pad),
        train_dataset=_Examples(phase.examples),
        eval_dataset=_Examples(held_out) if held_out else None,
        callbacks=[_Progress(phase.name)],
    )
    trainer.remove_callback(PrinterCallback)
    last = get_last_checkpoint(folder) if folder.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    losses = _losses(trainer.state.log_history)
    weights: dict[str, Tensor] = {}
    updates: dict[str, tuple[Tensor, Tensor]] = {}
    for path in phase.paths:
        layer = model.get_submodule(path)
        if is_lora:
            (name,) = layer.active_adapters
            scale = layer.scaling[name]
            left, right = layer.lora_B[name].weight, layer.lora_A[name].weight
            updates[path] = (left.detach().float() * scale, right.detach().float())
        else:
            layer.weight.requires_grad_(False)
            weights[path] = layer.weight.detach().float()
    if is_lora:
        tuned.unload()  # what was learnt is added by the caller, in one way whoever learnt it
    shutil.rmtree(folder, ignore_errors=True)
    return weights, updates, losses


def _arguments(
    phase: Phase, settings: Mapping[str, Any], folder: Path, device: str, has_held_out: bool
) -> TrainingArguments:
    every = max(1, math.ceil(phase.steps / CHECKPOINTS))
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=phase.steps,
        per_device_train_batch_size=settings["batch"],
        per_device_eval_batch_size=settings["batch"],
        learning_rate=settings["learning_rate"],
        lr_scheduler_type=settings["schedule"],
        warmup_steps=settings["warmup_steps"],
        weight_decay=settings["weight_decay"],
        max_grad_norm=settings["clip"],
        optim="adamw_torch",
        activation_checkpointing=settings["gradient_checkpointing"],
        seed=settings["seed"],
        data_seed=settings["seed"],
        full_determinism=True,
        use_cpu=device == "cpu",
        bf16=False,
        logging_steps=max(1, math.ceil(phase.steps / ROWS)),
        logging_nan_inf_filter=False,
        eval_strategy="steps" if has_held_out else "no",
        eval_on_start=has_held_out,
        eval_steps=every,
        prediction_loss_only=True,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=1,
        report_to=[],
        disable_tqdm=True,  # its bar prints every loss
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )


class _Trainer(Trainer):
    """transformers' trainer, which keeps of a model what is trained, and nothing else."""

    def log(self, logs: dict[str, float], *given: Any, **named: Any) -> None:
        for name in ("loss", "eval_loss"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise LowrankError(
                    f"the loss is not finite at step {self.state.global_step}: use a smaller "
                    "`learning_rate` or more `warmup_steps`"
                )
        super().log(logs, *given, **named)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not isinstance(self.model, PreTrainedModel):  # peft keeps its own part
            super()._save(output_dir, state_dict)
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        trained = {
            name: parameter.detach().contiguous()
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        }
        save_file(trained, folder / "model.safetensors")


class _Progress(TrainerCallback):
    """A bar of the steps, with the last loss."""

    def __init__(self, name: str) -> None:
        self._name = name

    def on_train_begin(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        self._bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc=f"phase {self._name}"
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        self._bar.update()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **named: Any) -> None:
        if logs and "loss" in logs:
            self._bar.set_postfix_str(f"loss {float(logs['loss']):.3f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        self._bar.close()


class _Examples(Dataset):
    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, place: int) -> Example:
        return self._examples[place]


@dataclass(frozen=True)
class _Collator:
    """Fills a batch up on its right, where no prediction counts and nothing is attended to."""

    pad: int

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        longest = max(len(example.tokens) for example in examples)
        shape = len(examples), longest
        tokens = torch.full(shape, self.pad, dtype=torch.long)
        labels = torch.full(shape, IGNORED, dtype=torch.long)
        mask = torch.zeros(shape, dtype=torch.long)
        for row, example in enumerate(examples):
            own = torch.tensor(example.tokens)
            tokens[row, : len(own)] = own
            labels[row, example.first : len(own)] = own[example.first :]
            mask[row, : len(own)] = 1
        return {"input_ids": tokens, "labels": labels, "attention_mask": mask}


def _losses(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a loss curve from the trainer's records.

    A run that goes on computes the held-out loss of its first step once more.
    """
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    for record in history:
        for name, column in {"loss": "loss", "eval_loss": "held_out_loss"}.items():
            if name in record:
                own = {"step": record["step"], column: record[name]}
                own["learning_rate"] = record.get("learning_rate")
                rows.setdefault((record["step"], column), own)
    return list(rows.values())
