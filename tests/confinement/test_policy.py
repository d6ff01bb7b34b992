"""What the kernel keeps a confined engine from, tried by real processes under the policy of a real engine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qmrunner.confinement import interpreter, policy
from qmrunner.guardian import landlock
from qmrunner.model.jobs import Reach
from qmrunner.settings import Settings
from tests.support import ROOT, missing

# The newest Landlock this kernel has may be lowered, to see what an older kernel would hold.
CHILD = """
import json, os, sys
from qmrunner.guardian import landlock
from qmrunner.guardian.confine import enforce
order, abi, what = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
newest = landlock.abi()
landlock.abi = lambda: min(newest, abi) if abi else newest
import ctypes, resource, signal, socket, subprocess
enforce(order)
try:
    answer = repr(eval(what))
except BaseException as error:
    answer = type(error).__name__
print(answer)
"""


_NUMBERS = {"CLONE": 56, "IO_SETUP": 206} if os.uname().machine == "x86_64" else {"CLONE": 220, "IO_SETUP": 0}


@pytest.fixture(autouse=True)
def _landlock() -> None:
    if policy.kernel().abi is None:
        missing(policy.kernel().words)


class Cell:
    """An attempt's folder, with the store, another job and a secret of the home beside it."""

    def __init__(self, root: Path, reach: Reach | None = None) -> None:
        self.home = root / "home"
        self.attempt = self.home / "scratch/job/step/1"
        self.work = self.attempt / "work"
        self.work.mkdir(parents=True)
        for path in ("store.db", "jobs/other/result.json", "scratch/job/other/1/work/wave"):
            (self.home / path).parent.mkdir(parents=True, exist_ok=True)
            (self.home / path).write_text("theirs")
        (self.attempt / "exit.json").write_text("{}")
        self.reach = reach or interpreter.reach()
        self.settings = Settings(home=self.home)

    def order(self) -> dict[str, Any]:
        held = policy.confine(self.reach, self.work, os.environ, self.settings, policy.kernel())
        found = policy.as_order(held)
        assert found is not None
        return found

    def tries(self, what: str, abi: int = 0) -> str:
        """The value of an expression in a confined Python whose current directory is `work`, or its error's name."""
        words = {"HOME": self.home, "ATTEMPT": self.attempt, "WORK": self.work}
        for name, path in words.items():
            what = what.replace(name, str(path))
        ended = subprocess.run(
            [sys.executable, "-c", CHILD, json.dumps(self.order()), str(abi), what],
            cwd=self.work,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    return Cell(tmp_path)


@pytest.mark.parametrize(
    "what",
    [
        "open('HOME/store.db').read()",
        "open('HOME/store.db', 'a')",
        "open('HOME/jobs/other/result.json').read()",
        "open('HOME/scratch/job/other/1/work/wave', 'r+')",
        "os.listdir('HOME')",
        "os.truncate('HOME/store.db', 0)",
        "os.unlink('HOME/store.db')",
        "os.rename('HOME/store.db', 'WORK/stolen')",
        "os.rename('WORK', 'ATTEMPT/moved')",
        "os.link('HOME/store.db', 'stolen')",
        "open('../exit.json', 'w')",
        "open('../exit.json').read()",
        "os.mkdir('../checkpoint')",
        "[os.symlink('HOME/store.db', 'link'), open('link').read()]",
        "open('/etc/shadow').read()",
        "os.listdir('/etc')",
        "os.listdir('/root')",
        "open('/tmp/qmrunner-canary', 'w')",
        "open('/proc/1/environ', 'rb').read()",
        "open(f'/proc/{os.getppid()}/environ', 'rb').read()",
        "open('/proc/self/mem', 'rb')",
        "open('/dev/shm/canary', 'w')",
        "os.mknod('device', 0o600 | 0o20000, os.makedev(1, 1))",
        "os.execv('/bin/sh', ['sh', '-c', 'true'])",
        "os.posix_spawn('/usr/bin/id', ['id'], {})",
        "[open('run', 'w').write('#!/bin/sh\\n'), os.chmod('run', 0o700)]",
        "os.chmod('HOME/store.db', 0)",
        "os.chown('HOME/store.db', 1, 1)",
        "os.setxattr('HOME/store.db', 'user.x', b'')",
        "socket.create_connection(('127.0.0.1', PORT), 2)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_INET6)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "socket.socket(socket.AF_UNIX).connect('HOME/run/spawner.sock')",
        "socket.socket(socket.AF_VSOCK)",
        "os.kill(os.getppid(), 0)",
        "os.kill(os.getppid(), signal.SIGSTOP)",
        "signal.pidfd_send_signal(os.pidfd_open(os.getppid()), signal.SIGTERM)",
        "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
        "os.setuid(65534) if os.getuid() == 0 else open('/root/x')",
        "os.chroot('.')",
        "os.memfd_create('x')",
        "os.execve(os.open('/usr/bin/true', os.O_RDONLY), ['true'], {})",
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
        "os.sched_setaffinity(os.getppid(), {0})",
        "os.sched_setscheduler(os.getppid(), os.SCHED_IDLE, os.sched_param(0))",
        "open('/dev/ptmx', 'r+')",
        "os.openpty()",
        "ctypes.CDLL(None).shmget(0, 4096, 0o1600) < 0 and open('HOME/store.db')",
        "ctypes.CDLL(None).inotify_init1(0) < 0 and open('HOME/store.db')",
        "ctypes.CDLL(None).unshare(0x10000000) < 0 and open('HOME/store.db')",
        "ctypes.CDLL(None).syscall(CLONE, 0x10000011, 0, 0, 0, 0) < 0 and open('HOME/store.db')",
        "os.utime('HOME/store.db', (1, 1))",
        "os.utime('own', (1, 1))",
        "ctypes.CDLL(None).syscall(469, -100, os.fsencode('HOME/store.db'), bytes(24), 24, 0) < 0"
        " and open('HOME/store.db')",
        "__import__('fcntl').ioctl(open(os.__file__), 0x40086602, bytes(8))",
        "[ctypes.CDLL(None).mq_open(b'/qmrunner-canary', 0o102, 0o600, None),"
        " ctypes.CDLL(None).mq_unlink(b'/qmrunner-canary') and open('HOME/store.db')]",
        "ctypes.CDLL(None).syscall(IO_SETUP, 8, ctypes.byref(ctypes.c_ulong())) and open('HOME/store.db')",
        "ctypes.CDLL(None).syscall(447, 0) < 0 and open('HOME/store.db')",
        "os.sethostname('x') if hasattr(os, 'sethostname') else open('/proc/sys/kernel/hostname', 'w')",
    ],
)
def test_a_confined_engine_cannot(what: str, cell: Cell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for name, number in _NUMBERS.items():
            what = what.replace(name, str(number))
        answer = cell.tries(what.replace("PORT", str(listener.getsockname()[1])))
        assert answer in ("PermissionError", "OSError"), answer
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert (cell.home / "store.db").read_text() == "theirs"


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("open('out', 'w').write('mine')", "4"),
        ("[os.mkdir('a'), open('a/f', 'w').close(), os.rename('a/f', 'f'), os.rmdir('a'), os.listdir()]",
         "[None, None, None, None, ['f']]"),
        ("[os.mkfifo('pipe'), os.symlink('f', 'link'), os.unlink('pipe')]", "[None, None, None]"),
        ("[open('f', 'w').write('abc'), os.truncate('f', 1), open('f').read()]", "[3, None, 'a']"),
        ("open('/dev/null', 'w').write('x')", "1"),
        ("len(open('/dev/urandom', 'rb').read(8))", "8"),
        ("[open('t', 'w').close(), os.utime(os.open('t', os.O_RDWR), (1, 1)), os.stat('t').st_mtime]",
         "[None, None, 1.0]"),
        ("len(open('/proc/cpuinfo').read()) > 0", "True"),
        ("os.listdir('/sys/devices/system/cpu') != []", "True"),
        ("subprocess.run([sys.executable, '-c', 'print(1)'], capture_output=True).stdout", "b'1\\n'"),
        ("__import__('numpy').ones(2).sum()", "np.float64(2.0)"),
        ("resource.getrlimit(resource.RLIMIT_CORE)[0] >= 0", "True"),
    ],
)  # fmt: skip
def test_a_confined_engine_still_can(what: str, answer: str, cell: Cell) -> None:
    assert cell.tries(what) == answer


