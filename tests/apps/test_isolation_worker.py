"""Isolation `worker`: a lasting process runs one task after the other."""

from __future__ import annotations

import pytest

from qmrunner.guardian import process_tree
from tests.apps.conftest import CONSUMER, Lab, Overlap
from tests.apps.test_apps_file import write
from tests.support import wait_for

TWO = (*CONSUMER[:4], "-w", "2", "-k", "process")


@pytest.fixture
def lasting(lab: Lab) -> Lab:
    write(lab, '["nmr.queue.huey"]\nisolation = "worker"\n')
    return lab


def runs(pid: str) -> bool:
    stat = process_tree.stat_of(int(pid))
    return stat is not None and stat.state not in "ZX"


def test_what_a_task_has_loaded_is_there_for_the_next_one(lasting: Lab) -> None:
    ids = [lasting.enqueue(f"tasks.warm('w{number}')") for number in range(3)]
    lasting.start()
    assert [lasting.await_result(huey_id) for huey_id in ids] == [2, 3, 4]
    wait_for(lambda: {job["state"] for job in lasting.jobs()} == {"succeeded"}, 20.0, "all ends")
    found = [lasting.lines(f"w{number}")[0].split(maxsplit=4) for number in range(3)]
    pids, _, servers, orphans, folders = zip(*found, strict=True)
    assert (len(set(pids)), len(set(servers)), len(set(folders))) == (1, 1, 3)
    assert runs(servers[0])
    wait_for(lambda: not any(runs(orphan) for orphan in orphans), 10.0, "the end of the orphans")
    assert lasting.home.run("sweep").returncode == 0
    assert runs(pids[0])
    assert (lasting.folder / "data/hooks").read_text().split() == [pids[0]]
    assert lasting.left() == {}
    assert lasting.daemon is not None
    assert lasting.daemon.stop() == 0
    wait_for(lambda: not any(runs(pid) for pid in (pids[0], servers[0])), 10.0, "the end of the lasting process")
    assert lasting.home.processes() == []


def test_results_retries_pipelines_and_chords_are_as_in_huey(lasting: Lab) -> None:
    flaky, failed = lasting.enqueue("tasks.flaky('f')"), lasting.enqueue("tasks.fail('x')")
    locked, twice = lasting.enqueue("tasks.locked('k', 1)"), lasting.enqueue("tasks.second_tick('s')")
    pipeline = lasting.enqueue("huey.enqueue(tasks.add.s(1, 2).then(tasks.add, 10))")
    chord = lasting.enqueue("huey.enqueue(chord([tasks.add.s(i, i) for i in range(3)], tasks.total.s())).callback")
    lasting.start(TWO)
    wait_for(lambda: (lasting.result(flaky), lasting.result(twice)) == ("second", "done"), 60.0, "the second tries")
    assert lasting.await_result(failed).metadata["error"] == "ValueError('no luck with x')"
    assert [lasting.await_result(part) for part in pipeline] == [3, 13]
    assert (lasting.await_result(chord), lasting.await_result(locked)) == (6, "k")
    wait_for(lambda: not lasting.left(), 20.0, "an empty queue")
    assert lasting.locks() == []
    assert len(lasting.pids("qm-lasting")) <= 2


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "bodies"), [("qm-task", 2), ("qm-lasting", 2), ("qm-apphost", 1), ("tree", 2)])
def test_a_killed_process_costs_no_task(lasting: Lab, killed: str, bodies: int) -> None:
    before = lasting.enqueue("tasks.add(1, 2)")
    huey_id = lasting.enqueue("tasks.optimise('j1', 4)")
    lasting.start()
    assert lasting.await_result(before) == 3
    wait_for(lambda: lasting.engines("j1"), 40.0, "the engine")
    with Overlap(lasting, "j1") as overlap:
        lasting.kill(killed)
        if killed == "tree":
            lasting.start()
        assert lasting.await_result(huey_id, 60.0)["job"] == "j1"
    assert overlap.most == 1
    assert lasting.states("j1") == ["running"] * bodies + ["complete"]
    wait_for(lambda: {job["state"] for job in lasting.jobs()} == {"succeeded"}, 20.0, "all ends")
    assert (lasting.left(), lasting.engines("j1")) == ({}, [])


@pytest.mark.slow
def test_a_stop_is_no_failure_for_the_application(lasting: Lab) -> None:
    huey_id = lasting.enqueue("tasks.optimise('j1', 5)")
    lasting.start()
    wait_for(lambda: lasting.engines("j1"), 40.0, "the engine")
    assert lasting.daemon is not None
    assert lasting.daemon.stop() == 0
    assert (lasting.engines("j1"), lasting.home.processes()) == ([], [])
    assert lasting.states("j1") == ["running"]
    lasting.start()
    assert lasting.await_result(huey_id, 60.0)["job"] == "j1"
    assert lasting.states("j1") == ["running", "running", "complete"]
