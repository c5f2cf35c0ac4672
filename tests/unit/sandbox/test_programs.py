"""Programs that mean harm: each fails its problem, and this machine does not notice.

Each takes a bounded part, or asks with arguments that do nothing, so it were harmless outside, too.
"""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from lowrank.base.errors import LowrankError
from lowrank.sandbox import programs
from lowrank.sandbox.outcomes import (
    CRASHED,
    ENDED,
    FAILED,
    OUT_OF_MEMORY,
    PASSED,
    TIMED_OUT,
    TOO_LONG,
)
from lowrank.sandbox.programs import LIMITED, ROOM, Limits, Program, run_program, run_programs

TESTS = """
def check(candidate):
    assert candidate(2) == 4
    assert candidate(-3) == 9
check(square)
"""
RIGHT = "def square(x):\n    return x * x\n"
WRONG = "\ndef square(x):\n    return x\n"
SHORT, LONG = Limits(seconds=1.0), Limits(seconds=15.0, memory_mib=256)
"""For what never ends, and for what does, on a machine that has much else to do."""

WORKFLOW = Path(programs.__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def has_a_room():
    try:
        programs.sandbox_kind()
    except LowrankError as error:
        pytest.skip(str(error))


def outcome(text, limits=LONG, kind=ROOM, tests=TESTS):
    return run_program(Program(text, "square", tests), limits, kind)


def told(body, kind=ROOM, limits=LONG):
    """Whether a function of this body returns True: what a program sees, as it tells."""
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    return outcome(f"def square(x):\n{lines}\n", limits, kind, "assert square(0) is True") == PASSED


@pytest.mark.parametrize("kind", [ROOM, LIMITED])
def test_right_and_wrong_programs(kind):
    assert outcome(RIGHT, kind=kind) == PASSED
    assert outcome(WRONG, kind=kind) == FAILED
    assert outcome("def square(x):\n    return x *\n", kind=kind) == FAILED
    assert outcome("x = 1 / 0\n" + RIGHT, kind=kind) == FAILED
    assert outcome("def other(x):\n    return x * x\n", kind=kind) == FAILED
    assert outcome("square = 4\n", kind=kind) == FAILED


def test_the_library_of_python_is_there():
    names = (
        "math re heapq bisect hashlib zlib bz2 lzma decimal fractions statistics datetime ctypes"
    )
    text = f"import {', '.join(names.split())}, random, json, itertools, xml.etree.ElementTree\n"
    assert outcome(text + "from typing import *\n" + RIGHT) == PASSED


def test_threads_files_and_printing_are_allowed():
    text = """
import threading, sys
def square(x):
    found = []
    thread = threading.Thread(target=lambda: found.append(x * x))
    thread.start(); thread.join()
    print("so far", found); print("and here", file=sys.stderr); sys.stdout.flush()
    with open("notes", "w") as file:
        file.write(str(found[0]))
    return int(open("notes").read())
"""
    assert outcome(text) == PASSED


MANY = "(1, [2.5, None], {3, 4}, {'k': (True,)}, 2**200, 1j, b'x', float('inf'))"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Decimal('4.0')", "4"),
        ("Fraction(8, 2)", "4"),
        ("Counter('aab')", "{'a': 2, 'b': 1}"),
        (MANY, MANY),
        ("namedtuple('P', 'a b')(1, 2)", "(1, 2)"),
    ],
)
def test_answers_that_are_equal_without_being_the_same(answer, expected):
    text = "from decimal import *\nfrom fractions import *\nfrom collections import *\n"
    text += f"def square(x):\n    return {answer}\n"
    assert outcome(text, tests=f"assert square(0) == {expected}") == PASSED


