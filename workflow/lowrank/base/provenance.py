"""Where a result comes from: code, versions, machine."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lowrank.base.errors import LowrankError

LIBRARY = Path(__file__).parents[1]
PACKAGES = (
    "torch",
    "transformers",
    "lm-eval",
    "tensorly",
    "numpy",
    "scipy",
    "safetensors",
    "nvidia-ml-py",
    "bitsandbytes",
    "peft",
)


@functools.cache
def code_digest() -> str:
    """Return a SHA-256 over the library's modules, by name and content.

    All of them, whatever this process has imported: which modules are loaded depends on what a
    warm process did before, and a result must not.
    """
    digest = hashlib.sha256()
    for path in sorted(LIBRARY.rglob("*.py")):
        name = path.relative_to(LIBRARY).as_posix()
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of the installed packages among `packages`."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def require_packages(least: Mapping[str, str]) -> None:
    """Check that packages are installed, and new enough, without importing them.

    Parameters
    ----------
    least
        From a package to the oldest version that will do.

    Raises
    ------
    LowrankError
        Naming the first that is missing or too old.
    """
    for package, version in least.items():
        found = versions([package]).get(package)
        if found is None or _numbers(found) < _numbers(version):
            state = "is not installed" if found is None else f"{found} is too old"
            wanted = f"pip install '{package}>={version}'"
            raise LowrankError(f"{package} {state}: {version} or newer is needed ({wanted})")


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (2, 13) of `2.13.0+cpu`."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def processor_name() -> str:
    """Return the processor's model name as the kernel gives it, or the machine type."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def device_name(device: str) -> str:
    """Return the name of the processor or of the CUDA device that a result was computed on."""
    if device == "cpu":
        return processor_name()
    import torch

    return torch.cuda.get_device_name(device)


def provenance(device: str = "cpu", **facts: Any) -> dict[str, Any]:
    """Return the record that goes into every result.

    Parameters
    ----------
    device
        The device of the computation.
    **facts
        What else shaped the result: revisions, checksums, seeds.
    """
    return {
        "code_sha256": code_digest(),
        "versions": versions(),
        "platform": platform.platform(),
        "device": device,
        "device_name": device_name(device),
        **facts,
    }
