"""The forms in which applications start their consumer: each is taken over, and its tasks survive a kill."""

from __future__ import annotations

import os
import signal
import sys
import zipfile

import pytest

from qmrunner.guardian import process_tree
from qmrunner.host.home import supervised
from tests.apps.conftest import Lab
from tests.support import wait_for

_RUN = "from nmr.queue import huey; from nmr import tasks; huey.create_consumer(workers=2).run()"
_HERE = "import os, sys\nsys.path.insert(0, os.getcwd())\n"
_EMBEDDED = (
    _HERE
    + """
import socket, threading, time
from huey.consumer import Consumer
from nmr.queue import huey
from nmr import tasks

class Embedded(Consumer):
    def _set_signal_handlers(self):
        pass

server = socket.create_server(("127.0.0.1", 0))
consumer = Embedded(huey, workers=2)
START
while True:
    server.accept()
"""
)
_LAUNCHER = (
    _HERE
    + f"""
import subprocess, sys, time
if "--consumer" in sys.argv:
    {_RUN}
else:
    time.sleep(2)  # meanwhile the consumer of qmrunner waits at the supervisor's socket, which this host will not have
    sys.exit(subprocess.Popen([sys.executable, __file__, "--consumer"]).wait())
"""
)
_SUBCLASS = (
    _HERE
    + """
from huey.consumer import Consumer, ConsumerStopped
from nmr.queue import huey
from nmr import tasks

class Own(Consumer):
    def run(self):
        self.start()
        looked = 1.0
        while True:
            try:
                looked = self.loop(looked)
            except ConsumerStopped:
                break

Own(huey, workers=2).run()
"""
)
_CONSUMER = f"{sys.executable} -m huey.bin.huey_consumer nmr.queue.huey -w 2"
SCRIPTS = {
    "launcher.py": _LAUNCHER,
    "thread.py": _EMBEDDED.replace("START", "threading.Thread(target=consumer.run, daemon=True).start()"),
    "start.py": _EMBEDDED.replace("START", "consumer.start()"),
    "own_loop.py": _SUBCLASS,
    "background.sh": f"#!/bin/sh\n{_CONSUMER} &\nsleep 600\n",
    "exec.sh": f"#!/bin/sh\nexec {_CONSUMER}\n",
}
PYTHON = (sys.executable,)
SLOW = pytest.mark.slow
COMMANDS = [
    pytest.param((*PYTHON, "launcher.py"), id="launcher"),
    pytest.param((*PYTHON, "start.py"), id="start"),
    pytest.param(("./background.sh",), id="background"),
    pytest.param((*PYTHON, "thread.py"), id="thread", marks=SLOW),
    pytest.param((*PYTHON, "own_loop.py"), id="own-loop", marks=SLOW),
    pytest.param(("./exec.sh",), id="exec", marks=SLOW),
    pytest.param(("sh", "-c", f"exec {_CONSUMER}"), id="shell", marks=SLOW),
    pytest.param(("env", "A=b", *_CONSUMER.split()), id="env", marks=SLOW),
    pytest.param((*PYTHON, "-c", _RUN), id="code", marks=SLOW),
    pytest.param((*PYTHON, "app.pyz"), id="archive", marks=SLOW),
]


def begin(lab: Lab, command: tuple[str, ...]) -> str:
    """A task whose engine runs, of an application that this command starts."""
    for name, text in SCRIPTS.items():
        (lab.folder / name).write_text(text)
        (lab.folder / name).chmod(0o755)
    with zipfile.ZipFile(lab.folder / "app.pyz", "w") as archive:
        archive.writestr("__main__.py", f"{_HERE}{_RUN}\n")
    huey_id: str = lab.enqueue("tasks.optimise('f', 2)")
    lab.start(command)
    wait_for(lambda: lab.engines("f"), 25.0, "the engine")  # a request without a reply takes 30 s
    return huey_id


@pytest.mark.timeout(150)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_consumer_is_taken_over_wherever_the_command_starts_it(lab: Lab, command: tuple[str, ...]) -> None:
    huey_id = begin(lab, command)
    lab.kill("qm-apphost")
    assert lab.await_result(huey_id)["job"] == "f"
    assert len(lab.lines("f")) == 2
    assert lab.await_result(lab.enqueue("tasks.add(1, 2)")) == 3
    assert lab.daemon is not None
    assert lab.daemon.stop(20.0) == 0
    assert lab.home.processes() == []


def test_the_supervisor_leaves_the_watcher_of_a_dead_host_its_work(lab: Lab) -> None:
    """The rest of the command runs on when the host dies: only the watcher ends it, however late it comes to run."""
    huey_id = begin(lab, ("./background.sh",))
    # The shell that starts the consumer is no orphan either: a wait for the end of orphans does not wait for it.
    assert supervised(lab.home.path / "run") == set(process_tree.children_of(lab.daemon_pid()))
    [watcher] = lab.pids("qm-appwatcher")
    os.kill(watcher, signal.SIGSTOP)
    lab.kill("qm-apphost")
    _ended_rounds(lab, 2)
    os.kill(watcher, signal.SIGCONT)
    assert lab.await_result(huey_id)["job"] == "f"
    assert lab.await_result(lab.enqueue("tasks.add(1, 2)")) == 3


def _ended_rounds(lab: Lab, count: int) -> None:
    """Wait until the supervisor has looked after its children that often, from now on."""
    file = lab.home.path / "run/supervisor.json"
    for _ in range(count):
        seen = file.stat().st_mtime_ns
        wait_for(lambda seen=seen: file.stat().st_mtime_ns != seen, 20.0, "a round of the supervisor")  # type: ignore[misc]


def test_a_command_without_a_consumer_is_named(lab: Lab) -> None:
    (lab.folder / "idle.py").write_text("")
    lab.start((*PYTHON, "idle.py"), ready=False)
    events = lab.home.path / "run/events.jsonl"
    said = "the command has ended and has not run a Huey consumer"
    wait_for(lambda: events.exists() and said in events.read_text(), 20.0, "the report")


def test_a_command_that_runs_no_consumer_is_shown_with_the_reason(lab: Lab) -> None:
    """As MiniHuey, which runs its tasks in its own process: nothing else would show that no task is protected."""
    (lab.folder / "mini.py").write_text("import time\ntime.sleep(600)\n")
    lab.start((*PYTHON, "mini.py"), ready=False)
    [row] = wait_for(lambda: lab.home.json("status")["apps"], 20.0, "the application")
    reason = "the command has not run a Huey consumer yet"
    assert (row["name"], row["state"], row["evidence"].partition(",")[0]) == ("python-mini", "away", reason)
    assert f"python-mini: {reason}" in lab.home.run("status").stdout