@pytest.mark.parametrize("abi", range(1, 8))
def test_an_older_kernel_holds_what_its_landlock_knows(abi: int, cell: Cell) -> None:
    if abi > (policy.kernel().abi or 0):
        pytest.skip(f"this kernel has ABI {policy.kernel().abi}")
    assert cell.tries("open('HOME/store.db').read()", abi) == "PermissionError"
    assert cell.tries("open('HOME/store.db', 'a')", abi) == "PermissionError"
    assert cell.tries("os.execv('/bin/sh', ['sh'])", abi) == "PermissionError"
    assert cell.tries("os.truncate('HOME/store.db', 0)", abi) == "PermissionError"
    assert cell.tries("open('out', 'w').write('mine')", abi) == "4"
    expected = "None" if abi < landlock.SIGNALS_ABI else "PermissionError"
    assert cell.tries("os.kill(os.getppid(), 0)", abi) == expected


@pytest.mark.parametrize(
    "what",
    [
        "socket.create_connection(('127.0.0.1', PORT), 2)",
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",  # MPTCP connects past Landlock
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 17)",
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
        "socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', PORT))",  # so does TCP Fast Open
        "socket.socket().sendmsg([b'x'], [], 0x20000000, ('127.0.0.1', PORT))",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)",
        "socket.socket(socket.AF_UNIX)",
        "socket.socket(socket.AF_VSOCK)",
        "socket.socket().bind(('127.0.0.1', 0))",
    ],
)
def test_a_launcher_has_its_ports_and_no_other_way_out(what: str, tmp_path: Path) -> None:
    cell = Cell(tmp_path, replace(interpreter.reach(), ports=("A", "B")))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answer = cell.tries(what.replace("PORT", str(listener.getsockname()[1])))
        assert answer in ("PermissionError", "OSError"), answer
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_of_tcp_ports_only_those_of_the_launcher_are_open(tmp_path: Path) -> None:
    cell = Cell(tmp_path, replace(interpreter.reach(), ports=("A", "B")))
    order = cell.order()
    held = policy.confine(cell.reach, cell.work, os.environ, cell.settings, policy.kernel())
    assert sorted(held.variables) == ["A", "B"]
    assert held.policy is not None
    assert held.policy.ports == tuple(int(port) for port in held.variables.values())
    assert len(set(order["policy"]["ports"])) == 2
    assert cell.tries("socket.socket().bind(('127.0.0.1', 0))") == "PermissionError"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cell.tries(f"socket.create_connection(('127.0.0.1', {port}))") == "PermissionError"


