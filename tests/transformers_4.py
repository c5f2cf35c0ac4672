"""Transformers 4 in a folder of its own, beside the environment's torch: what other tools read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGES = ("transformers==4.57.6", "tokenizers==0.22.2", "huggingface-hub==0.36.0")

READ = """
import json, sys, torch, transformers
assert transformers.__version__.startswith("4.")
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForQuestionAnswering
from transformers import AutoTokenizer
made = []
for folder, text in json.load(sys.stdin):
    config = json.load(open(folder + "/config.json"))
    name = config["architectures"][0]
    chosen = AutoModelForCausalLM if name.endswith("CausalLM") else AutoModel
    if name.endswith("Answering"):
        chosen = AutoModelForQuestionAnswering
    model = chosen.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    coded = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        output = model(**coded)[0]
    made.append({
        "dtype": str(model.dtype),
        "keys": sorted(coded),
        "sides": [tokenizer.padding_side, tokenizer.truncation_side],
        "tokens": coded["input_ids"][0].tolist(),
        "text": tokenizer.decode(coded["input_ids"][0], skip_special_tokens=True),
        "output": output.flatten().tolist(),
    })
print(json.dumps(made))
"""


@contextmanager
def installed() -> Iterator[Path]:
    """Yield a folder with transformers 4 in it, for `PYTHONPATH`; torch is the environment's.

    Raises
    ------
    RuntimeError
        With pip's last words, if it cannot install them here.
    """
    folder = Path(tempfile.mkdtemp(prefix="transformers-4-"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--target", str(folder)]
    try:
        done = subprocess.run([*command, *PACKAGES], capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["pip failed"])[-1])
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read(installation: Path, folders: Sequence[tuple[Path, str]]) -> list[dict[str, Any]]:
    """Return what transformers 4 makes of models' directories and a text for each."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", READ],
        input=json.dumps([(str(folder), text) for folder, text in folders]),
        env=os.environ | {"PYTHONPATH": str(installation), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
