"""Run a script's work in a process that has the heavy imports behind it.

Importing torch, transformers and lm-eval takes longer than scoring forty questions with a small
model. On one machine a server imports them once; each job asks it for a fork, hands over its
arguments, folder, environment and standard streams, and waits for the exit status. The job is
still a process of its own with memory of its own, it still ends when its caller is killed, and
the shell line stays what it is: without a server (LOWRANK_WARM_START unset, a cluster, a GPU) the
same work runs in the script's own process.

The server is named by the library's content, so an edit gets a new one. It ends by itself when
the run that started it is gone or nothing has asked for a while.
"""

from __future__ import annotations

import array
import contextlib
import hashlib
import importlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lowrank.base.files import exclusive_lock
from lowrank.base.provenance import code_digest

logger = logging.getLogger(__name__)

VARIABLE = "LOWRANK_WARM_START"
"""`pid:folder` of the run that jobs may share servers with."""

IDLE_SECONDS = 60.0
START_SECONDS = 120.0
SPEAK_SECONDS = 10.0
"""How long a caller may take to say what it wants."""

LONGEST_ADDRESS = 107
"""Bytes in the path of a Unix socket."""

_ACCEPTED = b"+"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def run_warm(target: str, arguments: Sequence[Any]) -> bool:
    """Call `target` in a fork of the server, if the run has one.

    Parameters
    ----------
    target
        `module:function`. The server imports the module, and calls its `prepare`, if it has one,
        with the same arguments before it forks.
    arguments
        JSON values for the function.

    Returns
    -------
    Whether it was done; False if there is no server that takes it.

    Raises
    ------
    SystemExit
        If it failed; what it printed is on this process's streams.
    RuntimeError
        If its process was killed.
    """
    place = os.environ.get(VARIABLE)
    if not place or "SLURM_JOB_ID" in os.environ:
        return False
    owner, _, folder = place.partition(":")
    address = _address(folder)
    if len(os.fsencode(address)) > LONGEST_ADDRESS:
        logger.warning("No warm start: %s is too long for a socket; set a shorter TMPDIR.", address)
        return False
    try:
        connection = _connect(address) or _start(address, target, int(owner))
    except OSError:
        return False
    if connection is None:
        return False
    with connection:
        request = {
            "target": target,
            "arguments": list(arguments),
            "folder": str(Path.cwd()),
            "environment": dict(os.environ),
        }
        try:
            _send(connection, json.dumps(request).encode())
            accepted = connection.recv(1)
        except OSError:
            accepted = b""
        if accepted != _ACCEPTED:  # the server was about to end: nothing of the job has begun
            return False
        answer = connection.recv(16)
    if not answer:
        raise RuntimeError("the process that ran the job was killed (out of memory?)")
    if int(answer.decode()):
        raise SystemExit(int(answer.decode()))
    return True


def _address(folder: str | Path) -> Path:
    """Return the socket of the server that has this library and this Python."""
    name = hashlib.sha256((sys.executable + code_digest()).encode()).hexdigest()[:16]
    return Path(folder) / f"{name}.sock"


def _send(connection: socket.socket, payload: bytes) -> None:
    """Send a request and this process's standard output and error."""
    streams = array.array("i", [1, 2])
    connection.sendmsg(
        [len(payload).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)]
    )
    connection.sendall(payload)


