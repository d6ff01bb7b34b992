"""How long a client waits for the process that serves a socket."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qmrunner.attempt.spawner_client import GivenUp, SpawnerClient
from qmrunner.host.home import SUPERVISOR_FILE, write_state
from qmrunner.host.sockets import listen_short

NAME = "app-lab.sock"
PATIENCE_S = 0.3
_SUPERVISOR = """
import subprocess, sys
with subprocess.Popen(["sleep", "60"]) as child:
    print(child.pid, flush=True)
    sys.stdin.read()
    child.kill()
"""


@contextmanager
def supervised(root: Path, *, lives: bool) -> Iterator[None]:
    """A supervisor whose child is to serve the socket."""
    with subprocess.Popen(
        [sys.executable, "-c", _SUPERVISOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        pid = int(process.stdout.readline())
        children = {"app": {"pid": pid if lives else None, "socket": NAME}}
        write_state(root / SUPERVISOR_FILE, {"pid": process.pid, "children": children})
        try:
            yield
        finally:
            process.stdin.close()


def serve_after(root: Path, seconds: float) -> threading.Thread:
    """Bind the socket now, and reply to one request later."""
    listener = listen_short(root, NAME)

    def serve() -> None:
        time.sleep(seconds)
        with listener, listener.accept()[0] as client:
            client.recv(100)
            client.send(b'{"ok": true}')

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_a_reply_is_waited_for_as_long_as_the_process_lives_that_has_to_send_it(tmp_path: Path) -> None:
    thread = serve_after(tmp_path, 10 * PATIENCE_S)
    with supervised(tmp_path, lives=True):
        assert SpawnerClient(tmp_path, NAME, PATIENCE_S).ask({"op": "guard"}, wanted=lambda: True) == {"ok": True}
    thread.join()


@pytest.mark.parametrize(("lives", "wanted"), [(False, True), (True, None)])
def test_other_replies_and_dead_processes_are_waited_for_a_while(
    tmp_path: Path, lives: bool, wanted: bool | None
) -> None:
    client = SpawnerClient(tmp_path, NAME, PATIENCE_S)
    with listen_short(tmp_path, NAME), supervised(tmp_path, lives=lives), pytest.raises(TimeoutError):
        client.ask({"op": "guard"}, wanted=None if wanted is None else lambda: True)


def test_a_request_that_is_no_longer_wanted_is_given_up(tmp_path: Path) -> None:
    with listen_short(tmp_path, NAME), supervised(tmp_path, lives=True), pytest.raises(GivenUp):
        SpawnerClient(tmp_path, NAME, PATIENCE_S).ask({"op": "guard"}, wanted=lambda: False)


def test_a_request_in_the_queue_of_a_replaced_socket_is_sent_again(tmp_path: Path) -> None:
    """An app host below a launcher does not inherit the supervisor's socket, and binds its own in its place."""
    threads: list[threading.Thread] = []
    with listen_short(tmp_path, NAME), supervised(tmp_path, lives=True):
        later = threading.Timer(2 * PATIENCE_S, lambda: threads.append(serve_after(tmp_path, PATIENCE_S)))
        later.start()
        assert SpawnerClient(tmp_path, NAME, 20 * PATIENCE_S).wait_for_orphans()
        later.join()
    threads[0].join()
