"""Junk of every kind, and other users, at the sockets of spawner, guardian and consumer: none of them ends of it."""

from __future__ import annotations

import array
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qmrunner.guardian import peers, process_tree, spawner
from qmrunner.host.sockets import bind_short
from qmrunner.queue import listen_for_wake, send_wake
from tests.processes import Spawner
from tests.support import ROOT, missing, short_folder, wait_for

_DEEP = 30_000
JUNK: dict[str, bytes] = {
    "nothing": b"",
    "a byte": b"\0",
    "no JSON": b"\xff\xfe{{{",
    "no object": b"[]",
    "a word": b'"guard"',
    "a number": b"17",
    "null": b"null",
    "no operation": b"{}",
    "no directory": b'{"op":"guard"}',
    "a directory by its path": b'{"op":"guard","directory":"/tmp"}',
    "an operation of another type": b'{"op":["guard"]}',
    "an unknown operation": b'{"op":"exec","argv":["/bin/sh"]}',
    "not a number": b'{"op":"stop","reason":"x","grace_s":NaN}',
    "infinity": b'{"op":"quota","scratch_mib":1e400}',
    "below nothing": b'{"op":"stop","reason":"x","grace_s":-1e300}',
    "many digits": b'{"op":"quota","scratch_mib":' + b"9" * 5000 + b"}",
    "a list for a number": b'{"op":"stop","reason":[],"grace_s":[]}',
    "deep": b"[" * _DEEP + b"]" * _DEEP,
    "long": b"x" * 65_000,
    "lines": b"\n" * 5000 + b'{"op":"quota"}\n[]\n',
}
_RANDOM = random.Random(13)
JUNK |= {f"random {n}": _RANDOM.randbytes(_RANDOM.randint(1, 300)) for n in range(30)}
_WORDS = [b"{", b"}", b'"op"', b":", b'"stop"', b'"quota"', b'"reason"', b",", b"-1", b"1e999", b"null", b"\n", b'"']
JUNK |= {f"pieces {n}": b"".join(_RANDOM.choices(_WORDS, k=12)) for n in range(60)}

_AS_NOBODY = """
import os, socket, sys
kind, path, message = sys.argv[1:]
os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX, getattr(socket, kind)) as one:
    one.settimeout(5)
    try:
        one.connect(path)
        one.send(message.encode())
        print(one.recv(1000) if kind != "SOCK_DGRAM" else b"")
    except ConnectionError:
        print(b"")
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Clients connect by its path."""
    with short_folder() as folder:
        yield folder


@pytest.fixture
def spawning(tmp_path: Path) -> Iterator[Spawner]:
    one = Spawner(tmp_path)
    yield one
    one.close()


@pytest.fixture
def open_to_all(tmp_path: Path) -> None:
    """As an umask of 000 would have left it: the check of the peer must hold alone."""
    if os.geteuid() != 0:
        missing("only root can become another user")
    for level in (tmp_path, *tmp_path.parents):
        with suppress(OSError):
            os.chmod(level, level.stat().st_mode | 0o005)


def as_nobody(kind: str, path: Path, message: str) -> bytes:
    """What another user of the machine is answered."""
    words = [sys.executable, "-c", _AS_NOBODY, kind, str(path), message]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=20)
    return bytes(eval(told.stdout, {}))