FORGED = {
    "ends with success": ("import sys\nsys.exit(0)", FAILED),
    "ends at once": ("import os\nos._exit(0)", ENDED),
    "ends when asked": ("import os\ndef square(x):\n    os._exit(0)", ENDED),
    "raises the end when asked": ("def square(x):\n    raise SystemExit(0)", FAILED),
    "says that it passed": (
        f"import os\nfor d in range(64):\n    try: os.write(d, b'begun\\npassed\\n')\n"
        f"    except OSError: pass{WRONG}",
        None,
    ),
    "says it as the guard does": (
        f"import os\nfor d in (0, 1, 2, 5, 6, 7):\n"
        f'    try: os.write(d, b\'{{"outcome": "passed"}}\')\n    except OSError: pass{WRONG}',
        FAILED,
    ),
    "answers before it is asked": (
        "import os, json\nfor m in [{'value': True}] * 9:\n    c = json.dumps(m).encode()\n"
        f"    os.write(4, len(c).to_bytes(4, 'big') + c){WRONG}",
        FAILED,
    ),
    "equals everything": (
        "class E:\n    def __eq__(self, other): return True\n    def __hash__(self): return 0\n"
        "def square(x):\n    return E()",
        FAILED,
    ),
    "is a number that equals everything": (
        "class E(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
        "def square(x):\n    return E(x)",
        FAILED,
    ),
    "is a list that equals everything": (
        "class E(list):\n    def __eq__(self, other): return True\ndef square(x):\n    return E()",
        FAILED,
    ),
    "replaces check": (f"def check(candidate): pass{WRONG}", FAILED),
    "replaces errors": (
        "import builtins\nclass E(BaseException): pass\nbuiltins.AssertionError = E\n"
        f"builtins.abs = builtins.int = builtins.all = lambda *a: True{WRONG}",
        None,
    ),
    "replaces what it is run by": (
        "import sys, os, json\nfrom lowrank.sandbox import inside, plain\n"
        "inside.PASSED = inside.FAILED = 'passed'\nplain.encode = lambda v: True\n"
        f"plain.decode = lambda v: 4\njson.dumps = lambda m: '{{\"value\": true}}'{WRONG}",
        None,
    ),
    "traces": (
        "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)" + WRONG,
        FAILED,
    ),
    "changes frames around it": (
        "import sys\nframe = sys._getframe()\nwhile frame:\n"
        "    frame.f_globals.update(FAILED='passed', ENDED='passed')\n    frame = frame.f_back"
        + WRONG,
        FAILED,
    ),
    "hooks the end": ("import atexit, os\natexit.register(os._exit, 0)" + WRONG, FAILED),
    "closes everything": (f"import os\nos.closerange(0, 64){WRONG}", ENDED),
    "closes and stays": ("import os, time\nos.close(4)\ntime.sleep(30)" + WRONG, ENDED),
    "answers nonsense": (f"import os\nos.write(4, b'\\0\\0\\0\\2[]'){WRONG}", FAILED),
    "answers without an end": ("import os\nos.write(4, b'\\0\\0\\1\\0')" + WRONG, TIMED_OUT),
    "answers too long": ("import os\nos.write(4, b'\\xff\\xff\\xff\\xff')" + WRONG, TOO_LONG),
    "has a long answer": ("def square(x):\n    return 'x' * (5 << 20)", TOO_LONG),
    "has a deep answer": (
        "import os\nc = b'{\"value\": ' + b'[' * 100000 + b']' * 100000 + b'}'\n"
        "os.write(4, (len(c)).to_bytes(4, 'big') + c[:60000])" + WRONG,
        None,
    ),
    "answers with itself": ("def square(x):\n    a = []\n    a.append(a)\n    return a", FAILED),
}


