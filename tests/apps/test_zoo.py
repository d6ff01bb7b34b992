"""One task of each kind that Huey knows, under `huey_consumer` and under qmrunner: the same happens to every one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import redis
from tests.apps.conftest import Lab
from tests.sampling import share
from tests.support import wait_for

COMMAND = (sys.executable, "-m", "huey.bin.huey_consumer", "zoo.queue.huey", "-w", "1", "-k", "process")
# All of them take some six minutes.
SLOW = share(("file", "postgres", "signed", "redis", "redis-expire", "priority-redis", "priority-redis-expire"), 3)
# Huey sends no signal at all for a result that cannot be stored; qmrunner sends ERROR.
UNSTORABLE = "unstorable.unstorable"
# Their first run may find that their time has not come, or that it has: the load of the machine decides.
TIMED = ("eta.plain", "nested-later.plain")


@pytest.fixture(params=["sqlite", *(pytest.param(one, marks=pytest.mark.slow) for one in SLOW)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgres":
        yield f"postgres {request.getfixturevalue('postgres_database')}"
    elif "redis" in request.param:
        with redis.server(tmp_path / "redis") as server:
            yield f"{request.param} {server.url}"
    else:
        yield request.param.replace("sqlite", "")


@pytest.mark.timeout(300)
def test_every_kind_of_task_is_treated_as_by_huey_itself(lab: Lab, storage: str, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    plain = Lab(tmp_path / "plain", no_daemon)
    plain.environment = {"LAB_STORAGE": storage, "LAB_NAME": "plain"}
    lab.environment = {"LAB_STORAGE": storage, "LAB_NAME": "ours"}
    enqueue(plain)
    with plain.plain(COMMAND, tmp_path / "plain.out"):
        expected = await_all(plain)
    enqueue(lab)
    lab.start(COMMAND, **lab.environment)
    found = await_all(lab)
    assert found["cases"].pop(UNSTORABLE)[-1][0] == "error"
    assert expected["cases"].pop(UNSTORABLE)[-1] == ["pre", ""]
    assert len(expected["cases"]) > 40
    assert found["cases"] == expected["cases"]
    assert found["results"] == expected["results"]
    assert (found["left"], found["keys"]) == ([0, 0], expected["keys"])
    # The order of what waits for nothing.
    first = [case for case in expected["bodies"] if expected["bodies"].count(case) == 1][:20]
    assert [case for case in found["bodies"] if case in first] == first


def enqueue(lab: Lab) -> None:
    lab.module("zoo.enqueue")


def await_all(lab: Lab) -> dict[str, Any]:
    """What happened to all tasks, once the task that waits for all others has ended."""
    notes = lab.folder / "data/zoo.jsonl"
    wait_for(lambda: '["last.last", "complete"' in notes.read_text(), 110.0, "the last task")
    seen: dict[str, Any] = json.loads(lab.module("zoo.show"))
    for case in TIMED:
        events = [event for event in seen["cases"][case] if event[0] != "scheduled"]
        seen["cases"][case] = [event for number, event in enumerate(events) if event not in events[:number]]
    return seen


def no_daemon(**_: Any) -> Any:
    raise AssertionError("plain Huey only")
