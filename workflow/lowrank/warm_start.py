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

from lowrank.files import exclusive_lock

VARIABLE = "LOWRANK_WARM_START"
"""`pid:folder` of the run that jobs may share servers with."""

IDLE_SECONDS = 60.0
START_SECONDS = 120.0


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
    Whether it was done; False if there is no server to ask.

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
    address = Path(folder) / f"{_library_digest()}.sock"
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
        payload = json.dumps(request).encode()
        streams = array.array("i", [1, 2])
        connection.sendmsg(
            [len(payload).to_bytes(8, "big")],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)],
        )
        connection.sendall(payload)
        answer = connection.recv(16)
    if not answer:
        raise RuntimeError("the process that ran the job was killed (out of memory?)")
    if int(answer.decode()):
        raise SystemExit(int(answer.decode()))
    return True


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
        with open(address.with_suffix(".log"), "ab") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "lowrank.warm_start", str(address), target, str(owner)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and server.poll() is None:
            connection = _connect(address)
            if connection is not None:
                return connection
            time.sleep(0.05)
    return None


def _library_digest() -> str:
    digest = hashlib.sha256(sys.executable.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class _Server:
    """Forks on request; watches its children and its callers."""

    def __init__(self, address: Path, owner: int) -> None:
        self.owner = owner
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
            header, ancillary, _, _ = caller.recvmsg(8, socket.CMSG_SPACE(2 * 4))
            streams = array.array("i")
            streams.frombytes(ancillary[0][2])
            size, payload = int.from_bytes(header, "big"), b""
            while len(payload) < size:
                payload += caller.recv(size - len(payload))
            request = json.loads(payload)
        except (OSError, IndexError, ValueError):
            caller.close()
            return
        _prepare(request)
        child = os.fork()
        if child == 0:
            os.setsid()
            self.listener.close()
            caller.close()
            _work(request, streams)
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
    module = importlib.import_module(request["target"].partition(":")[0])
    with contextlib.suppress(Exception), contextlib.chdir(request["folder"]):
        getattr(module, "prepare", lambda *_: None)(*request["arguments"])


def _work(request: dict[str, Any], streams: Sequence[int]) -> None:
    """Do one job in the fork, and end the process."""
    status = 1
    try:
        for source, target in zip(streams, (1, 2), strict=True):
            os.dup2(source, target)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        torch = sys.modules.get("torch")
        if torch is not None and "OMP_NUM_THREADS" in os.environ:
            torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        status = _call(_function(request["target"]), request["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _call(function: Callable[..., Any], arguments: Sequence[Any]) -> int:
    from lowrank import cli

    try:
        cli.run(lambda: function(*arguments))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def _function(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


if __name__ == "__main__":
    _function(sys.argv[2])
    _Server(Path(sys.argv[1]), int(sys.argv[3])).serve()
    with contextlib.suppress(FileNotFoundError):
        Path(sys.argv[1]).unlink()