FORGED |= {
    "has an error without a name": (
        "class M(type):\n    __name__ = property(lambda own: object())\n"
        "class E(BaseException, metaclass=M): pass\ndef square(x):\n    raise E",
        ENDED,
    ),
    "ends in a signal handler": (
        "import os, signal\nsignal.signal(14, lambda *a: os._exit(0))\n"
        "signal.setitimer(0, 0.1)\nwhile True: pass",
        ENDED,
    ),
    "ends by the fault handler": (
        "import faulthandler\nfaulthandler.dump_traceback_later(0.1, exit=True)\nwhile True: pass",
        ENDED,
    ),
    "ends in a copy": (
        "import os, pickle\nclass E:\n    def __reduce__(self): return os._exit, (0,)\n"
        "pickle.loads(pickle.dumps(E()))",
        ENDED,
    ),
    "says that it is a number": (
        "class E:\n    __class__ = int\n    def __eq__(self, other): return True\n"
        "    def __int__(self): return 5\n    __lt__ = __gt__ = lambda *_: True\n"
        "def square(x):\n    return E()",
        FAILED,
    ),
    "is no number": ("def square(x):\n    return float('nan')", FAILED),
    "is a fraction without end": (
        "class Fraction:\n    def __str__(self): return '1e99999999999'\n"
        "def square(x):\n    return Fraction()",
        TIMED_OUT,
    ),
    "is a collection without end": (
        "class E(dict):\n    def items(self):\n        while True: yield 1, 1\n"
        "def square(x):\n    return E()",
        TIMED_OUT,
    ),
    "takes imports away": (
        "import sys\nclass E:\n    def find_spec(*_): raise SystemExit\n"
        f"sys.meta_path.insert(0, E())\nsys.modules.clear(){WRONG}",
        FAILED,
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_forges_its_success(name):
    text, expected = FORGED[name]
    found = outcome(text, SHORT if expected in (None, TIMED_OUT) else LONG)
    assert found != PASSED
    assert expected is None or found == expected


def test_a_program_cannot_find_its_tests():
    """Nothing in its memory holds them: neither its objects nor the pages below these."""
    text = """
import gc, ctypes
def square(x):
    word = "".join(["TREA", "SURE"])
    objects = [o for o in gc.get_objects() if isinstance(o, (dict, list, tuple))]
    texts = [v for o in objects for v in (o.values() if isinstance(o, dict) else o)]
    return any(isinstance(t, (str, bytes)) and word in str(t) for t in texts)
"""
    assert outcome(text, tests="TREASURE = square(0)\nassert TREASURE is False") == PASSED
    kept = "KEPT = 'TREA' 'SURE'\n" + text
    assert outcome(kept, tests="TREASURE = square(0)\nassert TREASURE is True") == PASSED


HOSTILE = {
    "loops": ("while True: pass", TIMED_OUT),
    "loops when asked": ("def square(x):\n    while True: pass", TIMED_OUT),
    "sleeps": ("import time\ntime.sleep(60)", TIMED_OUT),
    "catches every end": (
        "def square(x):\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass",
        TIMED_OUT,
    ),
    "ignores signals": (
        "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass",
        TIMED_OUT,
    ),
    "holds the interpreter": ("def square(x):\n    return 3 ** (10 ** 9)", TIMED_OUT),
    "computes a regular expression": (
        "import re\ndef square(x):\n    re.match('(a*)*b', 'a' * 60)",
        TIMED_OUT,
    ),
    "starts processes without end": (
        "import os, time\nstarted = 0\nwhile started < 50:\n    try:\n"
        "        if os.fork() == 0:\n            time.sleep(2)\n            os._exit(0)\n"
        "        started += 1\n    except OSError: pass",
        TIMED_OUT,
    ),
    "starts one process": ("import os\nos.fork()" + WRONG, FAILED),
    "leaves a daemon": (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        time.sleep(20)\n    os._exit(0)" + WRONG,
        FAILED,
    ),
    "starts a shell": ("import os\nos.system('true')" + WRONG, FAILED),
    "starts a program": ("import subprocess\nsubprocess.run(['/bin/true'])" + WRONG, FAILED),
    "starts workers": (
        "import multiprocessing as m\nm.Process(target=print).start()" + WRONG,
        FAILED,
    ),
    "starts threads without end": (
        "import threading, time\nwhile True:\n    try:\n"
        "        threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "    except RuntimeError: pass",
        None,
    ),
    "leaves threads": (
        "import threading\ndef run():\n    while True: pass\n"
        "for _ in range(8): threading.Thread(target=run).start()" + WRONG,
        None,
    ),
    "wants ten gigabytes": ("x = bytearray(10 << 30)", OUT_OF_MEMORY),
    "wants more and more": ("x = [' ' * (1 << 26) for _ in range(32)]", OUT_OF_MEMORY),
    "maps memory in pieces": (
        "import mmap\nx = [mmap.mmap(-1, 1 << 26) for _ in range(99)]",
        None,
    ),
    "hides memory in files without a name": (
        "import os\nx = [os.memfd_create('x') for _ in range(9)]" + WRONG,
        FAILED,
    ),
    "recurses": ("def square(x):\n    return square(x)", FAILED),
    "recurses below Python": (
        "import sys\nsys.setrecursionlimit(1 << 30)\ndef square(x):\n    return [square(x)]",
        None,
    ),
    "prints without end": ("while True: print('x' * (1 << 16), end='')", TIMED_OUT),
    "answers without being asked": (
        "import os\nwhile True: os.write(4, b'\\0\\0\\0\\x0e{\"value\": true}')",
        None,
    ),
    "fills the disk": (
        "with open('x', 'wb') as file:\n    for _ in range(256): file.write(bytes(1 << 20))\n"
        + RIGHT,
        FAILED,
    ),
    "makes files without end": (
        "for i in range(5000): open(f'x{i}', 'w').close()\n" + RIGHT,
        FAILED,
    ),
    "makes folders without end": (
        "import os\nfor _ in range(999):\n    os.mkdir('d')\n    os.chdir('d')\n" + RIGHT,
        FAILED,
    ),
    "crashes": ("import ctypes\nctypes.string_at(0)", CRASHED),
    "aborts": ("import os\nos.abort()", CRASHED),
    "overwrites its interpreter": (
        "import ctypes\nctypes.memset(id(int), 255, 4096)\nint(3)" + WRONG,
        None,
    ),
    "overwrites Python": ("import os\nopen(os.__file__, 'r+b')\n" + RIGHT, FAILED),
    "turns off limits": (
        "import resource as r\nr.setrlimit(r.RLIMIT_CPU, (-1, -1))" + WRONG,
        FAILED,
    ),
    "makes a device": ("import os\nos.mknod('m', 0o20666, os.makedev(1, 1))" + WRONG, FAILED),
    "makes a queue": ("import os\nos.mkfifo('m')" + WRONG, FAILED),
    "catches every lack of memory": (
        "x = []\nwhile True:\n    try: x.append(bytearray(1 << 20))\n    except MemoryError: pass",
        TIMED_OUT,
    ),
    "is packed small": (
        "import zlib\npacked = zlib.compress(bytes(1 << 24))\n"
        "x = [zlib.decompress(packed) for _ in range(64)]",
        OUT_OF_MEMORY,
    ),
    "reads what is typed": ("input()\n" + RIGHT, FAILED),
    "waits for its next question": ("import os\nos.read(3, 9)\n" + RIGHT, TIMED_OUT),
    "opens a terminal": ("import pty\npty.fork()\n" + RIGHT, FAILED),
    "shares memory": (
        "from multiprocessing.shared_memory import SharedMemory\n"
        "SharedMemory(create=True, size=4096)\n" + RIGHT,
        FAILED,
    ),
    "sets an alarm": ("import signal\nsignal.alarm(1)\nwhile True: pass", None),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_takes_without_end(name):
    text, expected = HOSTILE[name]
    found = outcome(text, SHORT if expected in (None, TIMED_OUT) else LONG)
    assert found != PASSED
    assert expected is None or found == expected


def test_lack_of_memory_for_text_and_answer():
    little = Limits(seconds=15.0, memory_mib=90)
    assert outcome("#" + "x" * (64 << 20) + "\n" + RIGHT, little) == OUT_OF_MEMORY
    assert outcome("def square(x):\n    return 'x' * (30 << 20)", little) == OUT_OF_MEMORY


def test_nothing_outlives_its_run(monkeypatch):
    started = []
    start = subprocess.Popen

    def noted(*arguments, **options):
        started.append(start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(programs.subprocess, "Popen", noted)
    for name in ("ignores signals", "leaves a daemon", "leaves threads", "closes and stays"):
        outcome((HOSTILE | FORGED)[name][0], SHORT)
    sessions = {process.pid for process in started}
    assert len(sessions) == 4
    deadline = time.monotonic() + 5
    while left := [pid for pid in processes() if in_sessions(pid, sessions)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.mark.parametrize("kind", [ROOM, LIMITED])
def test_nothing_outlives_who_asked(kind, tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(WORKFLOW)!r})
from lowrank.sandbox.programs import *
run_program(Program("import time\\ntime.sleep(60)", "f", ""), Limits(seconds=60.0), {kind!r})
"""
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=variables) as asker:
        deadline = time.monotonic() + 20
        wanted = {ROOM: 5, LIMITED: 3}[kind]
        while len(started := descendants(asker.pid)) < wanted:
            assert time.monotonic() < deadline and asker.poll() is None, started
            time.sleep(0.05)
        asker.kill()
    deadline = time.monotonic() + 10
    while left := [pid for pid in started if Path(f"/proc/{pid}/fd").exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []


def descendants(pid):
    """Processes that one started, and that these did."""
    parents = {}
    for process in processes():
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[process] = int(fields[1])
    found = [pid]
    for own in found:
        found += [child for child, parent in parents.items() if parent == own]
    return found[1:]


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def in_sessions(pid, sessions):
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[3]) in sessions
    return False


def test_a_program_sees_no_file_of_this_machine(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s")
    places = [
        *(secret, WORKFLOW, Path.home() / ".ssh", Path.home() / ".bashrc", Path.cwd()),
        *("/etc", "/etc/passwd", "/etc/shadow", "/proc", "/proc/1/environ", "/sys", "/dev"),
        *("/dev/null", "/dev/mem", "/dev/sda", "/dev/shm", "/var", "/run", "/host", "/room"),
        *("/tmp/host", "/bin", "/boot"),
    ]
    assert secret.exists()
    assert told(f"""
import os
os.symlink({str(secret)!r}, "link")
os.symlink("/../../..", "up")
tricks = ["link", "up/etc/passwd", "/tmp/../../../etc/passwd", "/proc/self/root/etc/passwd",
          "/proc/self/fd/0", "/dev/fd/3", "//etc/passwd", "../" * 40 + "etc/passwd"]
return not any(map(os.path.exists, {list(map(str, places))} + tricks))
""")


def test_only_the_library_of_python_is_visible(tmp_path):
    assert told("""
import os, sys
library = os.path.dirname(os.__file__)
parts = library.split("/")[1:]
for depth in range(len(parts)):
    found = os.listdir("/" + "/".join(parts[:depth]))
    assert sorted(found) == sorted({parts[depth], "tmp"} if not depth else {parts[depth]}), found
packages = os.path.join(library, "site-packages")
assert not os.path.exists(packages) or os.listdir(packages) == []
return os.listdir("/tmp") == []
""")


def test_nothing_can_be_removed(tmp_path):
    """Neither in a folder of the test, nor what the room shows; the latter is opened, no more."""
    kept = tmp_path / "a" / "kept"
    kept.parent.mkdir()
    kept.write_text("k")
    text = f"""
import os, shutil
for folder, folders, files in os.walk({str(tmp_path)!r}, topdown=False):
    for path in [os.path.join(folder, name) for name in files + folders]:
        for change in (os.remove, os.rmdir, lambda p: os.rename(p, p + "x"),
                       lambda p: os.truncate(p, 0), lambda p: os.chmod(p, 0),
                       lambda p: open(p, "w"), lambda p: os.symlink("x", p + "y")):
            try:
                change(path)
            except OSError:
                pass
shutil.rmtree({str(tmp_path)!r}, ignore_errors=True)
"""
    for kind in (ROOM, LIMITED):
        assert outcome(text + RIGHT, kind=kind) == PASSED
        assert [path.name for path in tmp_path.rglob("*")] == ["a", "kept"]
        assert kept.read_text() == "k" and kept.stat().st_mode & 0o400
    assert told("""
import errno, os
library = os.path.dirname(os.__file__)
for folder, folders, files in os.walk(library):
    for name in files[:3]:
        try:
            os.open(os.path.join(folder, name), os.O_RDWR)
        except OSError as error:
            assert error.errno in (errno.EROFS, errno.EACCES)
        else:
            return False
return True
""")


def test_the_environment_is_empty(monkeypatch):
    monkeypatch.setenv("TOKEN_OF_A_TEST", "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nonexistent")
    for kind in (ROOM, LIMITED):
        assert told(
            """
import os, ctypes
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
names = (b"TOKEN_OF_A_TEST", b"LD_LIBRARY_PATH")
return dict(os.environ) == {} and not any(map(getenv, names))
""",
            kind,
        )


def test_there_is_no_network(tmp_path):
    address = str(tmp_path / "socket")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(address)
        local.listen()
        server.settimeout(0.2)
        local.settimeout(0.2)
        body = f"""
import socket
found = []
for family, kind in ((2, 1), (2, 2), (2, 3), (10, 1), (1, 1), (1, 2), (16, 3), (17, 3)):
    try:
        found.append(socket.socket(family, kind))
    except OSError:
        pass
for ask in (lambda: socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), 1),
            lambda: socket.gethostbyname("localhost.example.org"), lambda: socket.socketpair()):
    try:
        found.append(ask())
    except OSError:
        pass
return found == []
"""
        for kind in (ROOM, LIMITED):
            assert told(body, kind)
        for listening in (server, local):
            with pytest.raises(TimeoutError):
                listening.accept()


def test_signals_reach_nobody():
    """A signal of number 0 does nothing but say whether another one would be sent."""
    received = []
    before = signal.signal(signal.SIGUSR1, lambda *_: received.append(1))
    own = int(signal.SIGUSR1)
    try:
        for kind in (ROOM, LIMITED):
            assert told(
                f"""
import os, ctypes
libc = ctypes.CDLL(None)
targets = [(target, 0) for target in (-1, 0, 1, os.getppid(), os.getpid())]
for target, number in targets + [({os.getpid()}, {own}), ({threading.get_native_id()}, {own})]:
    for call in (62, 200, 129, 234):   # kill, tkill, rt_sigqueueinfo, tgkill
        if libc.syscall(call, target, number, number) != -1:
            return False
    try:
        os.kill(target, number)
    except OSError:
        continue
    return False
return True
""",
                kind,
            )
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == []


KERNEL = {
    **{"unshare": 272, "mount": 165, "umount": 166, "pivot_root": 155, "chroot": 161},
    **{"setns": 308, "open_tree": 428, "move_mount": 429, "fsopen": 430, "mount_setattr": 442},
    **{"ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312},
    **{"keyctl": 250, "add_key": 248, "request_key": 249, "bpf": 321, "userfaultfd": 323},
    **{"perf_event_open": 298, "io_uring_setup": 425, "memfd_create": 319, "memfd_secret": 447},
    **{"shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240, "socket": 41, "socketpair": 53},
    **{"setuid": 105, "setresuid": 117, "setgroups": 116, "capset": 126, "prctl": 157},
    **{"seccomp": 317, "personality": 135, "prlimit64": 302, "setrlimit": 160, "mknod": 133},
    **{"name_to_handle_at": 303, "open_by_handle_at": 304, "init_module": 175, "reboot": 169},
    **{"kexec_load": 246, "swapon": 167, "sethostname": 170, "settimeofday": 164},
    **{"clone3": 435, "execve": 59, "execveat": 322, "pidfd_open": 434},
    **{
        "pidfd_getfd": 438,
        "link": 86,
        "flock": 73,
        "fchmod": 91,
        "inotify_init": 253,
        "mlock": 149,
    },
    **{"timer_create": 222, "vmsplice": 278, "splice": 275, "setpriority": 141, "quotactl": 179},
    **{"sched_setaffinity": 203, "ioprio_set": 251, "landlock_create_ruleset": 444},
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")
@pytest.mark.parametrize("kind", [ROOM, LIMITED])
def test_the_kernel_has_no_other_calls(kind):
    assert told(
        f"""
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
for number in {sorted(KERNEL.values())} + [0x40000000 + 39] + list(range(450, 600)):
    ctypes.set_errno(0)
    assert libc.syscall(number, -1, -1, -1, -1, -1, -1) == -1, number
    assert ctypes.get_errno() == errno.ENOSYS, number
return True
""",
        kind,
    )


def test_a_room_does_not_keep_what_another_left():
    assert outcome("open('x', 'w').write('x')" + WRONG) == FAILED
    assert told("import os\nreturn os.listdir('/tmp') == []")


def test_it_is_nobody_without_rights():
    assert told("""
import os
return (os.getuid(), os.geteuid(), os.getgid(), os.getpid() < 4, os.uname().nodename) == (
    65534, 65534, 65534, True, "sandbox")
""")


def test_few_descriptors_are_open():
    assert told("""
import os
def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
return [number for number in range(1024) if is_open(number)] == [0, 1, 2, 3, 4]
""")


def test_programs_run_side_by_side_and_keep_their_order():
    made = [Program(text, "square", TESTS) for text in (RIGHT, WRONG, "while True: pass", RIGHT)]
    assert run_programs(made, Limits(seconds=4.0), ROOM, 3) == [PASSED, FAILED, TIMED_OUT, PASSED]


def test_limits_are_those_that_are_given():
    text = "x = bytearray(100 << 20)\n" + RIGHT
    assert outcome(text) == PASSED
    assert outcome(text, Limits(seconds=15.0, memory_mib=90)) == OUT_OF_MEMORY
    text = "import time\ntime.sleep(1)\n" + RIGHT
    assert outcome(text, Limits(seconds=20.0)) == PASSED
    assert outcome(text, Limits(seconds=0.2)) == TIMED_OUT
    text = "open('x', 'wb').write(bytes(3 << 20))\n" + RIGHT
    assert outcome(text, Limits(seconds=15.0, disk_mib=4)) == PASSED
    assert outcome(text, Limits(seconds=15.0, disk_mib=2)) == FAILED


def test_letters_that_are_none():
    assert outcome("# \ud800\n" + RIGHT) in (PASSED, FAILED)
    assert outcome("\0" + RIGHT) == FAILED


@pytest.fixture
def without_rooms(monkeypatch):
    """The kernel refuses new namespaces: in a user namespace whose owner allows no further one."""
    command = [*("unshare", "--user", "--map-root-user", "sh", "-c")]
    command += ['echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"', "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("util-linux's unshare cannot make a user namespace here")
    start = subprocess.Popen
    monkeypatch.setattr(
        programs.subprocess, "Popen", lambda own, **options: start([*command, *own], **options)
    )
    monkeypatch.setenv("PATH", os.environ["PATH"])
    programs._why_not.cache_clear()
    yield
    programs._why_not.cache_clear()


def test_without_a_room_it_refuses_in_one_line(without_rooms):
    with pytest.raises(LowrankError) as raised:
        programs.sandbox_kind()
    assert "\n" not in str(raised.value)
    assert "cannot be run safely here" in str(raised.value)
    assert "unshare" in str(raised.value) and "accept_risk" in str(raised.value)
    with pytest.raises(LowrankError, match=r"^the sandbox for generated programs failed: OSError"):
        outcome(RIGHT)
    assert programs.sandbox_kind(accept_risk=True) == LIMITED
    assert outcome(RIGHT, kind=LIMITED) == PASSED


def test_another_machine_is_refused_whatever_is_accepted(monkeypatch):
    programs._why_not.cache_clear()
    monkeypatch.setattr(programs.calls, "is_supported", lambda: False)
    try:
        with pytest.raises(LowrankError, match="x86-64 and aarch64; leave the benchmark out"):
            programs.sandbox_kind(accept_risk=True)
    finally:
        programs._why_not.cache_clear()


def test_a_broken_sandbox_is_no_outcome(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(LowrankError, match="it ended without a word"):
        outcome(RIGHT)
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    with pytest.raises(LowrankError, match="/nonexistent"):
        outcome(RIGHT)


def test_no_more_files_can_be_opened():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as file:
        resource.setrlimit(resource.RLIMIT_NOFILE, (file.fileno() + 1, hard))
        try:
            with pytest.raises(LowrankError, match="Too many open files"):
                outcome(RIGHT)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_it_needs_no_root():
    """Somebody without rights makes the same room; by the machine's own Python, if it has one."""
    python = Path("/usr/bin/python3")
    wanted = "import sys; sys.exit(sys.version_info < (3, 11))"
    somebody = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", str(python)]
    can = subprocess.run([*somebody, "-c", wanted], capture_output=True, check=False, cwd="/")
    if can.returncode:
        pytest.skip(f"nobody else can run Python 3.11 of {python}")
    code = f"""
import sys, json
sys.path.insert(0, {str(WORKFLOW)!r})
from lowrank.sandbox.programs import *
texts = [{RIGHT!r}, {WRONG!r}, "import os\\nos.fork()"]
print(sandbox_kind(), [run_program(Program(text, "square", {TESTS!r})) for text in texts])
"""
    done = subprocess.run(
        [*somebody, "-B", "-c", code], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.stdout.strip() == f"{ROOM} {[PASSED, FAILED, FAILED]}", done.stderr


def test_threads_share_one_limit_of_memory():
    text = """
import threading
kept = []
def take():
    try:
        kept.append(bytearray(90 << 20))
    except MemoryError:
        kept.append(None)
def square(x):
    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return sum(own is not None for own in kept)
"""
    assert outcome(text, tests="assert square(0) in (1, 2)") == PASSED


def test_the_randomness_of_a_program_is_the_same_again():
    text = "import random\ndef square(x):\n    return random.random()\n"
    assert outcome(text, tests="assert square(0) == 0.8444218515250481 != square(0)") == PASSED


def test_a_tests_own_randomness_is_the_same_again():
    text = "def square(x):\n    return x\n"
    tests = "import random\nassert square(random.random()) == {}"
    found = [outcome(text, tests=tests.format(number)) for number in (0.8444218515250481, 0.5)]
    assert found == [PASSED, FAILED]


THREAD = """
import threading
def square(x):
    try:
        threading.Thread(target=print).start()
    except RuntimeError:
        return x
    return x * x
"""


def test_no_threads_where_their_number_has_no_limit():
    assert outcome(THREAD) == PASSED
    assert outcome(THREAD, kind=LIMITED) == FAILED


def test_root_of_somebody_elses_room_starts_no_threads(monkeypatch):
    """It cannot become nobody there; the kernel counts none of the machine's root's threads."""
    command = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("util-linux's unshare cannot make a user namespace here")
    start = subprocess.Popen
    monkeypatch.setattr(
        programs.subprocess, "Popen", lambda own, **options: start([*command, *own], **options)
    )
    assert outcome(RIGHT) == PASSED
    assert outcome(THREAD) == FAILED
    assert told("import os\nreturn os.getuid() == 65534")


def test_the_kernel_takes_a_program_first_where_memory_runs_short():
    assert told("return open('/proc/self/oom_score_adj').read() == '1000\\n'", LIMITED)


def test_a_program_is_read_as_a_module_of_its_own():
    """None of the sandbox's own ways of reading Python hold for it; its classes have a module."""
    text = (
        "from dataclasses import dataclass\n@dataclass\nclass Node:\n    value: 'int'\n"
        "    after: 'Node' = None\ndef square(x: int):\n    return Node(x).value * x\n"
    )
    assert outcome(text) == PASSED
    assert outcome("def square(x: unknown):\n    return x * x\n") == FAILED
    tests = "def f(x: int): pass\nassert f.__annotations__ == {'x': int}"
    assert run_program(Program(RIGHT, "square", tests)) == PASSED
    assert run_program(Program(RIGHT, "square", "f(1)", before=tests)) == PASSED


def test_a_python_in_the_folder_for_temporary_files(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)  # so that nobody can read it
        Path(folder, "shown.py").write_text("VALUE = 4\n")
        runtime = programs._runtime()
        changed = {name: [*runtime[name], folder] for name in ("visible", "path")}
        monkeypatch.setattr(programs, "_runtime", lambda: {**runtime, **changed})
        text = "from shown import VALUE\ndef square(x):\n    return VALUE\n"
        assert outcome(text, tests="assert square(2) == 4") == PASSED
        assert outcome(f"open('{folder}/x', 'w')\n" + RIGHT) == FAILED
        assert os.listdir(folder) == ["shown.py"]


def test_packages_that_lie_elsewhere_are_not_there(monkeypatch, tmp_path):
    library, elsewhere = tmp_path / "library", tmp_path / "elsewhere"
    for folder in (library / "dist-packages", elsewhere):
        folder.mkdir(parents=True)
    (library / "site-packages").symlink_to(elsewhere)
    monkeypatch.setattr(programs.sysconfig, "get_path", lambda name: str(library))
    monkeypatch.setattr(programs.sysconfig, "get_config_var", lambda name: None)
    found = programs._runtime.__wrapped__()
    assert found["hidden"] == [str(library / "dist-packages")]
    assert found["visible"] == [str(library)]


def test_where_python_has_its_own_library(monkeypatch):
    """Some find it through this variable alone; nothing else is handed on."""
    monkeypatch.setenv("LD_LIBRARY_PATH", "/a")
    assert programs._environment() == {"PYTHONHASHSEED": "0", "LD_LIBRARY_PATH": "/a"}
    monkeypatch.delenv("LD_LIBRARY_PATH")
    assert programs._environment() == {"PYTHONHASHSEED": "0"}
