"""Jobs in forks of a warm server: same work, own process, own end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lowrank.running import warm_start

TARGET = '''
"""What the tests ask a server to do."""

import os
import sys
import time

from lowrank.base.errors import LowrankError


shared = []
torch = __import__("torch") if os.environ.get("WITH_TORCH") else None


def multiply():
    return torch.ones(512, 512) @ torch.ones(512, 512) + torch.exp(torch.ones(512, 512))


def prepare(kind, path):
    if not shared:
        shared.append(os.getpid())
    if torch is not None:
        multiply()


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
    elif kind == "multiply":
        multiply()
        with open(path, "w") as file:
            file.write(str(torch.get_num_threads()))
    else:
        with open(path, "w") as file:
            file.write(str(os.getpid()))
        time.sleep(60)
'''

CLIENT = """
import sys
from lowrank.running.warm_start import run_warm
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
    except (
        FileNotFoundError,
        ProcessLookupError,
    ):  # before the file is opened, and while it is read
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


def test_work_on_two_threads_does_not_wait_for_its_parents_threads(ask):
    ask.environment |= {"WITH_TORCH": "1", "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    job = ask("multiply")
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 0, errors
    assert (ask.folder / "out").read_text() == "2"


def open_files(pid):
    links = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(path.readlink()))
        except FileNotFoundError:
            continue
    return links


def test_a_caller_that_dies_while_it_speaks_costs_the_server_nothing(ask):
    job = ask("write", "one")
    job.communicate(timeout=60)
    server = int((ask.folder / "one").read_text().split()[2])
    before = len(open_files(server))
    for payload in (b"", b'{"target": '):
        caller = warm_start._connect(warm_start._address(ask.place))
        streams = (
            socket.SOL_SOCKET,
            socket.SCM_RIGHTS,
            b"".join(n.to_bytes(4, "little") for n in (1, 2)),
        )
        caller.sendmsg([(100).to_bytes(8, "big")], [streams])
        caller.sendall(payload)
        caller.close()
    job = ask("write", "two")
    job.communicate(timeout=60)
    assert job.returncode == 0
    assert (ask.folder / "two").read_text().split()[2] == str(server)
    wait_until(lambda: len(open_files(server)) == before)


def test_a_job_holds_no_other_callers_connection(ask):
    jobs = [ask("sleep", "one")]
    wait_until(lambda: (ask.folder / "one").exists() and (ask.folder / "one").read_text())
    jobs.append(ask("sleep", "two"))
    wait_until(lambda: (ask.folder / "two").exists() and (ask.folder / "two").read_text())
    worker = int((ask.folder / "two").read_text())
    assert not [link for link in open_files(worker) if link.startswith("socket:")]
    for job in jobs:
        job.kill()
        job.communicate()


def test_a_server_that_ends_before_it_begins_leaves_the_work_to_the_caller(ask):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(warm_start._address(ask.place)))
        listener.listen()
        job = ask("write")
        listener.accept()[0].close()
        job.communicate(timeout=60)
    assert job.returncode == 99


def test_a_path_too_long_for_a_socket_means_no_server(ask):
    place = ask.place / ("x" * 100)
    place.mkdir()
    ask.environment["LOWRANK_WARM_START"] = f"{ask.owner.pid}:{place}"
    job = ask("write")
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 99 and "too long for a socket" in errors
    assert not list(place.iterdir())
