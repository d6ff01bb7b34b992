"""An application that gevent has patched, as it is recommended for `-k greenlet`."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from tests.apps.conftest import Lab
from tests.support import wait_for

_CONSUMER = """
from gevent import monkey
monkey.patch_all()
import sys
sys.path.insert(0, "")
sys.argv[1:] = ["patched.huey", "-w", "2", "-k", "greenlet"]
from huey.bin.huey_consumer import consumer_main
consumer_main()
"""
_APP = """
import os, socket, subprocess, threading
import gevent
from huey import SqliteHuey

huey = SqliteHuey("lab", filename="data/huey.db")
# What an import may do: each of these starts gevent's event loop, the second one also its handler of SIGCHLD.
gevent.sleep(0.01)
subprocess.check_call(["true"])
socket.getaddrinfo("localhost", 80)

@huey.task()
def cooperates():
    values = [gevent.spawn(abs, -number) for number in range(3)]
    gevent.joinall(values)
    thread = threading.Thread(target=gevent.sleep, args=(0.05,))
    thread.start()
    thread.join()
    found = bool(socket.getaddrinfo("localhost", 80))
    return [one.value for one in values], subprocess.check_output(["echo", "out"]), found

@huey.task()
def waits(how):
    with open("data/pids", "a") as file:
        file.write(f"{os.getpid()}\\n")
    if len(open("data/pids").readlines()) > 1:
        return "again"
    return subprocess.call(["sleep", "60"]) if how == "program" else gevent.sleep(60)
"""


@pytest.fixture
def patched(lab: Lab) -> Lab:
    (lab.folder / "patched.py").write_text(_APP)
    (lab.folder / "consumer.py").write_text(_CONSUMER)
    return lab


def enqueue(lab: Lab, call: str) -> str:
    return lab._python("-c", f"import patched; print(patched.{call}.id)").split()[-1]


def attempts(lab: Lab, huey_id: str) -> list[str | None]:
    return [attempt["code"] for attempt in lab.home.json("why", huey_id)["attempts"]]


def test_its_tasks_run_once_and_cooperate(patched: Lab) -> None:
    patched.start((sys.executable, "consumer.py"))
    ids = [enqueue(patched, "cooperates()") for _ in range(2)]
    for huey_id in ids:
        assert patched.await_result(huey_id) == ([0, 1, 2], b"out\n", True)
    wait_for(lambda: {job["state"] for job in patched.jobs()} == {"succeeded"}, 10.0, "the end of the jobs")
    assert [attempts(patched, huey_id) for huey_id in ids] == [["ok"]] * 2


@pytest.mark.slow
@pytest.mark.parametrize("how", ["program", "greenlet"])
@pytest.mark.parametrize("event", ["stop", "kill"])
def test_its_tasks_survive_a_stop_and_a_kill(patched: Lab, how: str, event: str) -> None:
    command = (sys.executable, "consumer.py")
    daemon = patched.start(command)
    huey_id = enqueue(patched, f"waits({how!r})")
    pids = patched.folder / "data/pids"
    wait_for(lambda: pids.exists() and pids.read_text().endswith("\n"), 30.0, "the body")
    if event == "stop":
        assert daemon.stop() == 0
        assert patched.home.processes() == []
        patched.start(command)
    else:
        os.kill(int(pids.read_text()), signal.SIGKILL)
    assert patched.await_result(huey_id) == "again"