def test_a_folder_that_holds_the_home_is_never_opened_by_what_lies_in_it(tmp_path: Path) -> None:
    """A program beside the home, as `~/bin/xtb` is: its folder's libraries are read, the rest is not."""
    bin = tmp_path / "bin"
    bin.mkdir()
    program = shutil.copy2(shutil.which("true") or "/bin/true", bin / "engine")
    (tmp_path / "share").mkdir()
    found = policy.confine(
        Reach((str(program),), (str(tmp_path),)), tmp_path / "home/work", {}, Settings(home=tmp_path / "home"),
        policy.kernel(),
    ).policy  # fmt: skip
    assert found is not None
    assert str(tmp_path) not in found.read
    assert str(tmp_path / "share") in found.read
    assert str(program) in found.execute


def test_a_script_may_start_the_systems_programs_and_a_note_reports_it(tmp_path: Path) -> None:
    script = tmp_path / "engine"
    script.write_text("#!/usr/bin/env python3\n")
    script.chmod(0o755)
    held = policy.confine(
        Reach((str(script),)), tmp_path / "work", os.environ, Settings(home=tmp_path / "home"), policy.kernel()
    )
    assert held.policy is not None
    assert "/usr/bin" in held.policy.execute
    assert any("is a script" in note for note in held.notes)


def test_a_binary_may_execute_itself_and_its_loader_only(tmp_path: Path) -> None:
    xtb = shutil.which("xtb") or missing("xTB is not installed")
    held = policy.confine(Reach((xtb,)), tmp_path, {}, Settings(home=tmp_path / "home"), policy.kernel())
    assert held.policy is not None
    assert [Path(path).name.split("-")[0] for path in held.policy.execute] == ["xtb", "ld"]
    assert not any(path in held.policy.read for path in ("/usr", "/usr/bin", "/bin", "/etc", "/"))
