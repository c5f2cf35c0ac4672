"""Files that are whole or absent: atomic writes, checksums, strict YAML and JSON."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lowrank.base.errors import LowrankError


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, renamed to `path` when the block succeeds.

    Works for files and for directories. A block that fails leaves `path` as it was, and a
    reader never sees half a file, whenever the process is killed or the machine loses power.
    What killed processes left beside `path` is removed.

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
    try:
        workspace, lock = _open_workspace(path)
    except OSError as error:
        raise _refused(path, error.errno) from None
    try:
        temporary = workspace / path.name
        yield temporary
        _open_to_readers(temporary, workspace)
        _synchronize(temporary)
        if temporary.is_dir() and path.is_dir():
            # A directory cannot be renamed over a non-empty one.
            os.replace(path, workspace / f"{path.name}.old")
        os.replace(temporary, path)
        _synchronize(path.parent, recursive=False)
    except LowrankError:
        raise
    except Exception as error:
        number = _refusal(error, path)
        if number is None:
            raise
        raise _refused(path, number) from None
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
        if lock is not None:
            os.close(lock)


_LOCK = ".lock"
"""In a workspace, held by its process: the kernel frees it when that dies."""


def _open_workspace(path: Path) -> tuple[Path, int | None]:
    """Make a folder beside `path` and lock it; remove those of dead processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f".{glob.escape(path.name)}.????????"):
        if _is_abandoned(old):
            shutil.rmtree(old, ignore_errors=True)
    workspace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    lock = os.open(workspace / f"{_LOCK}.new", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # a file system without locks: nobody can tell, so nobody removes it
        os.close(lock)
        return workspace, None
    # It gets its name only now: a lock that can be taken is a dead process's.
    os.replace(workspace / f"{_LOCK}.new", workspace / _LOCK)
    return workspace, lock


def _is_abandoned(workspace: Path) -> bool:
    try:
        lock = os.open(workspace / _LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def _open_to_readers(path: Path, workspace: Path) -> None:
    """Give files the permissions of new ones; safetensors writes its own for their owner alone."""
    usual = next(workspace.glob(f"{_LOCK}*")).stat().st_mode & 0o666
    for file in path.rglob("*") if path.is_dir() else [path]:
        state = file.lstat()
        # A file with other names, as in a cache, stays as it is.
        if stat.S_ISREG(state.st_mode) and state.st_nlink == 1 and usual & ~state.st_mode:
            file.chmod(stat.S_IMODE(state.st_mode) | usual)


def _synchronize(path: Path, recursive: bool = True) -> None:
    """Wait until what was written is on the disk: a file, or a folder with all that is in it."""
    if recursive and path.is_dir():
        for entry in path.iterdir():
            _synchronize(entry)
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not path.is_dir() or error.errno != errno.EINVAL:  # folders of some file systems
            raise
    finally:
        os.close(handle)


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


def _refused(path: Path, number: int | None) -> LowrankError:
    reason = os.strerror(number or errno.EIO)
    return LowrankError(f"cannot write {path}: {reason}; {_REMEDIES.get(number or 0, _ELSEWHERE)}")


def _refusal(error: Exception, path: Path) -> int | None:
    """Return the number of a refusal to write `path`, also from libraries that only tell its text.

    A refusal of another file is not ours: an input may be unreadable. Only a full disk is taken
    for ours without a name, since writing to an open file gives none.
    """
    number = getattr(error, "errno", None)
    if number not in _REMEDIES:
        number = next((known for known in _REMEDIES if os.strerror(known) in str(error)), None)
    if number is None:
        return None
    named = [getattr(error, name, None) for name in ("filename", "filename2")]
    text = " ".join(str(name) for name in named if name is not None) or str(error)
    is_ours = str(path.parent / f".{path.name}.") in text
    is_unnamed = not any(named) and _REMEDIES[number] == _FREE
    return number if is_ours or is_unnamed else None


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_text(path: str | Path) -> str:
    """Return the text of the UTF-8 file `path`.

    Raises
    ------
    LowrankError
        If the file cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LowrankError(f"{path} cannot be read ({error}): delete it and run again") from None


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` to `path` atomically, as indented JSON with sorted keys.

    Raises
    ------
    LowrankError
        If a number in it is not finite; it says which.
    """
    for place, number in _numbers(value):
        if not math.isfinite(number):
            raise LowrankError(f"{path} is not written: {place} is {number}, not a finite number")
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _numbers(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Yield every floating-point number within mappings and lists, with the keys to it."""
    if isinstance(value, float):
        yield place, value
    elif isinstance(value, (Mapping, list, tuple)):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from _numbers(item, f"{place}.{key}".lstrip("."))


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
    except (ValueError, RecursionError) as error:
        raise LowrankError(f"{path} is not JSON ({error}): delete it and run again") from None


_MERGE_TAG = "tag:yaml.org,2002:merge"
_TEXT_TAG = "tag:yaml.org,2002:str"
_READ_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null", "timestamp")}
_TEXT_KEYS = ("label", "title")


# The parser in C reads the configuration ten times as fast; a PyYAML built by hand may lack it.
YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(YAML_LOADER):
    """YAML in which a repeated key is an error, and in which names are text as they are written.

    A key is a name whatever it looks like: `9`, `on`, `1.50` or `2024-01-01`. So is the value of a
    label or a title. What `<<` lays below a mapping may have the same keys.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._checked: set[yaml.MappingNode] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if node not in self._checked:  # then it holds what was below it, too
            self._checked.add(node)
            self._require_keys([pair for pair in node.value if pair[0].tag != _MERGE_TAG])
        super().flatten_mapping(node)

    def _require_keys(self, pairs: list[tuple[yaml.Node, yaml.Node]]) -> None:
        for key, value in pairs:
            if key.tag in _READ_TAGS:
                key.tag = _TEXT_TAG
            is_told = key.value in _TEXT_KEYS and value.tag != "tag:yaml.org,2002:null"
            if is_told and value.tag in _READ_TAGS:
                value.tag = _TEXT_TAG
        keys = [self.construct_object(key, deep=True) for key, _ in pairs]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                line = pairs[index][0].start_mark.line + 1
                raise LowrankError(f"line {line}: the key {key!r} stands twice")


# JSON's numbers such as 1e-05, which YAML 1.1 takes for text.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: str | Path) -> Any:
    """Return the value of the YAML file `path`; keys are text, and a repeated one is refused.

    Raises
    ------
    LowrankError
        If the file is missing, cannot be read, is not YAML or repeats a key.
    """
    try:
        with open(path, encoding="utf-8") as handle:
            return yaml.load(handle, Loader=_StrictLoader)
    except FileNotFoundError:
        raise LowrankError(f"{path} does not exist") from None
    except LowrankError as error:
        raise LowrankError(f"{path}, {error}") from None
    except OSError as error:
        raise LowrankError(f"{path} cannot be read ({os.strerror(error.errno or 0)})") from None
    except (yaml.YAMLError, ValueError, LookupError, RecursionError) as error:
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


POINTER = b"version https://git-lfs"
"""How a file begins that stands for a large one in a repository of git."""


def require_content(path: str | Path) -> None:
    """Check that a file that someone brought is there, and is the file itself.

    Raises
    ------
    LowrankError
        If it is a link to nothing, a folder, empty, or stands for a large file of git.
    """
    path = Path(path)
    try:
        with open(path, "rb") as handle:
            head = handle.read(len(POINTER))
    except FileNotFoundError:
        if path.is_symlink():
            raise LowrankError(
                f"{path} is a link to {path.readlink()}, which is not there: copy what links "
                "lead to (`cp -rL`)"
            ) from None
        raise LowrankError(f"{path} does not exist") from None
    except OSError as error:
        raise LowrankError(f"{path} cannot be read ({os.strerror(error.errno or 0)})") from None
    if not head:
        raise LowrankError(f"{path} is empty: copy it again")
    if head == POINTER:
        raise LowrankError(
            f"{path} is a Git LFS pointer, not the file that it stands for: run `git lfs pull` "
            "where it comes from, and copy it again"
        )


def read_brought_json(path: str | Path) -> Any:
    """Return the value of a JSON file that someone brought, and that no run can make anew.

    Raises
    ------
    LowrankError
        If it is not there, is not the file itself or is not JSON.
    """
    require_content(path)
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise LowrankError(f"{path} is not JSON ({error}): copy it again") from None


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
