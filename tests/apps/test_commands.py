"""The commands of operators, with the id that Huey gave a task."""

from __future__ import annotations

import pytest

from tests.apps.conftest import Lab
from tests.support import wait_for


def test_status_why_and_logs_take_the_id_of_a_huey_task(lab: Lab) -> None:
    huey_id = lab.enqueue("tasks.fail('x')")
    lab.start()
    wait_for(lambda: [job for job in lab.jobs() if job["state"] == "failed"], 20.0, "the failure")
    why = lab.home.json("why", huey_id)
    assert (why["code"], why["evidence"]["text"]) == ("task_error", "ValueError: no luck with x")
    assert why["evidence"]["file"].endswith("nmr/tasks.py")
    assert lab.job(huey_id)["name"] == "nmr.tasks.fail"
    assert "Traceback" in lab.home.run("logs", huey_id).stdout


@pytest.mark.slow
def test_a_task_is_cancelled_and_run_again_by_its_huey_id(lab: Lab) -> None:
    huey_id = lab.enqueue("tasks.optimise('c', 12)")
    lab.start()
    wait_for(lambda: lab.engines("c"), 20.0, "the engine")
    assert lab.home.run("cancel", huey_id).returncode == 0
    wait_for(lambda: lab.job(huey_id)["state"] == "cancelled", 15.0, "the cancellation")
    assert lab.engines("c") == []
    assert lab.states("c") == ["running", "failed: interrupted"]  # nothing of this application listens to CANCELED
    assert lab.home.run("retry", huey_id).returncode == 0
    wait_for(lambda: lab.job(huey_id)["state"] == "succeeded", 40.0, "the second run")
    assert lab.result(huey_id)["job"] == "c"


def test_neither_results_nor_status_contain_the_arguments(lab: Lab) -> None:
    huey_id = lab.enqueue("tasks.add('pass', 'word')")
    lab.start()
    assert lab.await_result(huey_id) == "password"
    wait_for(lambda: lab.job(huey_id)["state"] == "succeeded", 15.0, "the end")
    shown = lab.home.json("result", huey_id)
    assert shown["result"]["huey_id"] == huey_id
    assert "message" not in str(shown)
    assert "message" not in str(lab.job(huey_id))


@pytest.mark.slow
def test_status_shows_the_application_and_what_it_printed_at_its_import_is_on_stdout(lab: Lab) -> None:
    lab.enqueue("tasks.add.schedule((4, 4), delay=600)")
    with (lab.folder / "nmr/queue.py").open("a") as file:
        file.write('print("the application was imported")\n')
    daemon = lab.start()
    apps = wait_for(
        lambda: [one for one in lab.home.json("status")["apps"] if one["scheduled"]], 30.0, "the application"
    )
    (found,) = apps
    assert (found["name"], found["state"], found["stale"]) == ("nmr.queue.huey", "ready", False)
    assert (found["storage"], found["guarantee"], found["isolation"]) == ("SqliteStorage", "full", "fork")
    assert (found["workers"], found["pending"], found["scheduled"]) == (1, 0, 1)
    assert found["pid"] in lab.pids("qm-apphost")
    assert found["import_s"] > 0
    assert "nmr.queue.huey" in lab.home.run("status").stdout
    wait_for(lambda: "app| the application was imported\n" in daemon.text(), 10.0, "its output")


def test_an_application_needs_no_engine_and_keeps_variables_that_engines_do_not_get(lab: Lab) -> None:
    lab.home.extra |= {f"QMRUNNER_{name}": "/nowhere" for name in ("NWCHEM", "XTB", "CREST")}
    huey_id = lab.enqueue("tasks.add(1, 2)")
    daemon = lab.start(OMP_NUM_THREADS="4")
    assert lab.await_result(huey_id) == 3
    told = {event["check"] for event in daemon.events("check")}
    assert not told & {"engines", "environment"}
