"""Options of tasks: processes that outlive a task, and a bound for silence."""

from __future__ import annotations

from qmrunner.guardian import process_tree
from tests.apps.conftest import Lab
from tests.support import wait_for


def left_by(lab: Lab, job: str) -> list[int]:
    """The living programs that the task has started, the newest last."""
    pids = [int(line.split()[-1]) for line in lab.lines(job)]
    return [pid for pid in pids if (stat := process_tree.stat_of(pid)) and stat.comm == "sleep"]


def end_of_leaving(lab: Lab) -> int:
    """The pid of what a task left that has ended well."""
    huey_id = lab.enqueue("tasks.leave_running('left')")
    lab.start()
    assert lab.await_result(huey_id) == "left"
    wait_for(lambda: lab.job(huey_id)["state"] == "succeeded", 20.0, "the end of the job")
    wait_for(lambda: lab.pids("qm-foster"), 10.0, "a foster")
    assert not lab.pids("qm-guardian")
    return left_by(lab, "left")[0]


def test_what_a_task_leaves_on_purpose_runs_until_the_daemon_stops(lab: Lab) -> None:
    left = end_of_leaving(lab)
    ended = lab.home.run("sweep")
    assert ended.returncode == 0
    for name in ("qm-consumer", "qm-apphost"):
        old = lab.pids(name)
        lab.kill(name)
        wait_for(lambda name=name, old=old: set(lab.pids(name)) - set(old), 40.0, f"another {name}")
    other = lab.enqueue("tasks.add(1, 2)")
    assert lab.await_result(other) == 3
    assert left_by(lab, "left") == [left]
    assert lab.left() == {}
    assert lab.daemon is not None
    assert lab.daemon.stop() == 0
    assert (left_by(lab, "left"), lab.home.processes()) == ([], [])


def test_what_a_task_left_ends_with_a_killed_daemon(lab: Lab) -> None:
    end_of_leaving(lab)
    lab.kill("daemon")
    wait_for(lambda: not left_by(lab, "left"), 10.0, "the end of what was left")
    wait_for(lambda: not lab.pids("qm-foster"), 10.0, "the end of its foster")


def test_what_a_task_left_ends_with_its_foster(lab: Lab) -> None:
    end_of_leaving(lab)
    lab.kill("qm-foster")
    wait_for(lambda: not left_by(lab, "left"), 10.0, "the end of what was left")


def test_a_task_that_died_leaves_nothing(lab: Lab) -> None:
    lab.home.extra["QMRUNNER_MAX_RETRIES"] = "1"
    huey_id = lab.enqueue("tasks.leave_running('died', 3)")
    lab.start()
    wait_for(lambda: [one["state"] for one in lab.jobs()] == ["failed"], 40.0, "the end of the job")
    assert lab.job(huey_id)["code"] == "task_died"
    assert len(lab.lines("died")) == 2
    assert (left_by(lab, "died"), lab.pids("qm-foster")) == ([], [])


def test_a_task_that_is_silent_for_longer_than_it_may_be_runs_again(lab: Lab) -> None:
    huey_id = lab.enqueue("tasks.stuck('s')")
    daemon = lab.start()
    assert lab.await_result(huey_id, 60.0) == "moved"
    assert len(lab.lines("s")) == 2
    hung = daemon.told("step_hung")
    assert (hung[0]["kind"], hung[0]["bound_s"]) == ("idle", 2.0)
    attempts = lab.home.json("why", huey_id)["attempts"]
    assert [attempt["code"] for attempt in attempts][:1] == ["hung"]
