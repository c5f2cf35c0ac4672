"""Jobs in forks of a warm server: same work, own process, own end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TARGET = '''
"""What the tests ask a server to do."""

import os
import sys
import time

from lowrank.errors import LowrankError


shared = []


def prepare(kind, path):
    if not shared:
        shared.append(os.getpid())


def work(kind, path):
    if kind == "write":
        print("spoken to", os.environ["WHO"], file=sys.stderr)
        with open(path, "w") as file:
            file.write(f"{os.getcwd()} {os.getpid()} {os.getppid()} {shared[0]}")
    elif kind == "fail":
        raise LowrankError("one clear line")
    elif kind == "crash":
        raise ValueError("a bug")
    elif kind == "die":
        os.kill(os.getpid(), 9)
    else:
        with open(path, "w") as file:
            file.write(str(os.getpid()))
        time.sleep(60)
'''

CLIENT = """
import sys
from lowrank.warm_start import run_warm
sys.exit(0 if run_warm("warm_target:work", sys.argv[1:]) else 99)
"""


@pytest.fixture
def ask(tmp_path, monkeypatch):
    (tmp_path / "warm_target.py").write_text(TARGET)
    owner = subprocess.Popen(["sleep", "100"])
    place = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    environment = {
        **{key: value for key, value in os.environ.items() if key != "SLURM_JOB_ID"},
        "LOWRANK_WARM_START": f"{owner.pid}:{place}",
        "PYTHONPATH": f"{Path('workflow').resolve()}:{tmp_path}",
        "WHO": "me",
    }

    def start(kind, name="out"):
        return subprocess.Popen(
            [sys.executable, "-c", CLIENT, kind, str(tmp_path / name)],
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    start.folder, start.owner, start.place, start.environment = tmp_path, owner, place, environment
    yield start
    owner.kill()
    owner.wait()


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def gone(pid):
    try:
        return json.dumps(Path(f"/proc/{pid}/stat").read_text().split(")")[1][1]) == '"Z"'
    except FileNotFoundError:
        return True


def test_work_is_done_in_forks_of_one_server(ask):
    parents = set()
    for name in ("one", "two"):
        job = ask("write", name)
        _, errors = job.communicate(timeout=60)
        assert job.returncode == 0 and "spoken to me" in errors
        folder, pid, parent, prepared = (ask.folder / name).read_text().split()
        assert prepared == parent  # in the server, once
        assert folder == str(ask.folder) and int(pid) not in (job.pid, os.getpid())
        parents.add(parent)
    assert len(parents) == 1
    ask.owner.kill()
    ask.owner.wait()  # the run is over: so is its server
    wait_until(lambda: gone(parents.copy().pop()))


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("fail", 1, "error: one clear line"),
        ("crash", 1, "ValueError: a bug"),
        ("die", 1, "the process that ran the job was killed"),
    ],
)
def test_failures_reach_the_caller(ask, kind, status, text):
    job = ask(kind)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == status and text in errors


def test_a_killed_caller_takes_its_work_along(ask):
    job = ask("sleep")
    path = ask.folder / "out"
    wait_until(lambda: path.exists() and path.read_text())
    worker = int(path.read_text())
    assert not gone(worker)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    wait_until(lambda: gone(worker))


def test_without_a_run_there_is_no_server(ask):
    del ask.environment["LOWRANK_WARM_START"]
    job = ask("write")
    job.communicate(timeout=60)
    assert job.returncode == 99
    ask.environment |= {"LOWRANK_WARM_START": f"{ask.owner.pid}:{ask.place}", "SLURM_JOB_ID": "1"}
    job = ask("write")
    job.communicate(timeout=60)
    assert job.returncode == 99
