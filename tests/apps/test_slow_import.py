"""An application whose import takes longer than a client waits for a process that is gone."""

from __future__ import annotations

import time

import pytest

from tests.apps.conftest import CONSUMER, Lab
from tests.apps.test_kills import check_complete
from tests.apps.test_reports import ended_as
from tests.support import wait_for

_IMPORT_S = 35.0  # a client gives up a dead process after 30 s
_LAUNCHED = ("sh", "-c", f"{' '.join(CONSUMER)}; true")


def begin(lab: Lab, command: tuple[str, ...]) -> str:
    """A task of a killed daemon, under another one whose host imports the application."""
    huey_id: str = lab.enqueue("tasks.optimise('j1', 3)")
    lab.start(command)
    wait_for(lambda: lab.engines("j1"), 30.0, "the engine")
    lab.kill("tree")
    (lab.folder / "data/hold").touch()
    lab.start(command)
    wait_for(lambda: newest_attempt(lab, huey_id) == (2, "claimed"), 10.0, "the second claim")
    return huey_id


def newest_attempt(lab: Lab, huey_id: str) -> tuple[int, str]:
    [step] = lab.job(huey_id)["steps"]
    return step["attempt"], step["state"]


def attempts(lab: Lab, huey_id: str) -> list[str | None]:
    """How each attempt of the task ended."""
    return [attempt["code"] for attempt in lab.home.json("why", huey_id)["attempts"]]


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("command", [CONSUMER, _LAUNCHED], ids=["own", "launched"])
def test_a_task_waits_for_a_host_that_imports_its_application(lab: Lab, command: tuple[str, ...]) -> None:
    huey_id = begin(lab, command)
    time.sleep(_IMPORT_S)
    (lab.folder / "data/hold").unlink()
    check_complete(lab, huey_id, 2)
    assert attempts(lab, huey_id) == ["worker_lost", "ok"]


def test_a_task_that_waits_for_its_host_can_be_cancelled(lab: Lab) -> None:
    huey_id = begin(lab, CONSUMER)
    assert lab.home.run("cancel", huey_id).returncode == 0
    wait_for(lambda: lab.job(huey_id)["steps"][0]["state"] == "cancelled", 5.0, "the end of the task")
    (lab.folder / "data/hold").unlink()
    assert ended_as(lab, "j1") == ["failed: interrupted"]  # stands in for CANCELED, which nothing here listens to
    assert len(lab.lines("j1")) == 1


def test_a_stop_does_not_wait_for_a_host_that_imports_its_application(lab: Lab) -> None:
    huey_id = begin(lab, CONSUMER)
    assert lab.daemon is not None
    assert lab.daemon.stop() == 0
    (lab.folder / "data/hold").unlink()
    lab.start()
    check_complete(lab, huey_id, 2)
    assert attempts(lab, huey_id) == ["worker_lost", "stopped", "ok"]
