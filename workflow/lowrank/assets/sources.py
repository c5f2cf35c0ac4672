"""Pinned inputs from outside: a local mirror or directory, a wheel of a package index, the hub.

An asset names its sources in order. The first that is present is used: a mirror if one is set
and holds the file, a wheel always, the hub unless it is switched off. A source that is present
but wrong (a checksum that differs, a licence not accepted) stops the run; it is never skipped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowrank.base.errors import LowrankError, one_line
from lowrank.base.files import (
    atomic_path,
    exclusive_lock,
    require_content,
    require_sha256,
    sha256_file,
)

if TYPE_CHECKING:
    import pyarrow as pa

MIRROR_VARIABLE = "LOWRANK_MIRROR"
HUB_VARIABLE = "LOWRANK_HUB"
DIRECTORIES_VARIABLE = "LOWRANK_DIRECTORIES"
"""From the names of models in directories of this machine to these, as JSON."""

Source = Mapping[str, Any]


def mirror_root() -> Path | None:
    """Return the local mirror directory of the environment variable LOWRANK_MIRROR, if set."""
    root = os.environ.get(MIRROR_VARIABLE)
    return expanded(root) if root else None


def require_mirror() -> None:
    """Check that the mirror is there, if one is set.

    Raises
    ------
    LowrankError
        If it is no directory.
    """
    root = mirror_root()
    if root is not None and not root.is_dir():
        given = os.environ[MIRROR_VARIABLE]
        named = given if given == str(root) else f"{given} ({root})"
        raise LowrankError(
            f"the mirror {named} is no directory: correct or unset {MIRROR_VARIABLE}, or `mirror` "
            "in the configuration"
        )


def expanded(path: str) -> Path:
    """Return a path as a user means it: `~` is a home, `$NAME` a variable, the rest from here."""
    made = Path(os.path.expandvars(path))
    with contextlib.suppress(RuntimeError):  # `~` of nobody stays as it is, and is not found
        made = made.expanduser()
    return made.absolute()


def directory_of(source: Source) -> Path:
    """Return the directory of this machine that a source names.

    Raises
    ------
    LowrankError
        If the run has not said where it is.
    """
    known = json.loads(os.environ.get(DIRECTORIES_VARIABLE, "{}"))
    if source["directory"] not in known:
        raise LowrankError(f"the directory of model {source['directory']} is not known: run again")
    return Path(known[source["directory"]])


def hub_allowed() -> bool:
    """Return whether the hub may be asked (LOWRANK_HUB is not `0`)."""
    return os.environ.get(HUB_VARIABLE, "1") != "0"


def mirror_paths(source: Source, subsets: Sequence[str] | None = None) -> dict[str, Path]:
    """Return the mirror's files of a source: from subset (`""` if there is one) to path."""
    root = mirror_root() or Path("/nonexistent")
    return {own: root / source["mirror"].replace("{subset}", own) for own in subsets or [""]}


def is_present(source: Source, subsets: Sequence[str] | None = None) -> bool:
    """Return whether a source can be asked at all, without asking it.

    A link to nothing is present, and wrong.
    """
    if "mirror" in source:
        paths = mirror_paths(source, subsets).values()
        return mirror_root() is not None and all(map(os.path.lexists, paths))
    return hub_allowed() if "hub" in source else True


def choose_source(
    sources: Sequence[Source], asset: str, subsets: Sequence[str] | None = None
) -> Source:
    """Return the first source that is present.

    Raises
    ------
    LowrankError
        If none is; the message says what would make one present.
    """
    for source in sources:
        if is_present(source, subsets):
            return source
    raise LowrankError(
        f"{asset} has no source here: set {MIRROR_VARIABLE} to a mirror directory that holds it, "
        "or allow the hub (`hub: true` in the configuration)"
    )


def describe(source: Source) -> str:
    """Return a source as a provenance record names it: kind, identity, pin."""
    if "mirror" in source:
        return f"mirror:{source['mirror']}"
    if "directory" in source:
        sums = json.dumps(source["sha256"], sort_keys=True).encode()
        return f"directory:{source['directory']}@sha256:{hashlib.sha256(sums).hexdigest()}"
    if "wheel" in source:
        return f"wheel:{source['wheel']}@sha256:{source['sha256']}"
    if "hub" in source:
        return f"hub:{source['hub']}@{source['revision']}"
    return f"random:seed={source['random']}"


def require_mirror_checksum(source: Source, subset: str, path: Path) -> None:
    """Check a mirror file against its pin: one checksum, or one a subset.

    Raises
    ------
    LowrankError
        If it is not the file itself, or differs.
    """
    require_content(path)
    pin = source["sha256"]
    if isinstance(pin, Mapping) and subset not in pin:
        raise LowrankError(f"{describe(source)} has no sha256 for {subset!r}")
    require_sha256(path, pin[subset] if isinstance(pin, Mapping) else pin)


def fetch_wheel(requirement: str, sha256: str, cache: str | Path) -> Path:
    """Return the path of a pinned wheel, downloading it into `cache` if it is not there.

    The wheel is taken as a file and never installed. pip's own settings (index, proxy, find-links)
    apply. Concurrent callers wait for one download.

    Parameters
    ----------
    requirement
        `package==version`.
    sha256
        The wheel's checksum.
    cache
        A directory to keep wheels in.

    Raises
    ------
    LowrankError
        If it cannot be downloaded, or its checksum differs.
    """
    target = Path(cache) / f"{requirement.replace('==', '-')}.whl"
    with exclusive_lock(target.with_suffix(".lock")):
        if target.exists() and sha256_file(target) != sha256:
            target.unlink()  # cut short by a power cut, say; what is downloaded must agree
        if not target.exists():
            _download_wheel(requirement, sha256, target)
    return target


