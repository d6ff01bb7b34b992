"""The same application in each of Huey's other storages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import redis
from tests.apps.conftest import Lab
from tests.sampling import share
from tests.support import wait_for


@pytest.fixture(params=share(["file", "own", "redis", "priority-redis-expire", "postgres"], 5))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgres":
        yield f"postgres {request.getfixturevalue('postgres_database')}"
    elif request.param in ("file", "own"):
        yield request.param
    else:
        with redis.server(tmp_path / "redis") as server:
            yield f"{request.param} {server.url}"


@pytest.mark.slow
def test_results_retries_pipelines_and_chords_survive_a_kill_of_every_process(lab: Lab, place: str) -> None:
    lab.environment = {"LAB_STORAGE": place}
    optimised = lab.enqueue("tasks.optimise('j1', 3)")
    flaky = lab.enqueue("tasks.flaky('f')")
    pipeline = lab.enqueue("huey.enqueue(tasks.add.s(1, 2).then(tasks.add, 10))")
    chord = lab.enqueue("huey.enqueue(chord([tasks.add.s(i, i) for i in range(3)], tasks.total.s())).callback")
    lab.start(LAB_STORAGE=place)
    wait_for(lambda: lab.engines("j1"), 30.0, "the engine")
    lab.kill("tree")
    lab.start(LAB_STORAGE=place)
    wait_for(lambda: lab.read_result(flaky) == repr("second"), 60.0, "the second try")
    assert lab.read_result(optimised).startswith("{'job': 'j1'")
    assert [lab.read_result(part) for part in pipeline] == ["3", "13"]
    assert wait_for(lambda: lab.read_result(chord), 30.0) == "6"
    assert lab.states("j1") == ["running", "running", "complete"]
    counted = "len(huey) + huey.scheduled_count()"
    wait_for(lambda: lab.read(counted) == "0", 20.0, "an empty queue")
