"""`serve --socket`: routes for the user of this machine, without a token, while the program that started it runs."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from qmrunner.api import server
from qmrunner.app import App
from qmrunner.errors import NotReadyError
from qmrunner.store import tokens
from tests.support import ROOT, Home, wait_for


@contextmanager
def listening(home: Home, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "qmrunner", "serve", "--socket", str(path), "--stop-at-eof"],
        cwd=home.path.parent, env=home.environment(PYTHONPATH=str(ROOT)), stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(path.exists, 60.0, "the socket")
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.kill()
        process.wait(10)


def test_the_user_needs_no_token_even_where_the_store_has_some_and_is_the_owner(home: Home, tmp_path: Path) -> None:
    home.extra |= {"QMRUNNER_XTB": "/bin/true", "QMRUNNER_API_RATE_PER_MINUTE": "2"}
    app = App(home.settings)
    app.open_store(create=True)
    with app.store.write() as connection:
        tokens.add(connection, app.store.now(), "somebody", "read")
    app.close()
    path = tmp_path / "socket"
    with (
        listening(home, path) as process,
        httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=60.0) as client,
    ):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for _ in range(5):  # the limit of requests is for clients of a network
            found = client.get("http://localhost/v1/me")
            assert (found.status_code, found.json()["scope"]) == (200, "admin")
        water = "3\n\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
        form = {"kind": "xtb", "files": [{"name": "water.xyz", "text": water}]}
        job = client.post("http://localhost/v1/jobs", json=form, timeout=60.0).json()["id"]
        assert home.job(job)["owner"] == found.json()["name"]
        with client.stream("GET", f"http://localhost/v1/jobs/{job}/events/stream") as stream:
            assert next(line for line in stream.iter_lines() if line.startswith("event")) == "event: job_accepted"
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0
    assert not path.exists()


def test_it_ends_when_the_program_that_started_it_is_killed(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    code = (
        "import subprocess, sys\n"
        f"words = [sys.executable, '-m', 'qmrunner', 'serve', '--socket', {str(path)!r}, '--stop-at-eof']\n"
        "child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env=home.environment(PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        handle = os.pidfd_open(child)
        wait_for(path.exists, 60.0, "the socket")
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not path.exists(), 30.0, "the end of the server")
    os.close(handle)


@pytest.mark.parametrize("words", [["--socket", "s", "--port", "1"], ["--socket", "taken"]])
def test_a_socket_that_cannot_be_is_refused(home: Home, words: list[str]) -> None:
    (home.path.parent / "taken").write_text("kept")
    ended = home.run("serve", *words)
    assert ended.returncode in (2, 4)
    assert ("usage" if "--port" in words else "cannot_listen") in ended.stderr
    assert (home.path.parent / "taken").read_text() == "kept"


@pytest.mark.parametrize("name", ["", ".", "/", "taken", "link", "no/such", "x" * 250 + "/s", "x" * 300, "a\0b"])
def test_a_path_where_no_socket_can_be_is_refused_and_nothing_is_touched(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken").write_text("kept")
    (tmp_path / "link").symlink_to("nowhere")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(NotReadyError) as caught:
        server._listen_at(tmp_path / name)
    assert caught.value.code == "cannot_listen"
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "taken").read_text() == "kept"


def test_a_server_removes_its_own_socket_only(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening(home, path) as process:
        path.unlink()
        path.write_text("of another program")
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0
    assert path.read_text() == "of another program"
