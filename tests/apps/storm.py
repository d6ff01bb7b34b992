"""`python -m tests.apps.storm --kills 40 --seed 1`: tasks of every kind while processes are killed at random.

Prints what was lost, made twice, or left: results, messages, ids of sent messages, locks, processes. Ends with 1 if any
was. `--storage 'redis redis://…'` for another storage than SQLite.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.apps import leftovers
from tests.apps.conftest import Lab
from tests.support import Home, ended_daemons

_START_S, _QUIET_S = 120.0, 180.0  # a storm also runs beside other work
VICTIMS = ("qm-task", "qm-guardian", "qm-lasting", "qm-consumer", "qm-apphost", "daemon", "tree")
ROUND = """
[
    [tasks.work(f'w{n}').id for n in numbers],
    [[one.id for one in huey.enqueue(tasks.work.s(f'p{n}').then(tasks.work_after, f'q{n}'))] for n in numbers],
    [huey.enqueue(chord([tasks.work.s(f'c{n}-{i}') for i in range(3)], tasks.count.s())).callback.id for n in numbers],
    [tasks.locked_work(f'l{n}').id for n in numbers],
]
"""


def storm(lab: Lab, kills: int, chance: random.Random) -> dict[str, Any]:
    """Kill and restart; returns the findings, empty when all is right."""
    singles: list[str] = []
    pipes: list[list[str]] = []
    chords: list[str] = []
    locked: set[str] = set()  # retried by Huey while the lock is held
    start(lab)
    counted: dict[str, int] = {}
    for kill in range(kills):
        if kill % 5 == 0:
            numbers = [kill * 10 + number for number in range(2)]
            code = ROUND.replace("numbers", repr(numbers))
            one, two, three, four = json.loads(lab._run(f"print(json.dumps({code}))"))
            singles += one + four
            locked.update(four)
            pipes += two
            chords += three
        time.sleep(chance.uniform(0.7, 2.5))
        victim = chance.choice(VICTIMS)
        if lab.kill(victim, if_there=True):
            counted[victim] = counted.get(victim, 0) + 1
        if victim in ("daemon", "tree"):
            start(lab)
    expected = {huey_id: repr("done") for huey_id in singles} | dict.fromkeys(chords, "3")
    expected |= {
        huey_id: value for first, last in pipes for huey_id, value in ((first, repr("done")), (last, repr("done done")))
    }
    wrong = await_results(lab, expected)
    wait_until_idle(lab)
    findings: dict[str, Any] = {
        "wrong_or_lost": wrong,
        "duplicated": duplicated(lab, [*singles, *chords, *(part for pipe in pipes for part in pipe)], locked),
        "left": leftovers.of(lab),
        "unfinished": [job for job in lab.jobs() if job["state"] not in ("succeeded", "failed")],
        "failed": [job for job in lab.jobs() if job["state"] == "failed"],
        "survivors": survivors(lab),
    }
    print(json.dumps({"kills": counted, "tasks": len(expected)}))
    return {name: found for name, found in findings.items() if found}


def start(lab: Lab) -> None:
    lab.start(ready=False, **lab.environment).wait_ready(_START_S)


def await_results(lab: Lab, expected: dict[str, str]) -> dict[str, str]:
    """What is missing or wrong once no result has come for a while; how long all of them take depends on the load."""
    wrong, last = dict(expected), time.monotonic()
    while wrong and time.monotonic() < last + _QUIET_S:
        time.sleep(1.0)
        ids = json.dumps(list(wrong))
        stored = json.loads(
            lab._run(
                f"ids = {ids}\n"
                "print(json.dumps({one: repr(huey.serializer.deserialize(huey.storage.peek_data(one))) for one in ids"
                " if huey.storage.has_data_for_key(one)}))"
            )
        )
        still = {huey_id: value for huey_id, value in wrong.items() if stored.get(huey_id) != value}
        if len(still) < len(wrong):
            wrong, last = still, time.monotonic()
    return wrong


def wait_until_idle(lab: Lab) -> None:
    """An end is committed and forgotten a moment after its result is stored."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(1.0)
        if not leftovers.of(lab) and all(job["state"] in ("succeeded", "failed") for job in lab.jobs()):
            return


def duplicated(lab: Lab, ids: list[str], retried: set[str]) -> dict[str, int]:
    """Messages that became more than one job, and ends of one job that were committed more than once."""
    with closing(sqlite3.connect(lab.home.path / "store.db", timeout=30)) as store:
        keys = [key for (key,) in store.execute("select key from jobs where kind = 'huey'")]
        ended = "select job_id, count(*) from attempts where state = 'succeeded' group by job_id having count(*) > 1"
        twice: dict[str, int] = dict(store.execute(ended).fetchall())
    jobs = Counter(key.split(":")[1] for key in keys)
    return twice | {one: jobs[one] for one in ids if one not in retried and jobs[one] != 1}


def survivors(lab: Lab) -> list[int]:
    """Processes of the home after the daemon has stopped."""
    assert lab.daemon is not None
    lab.daemon.stop(60.0)
    end = time.monotonic() + 5
    while (left := lab.home.processes()) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--storage", default="")
    parser.add_argument("--isolation", choices=("fork", "exec", "worker"), default="fork")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qmrunner-storm-") as root:
        folder = Path(root) / "app"
        folder.mkdir()
        with ended_daemons(Home(folder / "home")) as start:
            lab = Lab(folder, start)
            lab.home.extra |= {"QMRUNNER_POISON_DEATHS": "1000", "QMRUNNER_MAX_RETRIES": "1000"}
            lab.home.path.mkdir()
            (lab.home.path / "apps.toml").write_text(f'["nmr.queue.huey"]\nisolation = "{asked.isolation}"\n')
            lab.environment = {"LAB_STORAGE": asked.storage} if asked.storage else {}
            findings = storm(lab, asked.kills, random.Random(asked.seed))
    print(json.dumps({"seed": asked.seed, "findings": findings}, indent=1, default=str))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
