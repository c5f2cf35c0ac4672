"""Files that are whole or absent: atomic writes, checksums, strict YAML and JSON."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lowrank.errors import LowrankError


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, renamed to `path` when the block succeeds.

    Works for files and for directories. A block that fails leaves `path` as it was, and a
    reader never sees half a file, whenever the process is killed.

    Parameters
    ----------
    path
        The final name. Missing parent directories are made.

    Raises
    ------
    LowrankError
        If the disk is full, or the folder may not be written to.
    """
    path = Path(path)
    workspace: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        workspace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        temporary = workspace / path.name
        yield temporary
        if temporary.is_file():
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)  # a directory cannot be renamed over a non-empty one
        os.replace(temporary, path)
    except Exception as error:
        number = _refusal(error)
        if number is None:
            raise
        raise LowrankError(
            f"cannot write {path}: {os.strerror(number)}; {_REMEDIES[number]}"
        ) from None
    finally:
        if workspace is not None:
            shutil.rmtree(workspace, ignore_errors=True)


_FREE = "free some space and run again: what is finished is kept"
_ELSEWHERE = "choose another folder by `pathvars` in the configuration"
_REMEDIES = {
    errno.ENOSPC: _FREE,
    errno.EDQUOT: _FREE,
    errno.EFBIG: _FREE,
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
}


def _refusal(error: Exception) -> int | None:
    """Return the number of a refusal to write, also from libraries that only tell its text."""
    number = getattr(error, "errno", None)
    if number in _REMEDIES:
        return number
    return next((known for known in _REMEDIES if os.strerror(known) in str(error)), None)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` to `path` atomically, as indented JSON with sorted keys."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: str | Path) -> Any:
    """Return the value of the JSON file `path`.

    Raises
    ------
    LowrankError
        If the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LowrankError(f"{path} does not exist") from None
    except ValueError as error:
        raise LowrankError(f"{path} is not JSON ({error}): delete it and run again") from None


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a repeated key is an error, not a silent overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                line = node.value[index][0].start_mark.line + 1
                raise LowrankError(f"line {line}: the key {key!r} stands twice")
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> Any:
    """Return the value of the YAML file `path`; a repeated key is refused.

    Raises
    ------
    LowrankError
        If the file is missing, is not YAML or repeats a key.
    """
    try:
        with open(path, encoding="utf-8") as handle:
            return yaml.load(handle, Loader=_StrictLoader)
    except FileNotFoundError:
        raise LowrankError(f"{path} does not exist") from None
    except LowrankError as error:
        raise LowrankError(f"{path}, {error}") from None
    except yaml.YAMLError as error:
        raise LowrankError(f"{path} is not YAML: {' '.join(str(error).split())}") from None


def merge(configs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return configurations laid over each other key by key, as `--configfile a b` does."""
    made: dict[str, Any] = {}
    for config in configs:
        for key, value in config.items():
            below = made.get(key)
            both = isinstance(below, Mapping) and isinstance(value, Mapping)
            made[key] = merge([below, value]) if both else value
    return made


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def require_sha256(path: str | Path, expected: str) -> None:
    """Check a file against its pinned checksum.

    Raises
    ------
    LowrankError
        If the checksum differs; the message names the file and both sums.
    """
    actual = sha256_file(path)
    if actual != expected:
        raise LowrankError(
            f"wrong checksum: {path} has sha256 {actual}, pinned is {expected}; "
            "the file is damaged or is another version"
        )


@contextlib.contextmanager
def exclusive_lock(path: str | Path) -> Iterator[None]:
    """Hold an advisory lock on `path`; the kernel frees it when the process dies."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
