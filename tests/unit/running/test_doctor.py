"""What the doctor says of machines that lack this or that."""

import http.server
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_nvml import FakeNvml
from lowrank.base.files import merge, read_yaml
from lowrank.running import doctor
from lowrank.running.doctor import BROKEN, LACKING, OK


def test_pins_are_what_is_installed(tmp_path):
    import pytest as installed

    lock = tmp_path / "lock"
    lock.write_text(f"# a comment\npytest=={installed.__version__}\n")
    assert doctor._pins(lock).state == OK
    lock.write_text("pytest==0.1\nno-such-package==1.0\n")
    finding = doctor._pins(lock)
    assert finding.state == BROKEN
    assert "2 differ (pytest" in finding.says
    assert finding.remedy == "rm -rf .venv && make setup"


@pytest.mark.parametrize(("free", "state"), [(7e9, BROKEN), (9e9, OK)])
def test_disk(monkeypatch, free, state):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert doctor._disk().state == state


def test_no_slurm(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert doctor._slurm().state == LACKING


@pytest.mark.parametrize(
    ("script", "state", "says"),
    [
        ("echo 'gpu*'; echo cpu", OK, "gpu*, cpu; jobs are asked for by squeue"),
        ("echo 'no controller' >&2; exit 1", LACKING, "no controller"),
        ("sleep 30", LACKING, "does not answer"),
    ],
)
def test_slurm_answers_fails_or_hangs(monkeypatch, tmp_path, script, state, says):
    for name in ("sbatch", "sinfo"):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(doctor, "SECONDS", 0.5)
    finding = doctor._slurm()
    assert finding.state == state
    assert says in finding.says


def test_a_hub_that_answers_and_one_that_does_not(monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert doctor._hub().state == OK
    assert doctor._hub().state == LACKING


def test_a_mirror_that_is_no_directory_is_a_problem(monkeypatch, tmp_path):
    monkeypatch.setenv("LOWRANK_MIRROR", str(tmp_path / "missing"))
    assert doctor._mirror().state == BROKEN


def test_a_check_that_fails_or_hangs_is_a_line_of_its_own(monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", 0.2)

    def fail():
        raise ZeroDivisionError("of nothing\nat all")

    checks = {"good": lambda: doctor.Finding("good", OK, "fine"), "bad": fail}
    checks["hung"] = lambda: threading.Event().wait()
    good, bad, hung = doctor._bounded(checks)
    assert good.state == OK
    assert str(bad) == " problem  bad: cannot be checked (ZeroDivisionError: of nothing at all)"
    assert hung.state == LACKING and "no answer" in hung.says


def test_a_name_server_that_never_answers_does_not_hold_up_the_command(monkeypatch):
    script = """
import runpy, socket, sys, threading
socket.getaddrinfo = lambda *arguments, **options: threading.Event().wait()
sys.argv = ["doctor.py", "--folder", "config"]
runpy.run_path("workflow/scripts/doctor.py", run_name="__main__")
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "LOWRANK_"))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | {"PYTHONPATH": "workflow"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "without  hub: no answer in" in done.stdout, done.stderr
    assert "Traceback" not in done.stderr


def gpus_of(monkeypatch, *cards):
    """Let NVML know cards, each a name and its bytes."""
    nvml = FakeNvml(uuids=[f"GPU-{number}" for number in range(len(cards))])
    known = dict(zip(nvml.uuids, cards, strict=True))
    nvml.nvmlDeviceGetName = lambda handle: known[handle][0]
    nvml.nvmlDeviceGetMemoryInfo = lambda handle: SimpleNamespace(total=known[handle][1])
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)


def test_gpus_are_those_that_may_be_leased(monkeypatch):
    gpus_of(monkeypatch, *4 * [("H100", 80e9)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    finding = doctor._gpus()
    assert finding.says == "2 × H100, 80 GB (CUDA_VISIBLE_DEVICES=1,3)"
    assert finding.remedy.endswith("gpu=2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert doctor._gpus().remedy.endswith("gpu=4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert doctor._gpus().state == LACKING and "gpu=" not in str(doctor._gpus())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    assert doctor._gpus().state == LACKING
    assert doctor._gpus().says.startswith("3,4 cannot be asked: NVML does not know this GPU")


def test_a_number_is_no_certain_gpu_where_cards_differ(monkeypatch):
    gpus_of(monkeypatch, ("T4", 16e9), ("H100", 80e9))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    finding = doctor._gpus()
    assert finding.says == "1 × T4 or H100, 16 GB (CUDA_VISIBLE_DEVICES=0)"
    assert finding.amount == 16e9
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    assert doctor._gpus().says.startswith("1 × H100, 80 GB (")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert doctor._gpus().says.startswith("1 × H100, 80 GB (")


def test_without_a_driver_gpus_are_lacking_and_why_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(fault="missing"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    finding = doctor._gpus()
    assert finding.state == LACKING
    assert finding.says.endswith("NVML cannot be used (NVML Shared Library Not Found)")


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "4000000\n"}, 4e6),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, None),
        (
            {
                "proc/self/cgroup": "3:cpu:/\n7:memory:/job\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "5000000\n",
            },
            5e6,
        ),
        ({}, None),
    ],
)
def test_memory_is_what_the_control_group_allows(tmp_path, files, limit):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert doctor.memory_limit(tmp_path) == (limit or machine)


@pytest.mark.parametrize(("status", "state"), [(200, OK), (401, LACKING), (403, LACKING)])
def test_the_hub_is_asked_whether_it_gives_a_gated_model(tmp_path, status, state):
    asked = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(status)
            if status != 200:
                self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("ETag", '"a"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", "2")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "LOWRANK_"))}
    endpoint = f"http://127.0.0.1:{server.server_port}"
    done = run_doctor(environment | {"HF_TOKEN": "hf_secret", "HF_ENDPOINT": endpoint})
    server.shutdown()
    server.server_close()
    assert asked[0][0].startswith("/meta-llama/") and asked[0][1] == "Bearer hf_secret"
    (line,) = [line for line in done.stdout.splitlines() if "licences:" in line]
    assert line.split()[0] == state, done.stdout
    assert ("accept the licence" in line) == (state == LACKING)
    assert "hf_secret" not in done.stdout + done.stderr


def test_an_offline_hub_is_not_asked(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert doctor._hub().says.startswith("HF_HUB_OFFLINE is set")
    config = read_yaml("config/config.yaml")
    assert doctor._licences(config, "config").says == "the hub is not asked"


def found(**changes):
    made = {
        name: doctor.Finding(name, OK, "", amount=1e12)
        for name in ("pins", "disk", "memory", "GPUs", "hub", "licences")
    }
    return made | {name: doctor.Finding(name, LACKING, "", amount=1e9) for name in changes}


PAPER = doctor.Scale("paper", "run it", read_yaml("config/config.yaml"))
LAPTOP = doctor.Scale(
    "laptop", "run it", merge(read_yaml(f"config/{name}.yaml") for name in ("config", "laptop"))
)


@pytest.mark.parametrize(
    ("scale", "lacking", "state", "says"),
    [
        (PAPER, (), OK, "can run here"),
        (PAPER, ("GPUs",), LACKING, "lacks a GPU with 13 GB or more"),
        (PAPER, ("disk",), LACKING, "GB of disk"),
        (PAPER, ("hub",), LACKING, "lacks the hub (for llama-2-7b-chat, bert-base-squad"),
        (PAPER, ("licences",), LACKING, "lacks a licence or token"),
        (LAPTOP, ("GPUs", "hub", "licences"), OK, "can run here, without truthfulqa"),
        (LAPTOP, ("memory",), BROKEN, "lacks 8 GB of memory"),
        (LAPTOP, ("pins",), BROKEN, "lacks the pinned packages"),
    ],
)
def test_each_scale_says_what_it_lacks(monkeypatch, scale, lacking, state, says):
    monkeypatch.delenv("LOWRANK_MIRROR", raising=False)
    monkeypatch.delenv("LOWRANK_HUB", raising=False)
    finding = doctor._scale(scale, "config", found(**dict.fromkeys(lacking)))
    assert finding.state == state
    assert says in finding.says
    assert "LOWRANK_HUB" not in os.environ


def test_the_mirror_of_the_configuration_counts(monkeypatch, tmp_path):
    monkeypatch.delenv("LOWRANK_MIRROR", raising=False)
    with doctor._surroundings({"mirror": str(tmp_path)}):
        assert doctor._mirror().says == str(tmp_path)
    assert doctor._mirror().state == LACKING


def run_doctor(environment):
    return subprocess.run(
        [sys.executable, "workflow/scripts/doctor.py", "--folder", "config"],
        env=environment | {"PYTHONPATH": "workflow"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_ends_with_one_line_a_check():
    done = run_doctor(dict(os.environ))
    lines = done.stdout.splitlines()
    assert len(lines) == 13
    assert all(line.split()[0] in (OK, LACKING, BROKEN) for line in lines)
    assert done.returncode == any(line.split()[0] == BROKEN for line in lines), done.stderr
    assert Path("requirements.lock").name in done.stdout
