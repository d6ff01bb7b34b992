"""`python -m tests.apps.windows --rounds 200 --seed 1`: a kill at a named place of the code in each round.

Every round enqueues tasks of several kinds, and one or two processes are killed by `crash/sitecustomize.py`: before or
after a move of a message, a file of the journal, a commit, a part of Huey's epilogue. All places have their turn. Then
every result must be there, each body must have run once (twice, if the kill came before its outcome was stored), and
nothing may be left. Ends with 1 if anything was wrong. `--storage 'redis redis://…'` for another storage than SQLite;
`--only TEXT` for some places.
"""

from __future__ import annotations

import argparse
import json
import random
import runpy
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.apps.conftest import Lab
from tests.support import ROOT, Home, ended_daemons

CRASH = ROOT / "tests/apps/crash"
_FILES = ("begun", "outcome", "done.json")
_SIGNALS = ("enqueued", "executing", "complete", "error", "retrying")
# A kill here comes after the body began and before its outcome is stored.
AGAIN = (
    "done:write.begun:after",
    "TaskRun._run_body:after",
    "TaskRun._save:before",
    "done:write.outcome:before",
    "TaskLock.acquire:after",
)
ROUND = """
first = tasks.tick('w{n}')
pipe = huey.enqueue(tasks.tick.s('p{n}').then(tasks.tick_after, 'q{n}'))
joined = huey.enqueue(chord([tasks.tick.s('c{n}-0'), tasks.tick.s('c{n}-1')], tasks.count.s()))
locked = tasks.locked_tick('l{n}')
second = tasks.second_tick('s{n}')
later = tasks.tick.schedule(('e{n}',), delay=1)
print(json.dumps([first.id, *[one.id for one in pipe], joined.callback.id, locked.id, second.id, later.id]))
"""
_VALUES = ["done", "done", "done done", 2, "done", "done", "done"]
_BODIES = {"w": 1, "p": 1, "q": 1, "c{n}-0": 1, "c{n}-1": 1, "l": 1, "s": 2, "e": 1}
_DEADLINE_S = 120.0


def places(storage: str) -> list[str]:
    """All places that a task in this storage passes."""
    known = runpy.run_path(str(CRASH / "sitecustomize.py"))["PLACES"]
    other = {"file": ("sql", "redis"), "redis": ("sql", "files")}.get(storage.split("-")[-1], ("files", "redis"))
    found = []
    for module, names in known.items():
        if module.rpartition(".")[2] in other:
            continue
        for name in names:
            parts = _FILES if module.endswith("done") else _SIGNALS if name.endswith("_emit") else ("",)
            found += [f"{module}:{name}{part and f'.{part}'}" for part in parts]
    return [f"{place}:{when}" for place in found for when in ("before", "after")]


class Windows:
    def __init__(self, lab: Lab, known: list[str], chance: random.Random) -> None:
        self.lab = lab
        self.known = known
        self.chance = chance
        self.crash = lab.folder / "crash"
        lab.environment["CRASH_FILE"] = str(self.crash)
        self.counted: Counter[str] = Counter()
        self.wrong: list[dict[str, Any]] = []
        self.missed = 0
        self.turn: list[str] = []

    def round(self, number: int) -> None:
        if not self.turn:
            self.turn = self.chance.sample(self.known, len(self.known))
        asked = [self.turn.pop(), *self.chance.sample(self.known, self.chance.randint(0, 1))]
        self.crash.write_text("".join(f"{place} {self.chance.randint(1, 2)}\n" for place in asked))
        ids = json.loads(self.lab._run(ROUND.replace("{n}", str(number))))
        end = time.monotonic() + _DEADLINE_S
        while (missing := self._missing(ids)) and time.monotonic() < end:
            time.sleep(0.2)
        self.crash.unlink()
        log = Path(f"{self.crash}.log")
        reached = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        self.counted.update(reached)
        self.missed += not reached
        found = self._judge(number, missing, sum(place.endswith(AGAIN) for place in reached))
        if found:
            self.wrong.append({"round": number, "asked": asked, "reached": reached, **found})
            print(json.dumps(self.wrong[-1], default=str), flush=True)

    def _missing(self, ids: list[str]) -> Any:
        """Results that are not as they must be, and how many messages wait."""
        if self.lab.environment.get("LAB_STORAGE"):
            code = (
                "found = [huey.serializer.deserialize(huey.storage.peek_data(one))"
                f" if huey.storage.has_data_for_key(one) else None for one in {ids!r}]\n"
                "print(json.dumps([[str(one) for one in found], len(huey) + huey.scheduled_count()]))"
            )
            found, waiting = json.loads(self.lab._run(code))
        else:
            found, waiting = [str(self.lab.result(one)) for one in ids], len(self.lab.left())
        wrong = {one: value for one, value, wanted in zip(ids, found, _VALUES, strict=True) if value != str(wanted)}
        return [wrong, waiting] if wrong or waiting else None

    def _judge(self, number: int, missing: Any, again: int) -> dict[str, Any]:
        bodies = {}
        for job, expected in _BODIES.items():
            job = job.replace("{n}", str(number)) if "{n}" in job else f"{job}{number}"
            ran = len(self.lab.lines(job))
            if ran != expected:
                bodies[job] = ran - expected
        end = time.monotonic() + 30
        open_jobs: list[Any] = [None]
        while open_jobs and time.monotonic() < end:
            time.sleep(0.1)
            open_jobs = [one for one in self.lab.jobs() if one["state"] not in ("succeeded", "failed")]
        left = {} if self.lab.environment.get("LAB_STORAGE") else self.lab.left()
        locks = [] if self.lab.environment.get("LAB_STORAGE") else self.lab.locks()
        found = {"missing": missing, "jobs": open_jobs, "left": left, "locks": locks}
        if sum(abs(more) for more in bodies.values()) > again or any(more < 0 for more in bodies.values()):
            found["bodies"] = bodies
        return {name: value for name, value in found.items() if value}


def run(lab: Lab, known: list[str], rounds: int, chance: random.Random) -> Windows:
    """So many rounds on one daemon."""
    windows = Windows(lab, known, chance)
    lab.start(before=("env", f"PYTHONPATH={CRASH}:{ROOT}"), **lab.environment)
    for number in range(rounds):
        windows.round(number)
    return windows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--storage", default="")
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    known = [place for place in places(asked.storage.partition(" ")[0]) if asked.only in place]
    with tempfile.TemporaryDirectory(prefix="qmrunner-windows-") as root:
        folder = Path(root) / "app"
        folder.mkdir()
        with ended_daemons(Home(folder / "home")) as start:
            lab = Lab(folder, start)
            lab.environment = {"LAB_STORAGE": asked.storage} if asked.storage else {}
            windows = run(lab, known, asked.rounds, random.Random(asked.seed))
    kills, never = sum(windows.counted.values()), [place for place in known if not windows.counted[place]]
    shown = {"rounds": asked.rounds, "kills": kills, "places": len(known) - len(never), "not_reached": windows.missed}
    print(json.dumps({"seed": asked.seed, **shown, "wrong": windows.wrong, "without_a_kill": never}, default=str))
    return 1 if windows.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
