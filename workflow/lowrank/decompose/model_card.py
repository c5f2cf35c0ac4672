"""The model card of a low-rank checkpoint: what it is, how it was made, what it scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowrank.base.files import read_json
from lowrank.base.metric import Metric
from lowrank.space.methods import METHODS

AUTO = {
    "ForCausalLM": ("AutoModelForCausalLM", "text-generation"),
    "ForQuestionAnswering": ("AutoModelForQuestionAnswering", "question-answering"),
}
"""From the end of a class's name to the Auto class that loads it and to its task."""


def model_card(
    manifest: Mapping[str, Any],
    facts: Mapping[str, Any],
    evaluation: str | Path | None,
    dense_evaluation: str | Path | None,
) -> str:
    """Return the card, as Markdown.

    Parameters
    ----------
    manifest
        The compressed model's.
    facts
        Its `class`, its number of `parameters`, the `bytes` of its weights and their `dtype`.
    evaluation, dense_evaluation
        Files of results of this configuration and of the dense model, or None. Those of other
        factors are left out.
    """
    made, name = manifest["decomposition"], manifest["model"]
    auto, task = next(
        (own for end, own in AUTO.items() if facts["class"].endswith(end)),
        ("AutoModel", "feature-extraction"),
    )
    dense, own = manifest["parameters"]["dense"], facts["parameters"]
    parts = [
        "---",
        "library_name: transformers",
        f"pipeline_tag: {task}",
        "tags: [low-rank, compressed]",
        "---",
        "",
        f"# {name}, compressed: {made['name']}",
        "",
        f"This is {name} with {abs(100 * (1 - own / dense)):.2f}% "
        f"{'more' if own > dense else 'fewer'} parameters: {own:,} for {dense:,}. "
        f"Its weights take {facts['bytes']:,} bytes on the disk, in {facts['dtype']}.",
        "",
        "## How to load it",
        "",
        "```python",
        "import lowrank  # before a model is loaded; it is the library of the workflow below",
        f"from transformers import AutoTokenizer, {auto}",
        "",
        f'model = {auto}.from_pretrained("this directory")',
        'tokenizer = AutoTokenizer.from_pretrained("this directory")',
        "```",
        "",
        "No code comes with the weights, and no dense copy of them is made. Command lines go "
        "through `python -m lowrank`, such as `python -m lowrank lm_eval --model hf "
        "--model_args pretrained=DIRECTORY --tasks arc_easy`.",
        "",
        "## How it was made",
        "",
        *_how(manifest),
        "",
        "## What it scores",
        "",
        *_scores(manifest, evaluation, dense_evaluation),
        "",
        "The licence of the dense model holds for this one, too. This model may be worse than the "
        "dense one in ways that these scores do not show.",
    ]
    return "\n".join(parts) + "\n"


def _how(manifest: Mapping[str, Any]) -> list[str]:
    made = manifest["decomposition"]
    rows = [("base", f"{manifest['model']}, {manifest['provenance']['model_source']}")]
    if made["layers"]:
        rows += [
            ("method", f"`{made['method']}`: {METHODS[made['method']].description}"),
            ("layers, from 1", ", ".join(map(str, made["layers"]))),
        ]
        if METHODS[made["method"]].scope != "layer":
            ranks = sorted({own["rank"] for own in manifest["modules"].values()})
            kept = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
            what = "kept of each" if made["form"] == "channels" else "rank"
            rows += [
                ("tensors", ", ".join(made["tensors"])),
                (what, kept),
                ("form", made["form"]),
            ]
    if made["calibration"]:
        rows.append(("calibration set", made["calibration"]))
    if made.get("after"):
        rows.append(("afterwards", ", ".join(made["after"])))
    versions = manifest["provenance"]["versions"]
    software = ", ".join(f"{name} {versions[name]}" for name in sorted(versions))
    rows.append(("software", software))
    table = [f"| {key} | {value} |" for key, value in rows]
    return [
        f"The workflow of low-rank decomposition made it, as the configuration `{made['name']}`.",
        "",
        "| | |",
        "|---|---|",
        *table,
    ]


def _scores(
    manifest: Mapping[str, Any], evaluation: str | Path | None, dense: str | Path | None
) -> list[str]:
    """Return a table of scores with their 95% intervals, or a line that says there are none."""
    result = _result(evaluation)
    if result is None or result["provenance"]["factors_sha256"] != manifest["factors_sha256"]:
        return ["It was not evaluated when this was written."]
    beside = (_result(dense) or {}).get("benchmarks", {})
    columns = ("benchmark", "metric", "score", "95% interval", "questions", "dense")
    rows = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, own in sorted(result["benchmarks"].items()):
        score, other = own["score"], beside.get(name, {}).get("score")
        metric = Metric.from_config(score["metric"])
        scaled = [metric.scale * bound for bound in score["interval_95"]]
        same = other is not None and other["questions"] == score["questions"]
        rows.append(
            f"| {name} | {metric.axis} | {metric.scale * score['value']:.2f} | "
            f"{scaled[0]:.2f} to {scaled[1]:.2f} | {score['questions']} | "
            + (f"{metric.scale * other['value']:.2f} |" if same else "– |")
        )
    return rows


def _result(path: str | Path | None) -> Mapping[str, Any] | None:
    return read_json(path) if path and Path(path).is_file() else None
