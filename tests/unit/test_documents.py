"""What the README names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
LIBRARY = ROOT / "workflow/lowrank"


def test_every_path_is_there():
    named = re.findall(r"`((?:workflow|config|profiles|tests|paper|benchmarks)/[\w./-]+)`", TEXT)
    assert len(named) > 8
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_module_of_the_table_is_there():
    table = TEXT.split("| to find | look in `workflow/lowrank/` |")[1].split("\n\n")[0]
    named = re.findall(r"`([\w./]+)`", table)
    assert len(named) > 20
    assert [path for path in named if not (LIBRARY / path).exists()] == []


def test_every_make_target_is_there():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    spans = re.findall(r"`[^`]+`", TEXT.replace("```", ""))
    named = set(re.findall(r"^`make ([a-z-]+)", "\n".join(spans), flags=re.MULTILINE))
    assert len(named) > 8
    assert named <= targets


def test_no_number_is_left_open():
    """A number that is still to be measured stands as a word in capitals."""
    words = set(re.findall(r"\b[A-Z]{4,}\b", re.sub(r"`[^`]*`", "", TEXT)))
    known = {"BERT", "EPYC", "NVML", "SLURM", "RAPL", "CUDA", "MMLU", "MRPC", "HTML", "JSON"}
    assert words <= known