def say(kind: int, path: Path, data: bytes, descriptors: int = 0) -> None:
    """Connect, send and leave, or stay without a word where there is none."""
    with socket.socket(socket.AF_UNIX, kind) as one:
        one.settimeout(5)
        _connect(one, path)
        if descriptors:
            null = os.open("/dev/null", os.O_RDONLY)
            rights = array.array("i", [null] * descriptors)
            one.sendmsg([data or b" "], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            os.close(null)
        elif data:
            with suppress(OSError):  # it may have been cut off by then
                one.sendall(data)


def _connect(one: socket.socket, path: Path) -> None:
    def connected() -> bool:
        try:
            one.connect(str(path))
        except BlockingIOError:
            return False  # the queue of the listener is full
        return True

    wait_for(connected, 10.0, f"a connection to {path}")


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


# -- the spawner ------------------------------------------------------------------------------------------------------


def test_no_junk_ends_the_spawner_or_costs_it_a_descriptor(spawning: Spawner) -> None:
    spawning.guard("true").exit()
    before = open_files(spawning.process.pid)
    path = spawning.root / spawner.SOCKET
    for data in JUNK.values():
        say(socket.SOCK_SEQPACKET, path, data)
        say(socket.SOCK_SEQPACKET, path, data, descriptors=5)
    for _ in range(100):
        say(socket.SOCK_SEQPACKET, path, b'{"op":"settle"}', descriptors=200)
    assert spawning.guard("sh", "-c", "exit 3").exit()["returncode"] == 3
    assert spawning.process.poll() is None
    wait_for(lambda: open_files(spawning.process.pid) <= before, 10.0, "all descriptors given back")


def test_a_silent_client_keeps_no_other_waiting(spawning: Spawner) -> None:
    silent = []
    for _ in range(100):
        one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        one.setblocking(False)
        with suppress(OSError):
            one.connect(str(spawning.root / spawner.SOCKET))
        silent.append(one)
    began = time.monotonic()
    answered: list[float] = []

    def ask() -> None:
        spawning.client.wait_for_orphans()
        answered.append(time.monotonic() - began)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(12.0)
    for one in silent:
        one.close()
    assert answered
    assert spawning.process.poll() is None


def test_the_spawner_hears_no_other_user(spawning: Spawner, open_to_all: None, tmp_path: Path) -> None:
    path = tmp_path / spawner.SOCKET
    os.chmod(path, 0o777)
    assert as_nobody("SOCK_SEQPACKET", path, '{"op":"settle"}') == b""
    assert spawning.client.wait_for_orphans()


def test_a_directory_that_is_no_attempt_gives_a_guardian_nothing_to_run(spawning: Spawner, tmp_path: Path) -> None:
    """Who may speak to the spawner may hand over any folder: without an order in it nothing is started."""
    (tmp_path / "a" / "b" / "empty").mkdir(parents=True)
    pid = spawning.client.spawn_guardian(tmp_path / "a" / "b" / "empty")
    wait_for(lambda: process_tree.identity_of(pid) is None, 5.0, "the end of the guardian")
    assert spawning.guard("true").exit()["returncode"] == 0


# -- guardians --------------------------------------------------------------------------------------------------------


def test_no_junk_ends_a_guardian(spawning: Spawner) -> None:
    attempt = spawning.guard("sh", "-c", "echo up; sleep 60")
    engine = attempt.engine()
    identity = attempt.folder.guardian_identity()
    assert identity is not None
    before = open_files(identity.pid)
    path = attempt.folder.path / "guardian.sock"
    for name, data in JUNK.items():
        say(socket.SOCK_STREAM, path, data + b"\n")
        say(socket.SOCK_STREAM, path, data, descriptors=3)
        assert process_tree.is_alive(identity), name
    assert process_tree.is_alive(engine)
    wait_for(lambda: open_files(identity.pid) <= before, 10.0, "all connections given back")
    attempt.stop("cancel", 0.3)
    assert attempt.exit()["stop_reason"] == "cancel"


def test_a_guardian_has_few_connections_and_gives_none_to_its_own_tree(spawning: Spawner) -> None:
    script = """
import socket, sys
got = []
for _ in range(50):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(3)
    try:
        one.connect("../guardian.sock")
        one.sendall(b'{"op":"stop","reason":"cancel","grace_s":0}\\n')
        if one.recv(1000):
            got.append(one)
    except OSError:
        pass
print("heard", len(got), flush=True)
"""
    attempt = spawning.guard(sys.executable, "-c", script)
    record = attempt.exit(60.0)
    assert attempt.log.read_text() == "heard 0\n"
    assert (record["returncode"], record["stop_reason"]) == (0, None)


def test_a_guardian_hears_no_other_user(spawning: Spawner, open_to_all: None) -> None:
    attempt = spawning.guard("sleep", "60")
    engine = attempt.engine()
    path = attempt.folder.path / "guardian.sock"
    for level in (path, *path.parents[:2]):
        os.chmod(level, 0o777)
    assert as_nobody("SOCK_STREAM", path, '{"op":"stop","reason":"cancel","grace_s":0}\n') == b""
    assert process_tree.is_alive(engine)


@pytest.mark.parametrize("name", ["exit.json", "exit.json.new", "guardian.json.new"])
def test_what_an_engine_puts_in_the_way_of_the_exit_record_is_moved_aside(spawning: Spawner, name: str) -> None:
    attempt = spawning.guard("sh", "-c", f"mkdir ../{name}; touch ../{name}/x; exit 5")
    assert attempt.exit()["returncode"] == 5


@pytest.mark.parametrize(
    "put",
    [os.mkfifo, lambda path: path.symlink_to("/etc/passwd"), Path.mkdir, lambda path: path.write_text("[" * 99_999)],
    ids=["pipe", "link", "folder", "deep"],
)
@pytest.mark.parametrize("name", ["exit.json", "guardian.json", "guardian.lock", "fenced"])
def test_what_lies_in_place_of_a_record_is_none(
    spawning: Spawner, put: Callable[[Path], object], name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "a" / "b" / "1"
    (folder / "work").mkdir(parents=True)
    put(folder / name)
    from qmrunner.attempt.directory import AttemptDirectory

    attempt = AttemptDirectory(folder)
    assert attempt.exit_record() is None
    assert attempt.record() is None
    assert attempt.guardian_identity() is None
    assert not attempt.guardian_lives()
    assert attempt.fence()
    assert (folder / "fenced").exists()


# -- the wake socket --------------------------------------------------------------------------------------------------


def test_only_our_user_can_use_the_wake_socket(tmp_path: Path, open_to_all: None) -> None:
    listener = listen_for_wake(tmp_path)
    peers.pass_credentials(listener)
    listener.settimeout(5)
    os.chmod(tmp_path / "wake.sock", 0o777)
    try:
        as_nobody("SOCK_DGRAM", tmp_path / "wake.sock", "w")
        assert peers.receive(listener, 16) is None
        for data in JUNK.values():
            say(socket.SOCK_DGRAM, tmp_path / "wake.sock", data, descriptors=3)
            peers.receive(listener, 16)
        before = open_files(os.getpid())
        send_wake(tmp_path)
        assert peers.receive(listener, 16) == b"w"
        assert open_files(os.getpid()) == before
    finally:
        listener.close()


def test_what_listens_in_place_of_a_guardian_is_not_believed(tmp_path: Path) -> None:
    """An engine that put its own socket there; the guardian is known by its parent."""
    from types import SimpleNamespace

    from qmrunner.attempt.directory import AttemptDirectory
    from qmrunner.attempt.monitor import Follower

    folder = tmp_path / "job" / "step" / "1"
    (folder / "work").mkdir(parents=True)
    listener = socket.socket(socket.AF_UNIX)
    bind_short(listener, folder, "guardian.sock")
    listener.listen(4)
    other = subprocess.Popen(["sleep", "60"])
    try:
        known = process_tree.identity_of(other.pid)
        live = SimpleNamespace(directory=AttemptDirectory(folder, known), log=tmp_path / "log", engine_pid=None, bell=0)
        engine = SimpleNamespace(reader=lambda *_: None)
        live.step = SimpleNamespace(params={})
        follower = Follower(live, engine, SimpleNamespace(grace_s=1.0))  # type: ignore[arg-type]
        assert not follower.connect(1.0)
        assert live.engine_pid is None
    finally:
        other.kill()
        other.wait()
        listener.close()


_ASKS = """
import array, os, socket, sys
folder = os.open(sys.argv[2], os.O_RDONLY)
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
    one.settimeout(5)
    one.connect(sys.argv[1])
    try:
        one.sendmsg([b'{"op":"guard"}'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [folder]))])
        print("answer", one.recv(1000), flush=True)
    except ConnectionError:
        print("answer", b"", flush=True)
"""


def test_an_engine_gets_no_guardian_for_its_own_folder(spawning: Spawner, tmp_path: Path) -> None:
    """Its own user asks, so that only its origin distinguishes it."""
    argv = (sys.executable, "-c", _ASKS, str(tmp_path / spawner.SOCKET), str(tmp_path))
    attempt = spawning.guard(*argv)
    assert attempt.exit()["returncode"] == 0
    assert attempt.log.read_text() == "answer b''\n"
