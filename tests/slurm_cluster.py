"""A real single-node SLURM of one's own: started from a folder, stopped by process id.

Needs Debian's packages `slurm-wlm` and `munge`, and root, as whom the daemons run. Job steps look
for their configuration in /etc/slurm alone: links are put there, and taken away again.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
GPUS = 2
PLACE = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf")


def reason_against() -> str | None:
    """Return why no cluster can be started here, or None."""
    missing = [name for name in PROGRAMS if program(name) is None]
    if missing:
        return f"{missing[0]} is not installed (apt install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "SLURM's daemons need root"
    if any(os.path.lexists(PLACE / name) and not _is_abandoned(PLACE / name) for name in FILES):
        return f"this machine has a SLURM configuration of its own in {PLACE}"
    return None


def program(name: str) -> str | None:
    """Return the path of a daemon or command, which Debian may keep out of PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _is_abandoned(path: Path) -> bool:
    """Return whether a configuration is the link of a cluster of ours that was killed."""
    if not path.is_symlink():
        return False
    with contextlib.suppress(OSError, ValueError):
        process = int((path.resolve().parent / "slurmctld.pid").read_text())
        name = Path(f"/proc/{process}/comm").read_text()
        return name.strip() != "slurmctld"
    return "cluster" in path.readlink().parts


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Run a cluster of one node with fake GPUs; yield the variables that its commands need."""
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    started: list[subprocess.Popen[bytes]] = []
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    _write_configuration(folder)
    PLACE.mkdir(exist_ok=True)
    for name in FILES:
        (PLACE / name).unlink(missing_ok=True)  # what a killed cluster left
        (PLACE / name).symlink_to(folder / name)

    def start(name: str, *arguments: str) -> None:
        log = open(folder / f"{name}.log", "ab")  # noqa: SIM115 - the daemon's for its life
        command = [str(program(name)), *arguments]
        started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))

    try:
        socket_path = folder / "munge" / "socket"
        start(
            "munged",
            "--foreground",
            "--force",
            f"--key-file={folder / 'munge' / 'key'}",
            f"--socket={socket_path}",
            f"--pid-file={folder / 'munge' / 'pid'}",
            f"--log-file={folder / 'munge' / 'log'}",
            f"--seed-file={folder / 'munge' / 'seed'}",
        )
        _wait(socket_path.exists, "munged", folder)
        start("slurmctld", "-D", "-i")
        start("slurmd", "-D", "-N", "node")

        def is_idle() -> bool:
            asked = subprocess.run(
                ["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True
            )
            return asked.stdout.strip() in ("idle", "mixed")

        _wait(is_idle, "slurmctld", folder)
        yield environment
    finally:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            # What a test left in the queue would outlive the daemons.
            cancel = [str(program("scancel")), "--full", "--user=root"]
            subprocess.run(cancel, env=environment, capture_output=True, timeout=20)
            _wait_until_empty(environment)
        for name in FILES:
            (PLACE / name).unlink(missing_ok=True)
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            if process.poll() is None:
                process.kill()


def _wait_until_empty(environment: dict[str, str], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        asked = [str(program("squeue")), "--noheader"]
        left = subprocess.run(asked, env=environment, capture_output=True, timeout=20)
        if left.returncode or not left.stdout.strip():
            return
        time.sleep(0.5)


def _write_configuration(folder: Path) -> None:
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(mode=0o755)
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    devices = []
    for index in range(GPUS):
        devices.append(folder / f"gpu{index}")
        os.mknod(devices[-1], 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    host = socket.gethostname()
    controller, daemon = (_free_port() for _ in range(2))
    (folder / "gres.conf").write_text(
        "".join(f"NodeName=node Name=gpu File={device}\n" for device in devices)
    )
    (folder / "slurm.conf").write_text(f"""\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
MpiDefault=none
ReturnToService=2
KillWait=1
GresTypes=gpu
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=64000 Gres=gpu:{GPUS}
PartitionName=all Nodes=node Default=YES MaxTime=INFINITE State=UP
""")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(condition: object, name: str, folder: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            tail = (folder / f"{name}.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{name} did not come up in {seconds:.0f} s:\n{tail}")
        time.sleep(0.2)
