"""`apps.toml`: several applications for one daemon, and options of their tasks."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing

import pytest

from tests.apps.conftest import CONSUMER, Lab
from tests.support import wait_for

SECOND = """
import os
from pathlib import Path
from huey import SqliteHuey
huey = SqliteHuey("second", filename="./second.db")

@huey.on_startup()
def begin():
    with open("started", "a") as file:
        file.write("once\\n")

@huey.task()
def where():
    Path("where").write_text(f"{os.getpid()} {os.getppid()} {os.getcwd()} {os.environ.get('TMPDIR')}")
"""


def write(lab: Lab, text: str) -> None:
    lab.home.path.mkdir(parents=True, exist_ok=True)
    (lab.home.path / "apps.toml").write_text(text)


@pytest.mark.parametrize("isolation", ["fork", "exec"])
def test_two_applications_run_under_one_daemon(lab: Lab, isolation: str) -> None:
    folder = lab.folder / "second"
    folder.mkdir()
    (folder / "second_app.py").write_text(SECOND)
    command = f"{sys.executable} -m huey.bin.huey_consumer second_app.huey -w 1"
    options = f"cwd = '{folder}'\nisolation = '{isolation}'\ntmpdir = 'inherit'\n"
    write(lab, f"[second]\ncommand = '{command}'\n{options}")
    huey_id = lab.enqueue("tasks.add(1, 2)")
    lab.start()
    with closing(sqlite3.connect(folder / "second.db")) as connection:
        wait_for(lambda: connection.execute("select 1 from sqlite_master").fetchone(), 20.0, "the second host")
    lab._run(
        f"import os, sys; os.chdir({str(folder)!r}); sys.path.insert(0, {str(folder)!r})\n"
        "import second_app; second_app.where()"
    )
    assert lab.await_result(huey_id) == 3
    found = wait_for(lambda: (folder / "where").exists() and (folder / "where").read_text(), 30.0, "its task")
    assert found.split(" ", 2)[2].rsplit(" ", 1) == [str(folder), "None"]
    assert (folder / "started").read_text() == "once\n"  # hooks run in the host only
    wait_for(lambda: {job["state"] for job in lab.jobs()} == {"succeeded"}, 20.0, "both ends")


def test_the_words_of_the_file_apply(lab: Lab) -> None:
    write(
        lab,
        '["nmr.queue.huey".tasks."nmr.tasks.optimise"]\nhard_timeout_s = 1\nfollow = ["*.log"]\n',
    )
    huey_id = lab.enqueue("tasks.optimise('h', 60)")
    daemon = lab.start()
    job = wait_for(lambda: [job for job in lab.jobs() if job["state"] == "failed"], 40.0, "the failure")[0]
    assert job["code"] == "timed_out"
    assert lab.states("h")[-1].startswith("failed: the task ran longer than its hard_timeout_s of 1 s")
    assert lab.result(huey_id) is not None
    assert (lab.engines("h"), len(lab.lines("h"))) == ([], 1)
    assert "optimize.out" not in daemon.text()


def test_a_bad_file_ends_the_daemon_with_status_2_and_names_the_spot(lab: Lab) -> None:
    write(lab, "[nmr]\ncommand = 'huey_consumer nmr.queue.huey'\nisolation = 'threads'\n")
    ended = lab.home.run("run", "--", *CONSUMER)
    assert ended.returncode == 2
    assert "apps.toml" in ended.stderr
    assert "nmr.isolation: 'threads' is not one of auto, fork, exec, worker" in ended.stderr