def _download_wheel(requirement: str, sha256: str, target: Path) -> None:
    with atomic_path(target) as temporary:
        folder = temporary.parent / "download"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--dest", str(folder), requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(folder.glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            reason = lines[0] if lines else "pip gave no reason"
            raise LowrankError(f"cannot download {requirement}: {reason}")
        require_sha256(wheels[0], sha256)
        os.replace(wheels[0], temporary)


def extract_member(wheel: str | Path, member: str, output: str | Path) -> None:
    """Copy one member of a wheel to `output`; its name in the archive sets no path.

    Raises
    ------
    LowrankError
        If the archive is damaged or lacks the member.
    """
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as data,
            atomic_path(output) as temporary,
            open(temporary, "wb") as target,
        ):
            while chunk := data.read(1 << 20):
                target.write(chunk)
    except (KeyError, zipfile.BadZipFile) as error:
        raise LowrankError(f"{wheel} does not hold a readable {member} ({error})") from None


def read_hub(repository: str, revision: str, name: str | None, split: str) -> pa.Table:
    """Return a split of a data set of the hub as a table.

    Parameters
    ----------
    repository, revision
        The data set and the commit that it is pinned to.
    name
        One of its configurations, if it has several.
    split
        The split.

    Raises
    ------
    LowrankError
        If the hub does not give it.
    """
    import datasets

    limit_hub_waits()
    try:
        dataset = datasets.load_dataset(repository, name, split=split, revision=revision)
    except Exception as error:  # whatever the client raises becomes one line
        raise hub_error(repository, error) from None
    return dataset.data.table


def limit_hub_waits() -> None:
    """Let the hub's client give up on a server that takes a request and never answers.

    It would wait forever, or `datasets` for minutes a try; the variable HF_HUB_DOWNLOAD_TIMEOUT
    sets the longest that one try may wait, in seconds.
    """
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    def limit(request: Any) -> None:
        longest, given = constants.HF_HUB_DOWNLOAD_TIMEOUT, request.extensions.get("timeout") or {}
        request.extensions["timeout"] = {
            kind: min(given.get(kind) or longest, longest)
            for kind in ("connect", "read", "write", "pool")
        }

    def factory() -> Any:
        client = default_client_factory()
        client.event_hooks["request"].append(limit)
        return client

    set_client_factory(factory)


def require_hub_digest(path: Path, repository: str) -> None:
    """Check a file of the hub's cache against the hub's own digest, which names its blob.

    Large files go by their SHA-256, small ones by git's SHA-1. A file that differs is removed
    from the cache, so that the next run downloads it again.

    Parameters
    ----------
    path
        A file of a snapshot: a link to a blob, or a copy of one that is there, too.
    repository
        The repository, for the message.

    Raises
    ------
    LowrankError
        If the content is not what the hub says it is.
    """
    blob = path.resolve()
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        digest = sha256_file(blob)
    elif re.fullmatch("[0-9a-f]{40}", blob.name):
        digest = _git_digest(blob)
    else:
        # A copy of the cache in which links became files: its blobs have the names yet.
        blobs = path.absolute().parents[2] / "blobs"
        if any((blobs / own(blob)).is_file() for own in (_git_digest, sha256_file)):
            return
        raise LowrankError(
            f"{path} of {repository} has no digest of the hub to check it by: copy the cache with "
            f"its links (`cp -a`), or remove {blobs.parent} to download it anew"
        )
    if digest != blob.name:
        blob.unlink()
        path.unlink(missing_ok=True)
        raise LowrankError(
            f"{path.name} of {repository} is damaged: its digest is {digest}, the hub's is "
            f"{blob.name}; it is removed from the cache: start again to download it anew"
        )


def _git_digest(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def hub_error(repository: str, error: Exception) -> LowrankError:
    """Turn what the hub's client raises into one line that says what to do."""
    names = {kind.__name__ for kind in type(error).__mro__}
    causes = list(_causes(error))
    answers = [getattr(getattr(cause, "response", None), "status_code", None) for cause in causes]
    status = next((answer for answer in answers if answer is not None), None)
    is_gated = "GatedRepoError" in names or "gated dataset" in str(error)
    if is_gated or status in (401, 403):
        return LowrankError(
            f"{repository} asks for a licence or a token: accept the licence on its hub page, then "
            "run `hf auth login` (or set HF_TOKEN) and start again"
        )
    if "RevisionNotFoundError" in names or "RepositoryNotFoundError" in names:
        return LowrankError(f"the hub has no {repository} at the pinned revision, or no access")
    if status is not None:
        busy = " (too many requests)" if status == 429 else ""
        return LowrankError(
            f"the hub answered {status}{busy} for {repository}, again and again: "
            "start again later; what is finished stays"
        )
    if any("Timeout" in type(cause).__name__ for cause in causes):
        return LowrankError(
            f"the hub takes requests for {repository} and does not answer: start again later"
        )
    if (
        "LocalEntryNotFoundError" in (*names, *re.findall(r"\w+", str(error)))
        or "OfflineModeIsEnabled" in names
    ):
        return LowrankError(
            f"{repository} is not in the local cache and the hub cannot be reached: check the "
            "network, or download it on a machine that has one and copy its HF_HOME"
        )
    # The address of a file may carry a signature, which is as good as a token.
    reason = re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\"]*", r"\1", one_line(error))[:200]
    return LowrankError(f"cannot fetch {repository} from the hub: {reason}; try again later")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it."""
    step: BaseException | None = error
    while step is not None:
        yield step
        step = step.__cause__ or step.__context__