def _receive(caller: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return what `_send` sent, its streams as file descriptors of this process.

    Raises
    ------
    OSError, ValueError
        If the caller is gone, is silent, or says something else.
    """
    caller.settimeout(SPEAK_SECONDS)
    header, ancillary, _, _ = caller.recvmsg(8, socket.CMSG_SPACE(2 * array.array("i").itemsize))
    streams = array.array("i")
    for *_, data in ancillary:
        streams.frombytes(data)
    try:
        size, payload = int.from_bytes(header, "big"), b""
        while len(payload) < size:
            chunk = caller.recv(size - len(payload))
            if not chunk:
                raise ConnectionError("the caller is gone")
            payload += chunk
        if len(streams) != 2:
            raise ValueError("a caller hands over two streams")
        return json.loads(payload), streams.tolist()
    except (OSError, ValueError):
        for stream in streams:
            os.close(stream)
        raise


def _connect(address: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(address))
    except OSError:
        connection.close()
        return None
    return connection


def _start(address: Path, target: str, owner: int) -> socket.socket | None:
    """Start a server, once among all jobs that want one, and connect to it."""
    with exclusive_lock(address.with_suffix(".lock")):
        connection = _connect(address)
        if connection is not None:
            return connection
        address.unlink(missing_ok=True)
        # The server's own number of threads is the machine's; each job brings its own.
        environment = {k: v for k, v in os.environ.items() if k not in _THREADS}
        with open(address.with_suffix(".log"), "ab") as log:
            server = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "lowrank.running.warm_start",
                    str(address),
                    target,
                    str(owner),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and server.poll() is None:
            connection = _connect(address)
            if connection is not None:
                return connection
            time.sleep(0.05)
    return None


class _Server:
    """Forks on request; watches its children and its callers."""

    def __init__(self, address: Path, owner: int) -> None:
        self.address, self.owner = address, owner
        torch = sys.modules.get("torch")
        self.threads = torch.get_num_threads() if torch else 1
        if torch is not None:
            # A fork has none of its parent's threads, and would wait for them for ever.
            torch.set_num_threads(1)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(address))
        self.listener.listen(64)
        self.children: dict[int, socket.socket] = {}
        self.last_request = time.monotonic()

    def serve(self) -> None:
        while self._is_wanted():
            readable, _, _ = select.select([self.listener, *self.children.values()], [], [], 0.05)
            for ready in readable:
                if ready is self.listener:
                    self._fork(self.listener.accept()[0])
                else:
                    self._kill_child_of(ready)  # a caller speaks once: now it is gone
            self._reap()
        self.address.unlink(missing_ok=True)  # while it listens: no other server is there yet
        self.listener.close()
        for child in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)

    def _is_wanted(self) -> bool:
        if not Path(f"/proc/{self.owner}").exists():
            return False
        return bool(self.children) or time.monotonic() - self.last_request < IDLE_SECONDS

    def _fork(self, caller: socket.socket) -> None:
        self.last_request = time.monotonic()
        try:
            request, streams = _receive(caller)
        except (OSError, ValueError):
            caller.close()
            return
        _prepare(request)
        child = os.fork()
        if child == 0:
            os.setsid()
            self.listener.close()
            for other in self.children.values():
                other.close()
            with caller, contextlib.suppress(OSError):
                caller.sendall(_ACCEPTED)
            _work(request, streams, self.threads)
        for stream in streams:
            os.close(stream)
        self.children[child] = caller

    def _kill_child_of(self, caller: socket.socket) -> None:
        for child, its_caller in self.children.items():
            if its_caller is caller:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)

    def _reap(self) -> None:
        for child in list(self.children):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                caller = self.children.pop(child)
                with contextlib.suppress(OSError):
                    if os.WIFEXITED(status):
                        caller.sendall(str(os.WEXITSTATUS(status)).encode())
                caller.close()
                self.last_request = time.monotonic()


def _prepare(request: dict[str, Any]) -> None:
    """Let the target's module load what its jobs share; a fork gets it without a copy.

    A failure is left to the job, which meets it again and reports it.
    """
    with contextlib.suppress(Exception), contextlib.chdir(request["folder"]):
        module = importlib.import_module(request["target"].partition(":")[0])
        getattr(module, "prepare", lambda *_: None)(*request["arguments"])


def _work(request: dict[str, Any], streams: Sequence[int], threads: int) -> None:
    """Do one job in the fork, with `threads` unless it says how many, and end the process."""
    status = 1
    try:
        for source, target in zip(streams, (1, 2), strict=True):
            os.dup2(source, target)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", threads)))
        status = _call(request["target"], request["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _call(target: str, arguments: Sequence[Any]) -> int:
    from lowrank.base import cli

    listed = [value if isinstance(value, list) else [value] for value in arguments]
    named = [value for values in listed for value in values if isinstance(value, str)]
    try:
        cli.run(lambda: _function(target)(*arguments), target.rpartition(":")[2], named)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def _function(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


if __name__ == "__main__":
    _function(sys.argv[2])
    _Server(Path(sys.argv[1]), int(sys.argv[3])).serve()
