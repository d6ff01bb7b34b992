"""The storm: a real daemon, a stream of short jobs, and faults of every kind, all drawn from one seed."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from qmrunner.app import App
from qmrunner.errors import QmrunnerError
from qmrunner.guardian import process_tree
from qmrunner.model.states import JOB_FINAL
from qmrunner.store import operator_actions
from qmrunner.store.tables import jobs
from qmrunner.submission import job_kinds
from qmrunner.submission.submit import submit
from tests.chaos.checker import COUNTERS, check
from tests.chaos.windows import NAMES, WINDOWS
from tests.support import ROOT, Daemon, Home, wait_for

INJECT = Path(__file__).with_name("inject")
STAND_IN = Path(__file__).parents[1] / "stand_ins" / "xtb"
UNFINISHED_AT_LEAST = 6
EXTRA = {
    "QMRUNNER_XTB": str(STAND_IN),
    "QMRUNNER_CONFINE": "off",  # the locks by which overlaps are seen lie outside of the attempts
    "QMRUNNER_ADOPTION_SECONDS": "30",
    "QMRUNNER_MAX_RETRIES": "1000000",
    "QMRUNNER_POISON_DEATHS": "1000000",
    "QMRUNNER_RETRY_DELAY_SECONDS": "0",
    "QMRUNNER_STOP_GRACE_SECONDS": "4",
    "QMRUNNER_SWEEP_SECONDS": "3",
    "QMRUNNER_LEASE_SECONDS": "3",
}


@dataclass
class Storm:
    """One run. `report` has its results."""

    folder: Path
    seed: int
    seconds: float
    quiet_s: float = 60.0
    pause_s: float = 0.5
    counts: Counter[str] = field(default_factory=Counter)
    acknowledged: list[str] = field(default_factory=list)
    harmed: set[str] = field(default_factory=set)
    later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    up_at: float = 0.0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        locks = self.folder / "locks"
        locks.mkdir()
        self.home = Home(self.folder / "home", {**EXTRA, "STAND_IN_LOCKS": str(locks)})
        self.plan = self.folder / "plan.json"
        plan = {"seed": self.seed, "often": 0.2, "seldom": 0.01, "folder": str(self.folder), "windows": WINDOWS}
        self.plan.write_text(json.dumps(plan))
        self.app = App(self.home.settings)
        self.daemon: Daemon | None = None
        self.commands: list[subprocess.Popen[bytes]] = []

    # -- the run ----------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        began = time.monotonic()
        self.app.open_store(create=True)
        try:
            while time.monotonic() - began < self.seconds:
                self._keep_daemon()
                self._keep_jobs()
                self._do_what_is_due()
                self.dice.choice(self._faults())()
                time.sleep(self.dice.expovariate(1 / self.pause_s))
            quiet = self._calm()
            found = check(self.home, self.acknowledged, self.harmed)
            found["overlapping"] = _lines(self.folder / "locks" / "overlaps")
        finally:
            self._clear_away()
        return self._report(found, time.monotonic() - began, quiet)

    def _faults(self) -> list[Callable[[], None]]:
        aims = [*["engine"] * 2, *["guardian"] * 3, *["spawner"] * 2, *["consumer"] * 3, "supervisor"]
        kind = self.dice.choice(aims)
        others = [
            self._restart, self._kill_all, self._lock_store, self._lose_queue, self._damage_queue, self._cancel,
            self._fill_disk, self._nothing,
        ]  # fmt: skip
        return [*[lambda: self._kill(kind)] * 8, *[lambda: self._freeze(kind)] * 4, *others]

    def _keep_daemon(self) -> None:
        """The service manager's part."""
        if self.daemon is not None and self.daemon.running():
            return
        self.counts["starts"] += 1
        environment = {"PYTHONPATH": f"{INJECT}:{ROOT}", "CHAOS_PLAN": str(self.plan)}
        self.daemon = _Daemon(self.home, self.folder / "daemon.out", environment)
        self.up_at = time.monotonic()

    def _keep_jobs(self) -> None:
        for process in list(self.commands):
            if process.poll() is not None:
                self.commands.remove(process)
                if process.returncode == 0:
                    assert process.stdout is not None
                    self.acknowledged.append(json.loads(process.stdout.read())["id"])
                process.stdout and process.stdout.close()
        while self._unfinished() < UNFINISHED_AT_LEAST:
            path = self._structure()
            if not self.commands and self.dice.random() < 0.3:
                self._submit_by_command(path)
            try:
                self.acknowledged.append(submit(self.app, job_kinds.xtb(str(path))).job_id)
            except QmrunnerError:
                return  # the store is locked or the disk is full: nothing was promised

    def _structure(self) -> Path:
        path = self.folder / f"mol{self.dice.randrange(8)}.xyz"
        # With the marker: below init, where the tree of a guardian falls whose supervisor was killed before, nothing
        # else shows whose it is. (As PID 1 of a container the supervisor takes all of them along.)
        litter = " litter=2" if self.dice.random() < 0.2 else ""
        stubborn = " stubborn=1" if self.dice.random() < 0.2 else ""
        seconds = self.dice.choice((0, 0, 1, 2))
        path.write_text(f"3\nseconds={seconds}{litter}{stubborn}\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n")
        return path

    def _submit_by_command(self, path: Path) -> None:
        environment = self.home.environment(PYTHONPATH=f"{INJECT}:{ROOT}", CHAOS_PLAN=str(self.plan))
        argv = [sys.executable, "-m", "qmrunner", "submit", "xtb", str(path), "--json"]
        self.commands.append(
            subprocess.Popen(argv, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        )

    def _unfinished(self) -> int:
        with self.app.store.read() as connection:
            query = select(func.count()).select_from(jobs).where(jobs.c.state.not_in(JOB_FINAL))
            return int(connection.execute(query).scalar_one())

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        due = [work for at, work in self.later if at <= now]
        self.later = [(at, work) for at, work in self.later if at > now]
        for work in due:
            work()

    # -- faults -----------------------------------------------------------------------------------------------------

    def _victims(self, kind: str) -> list[tuple[int, str]]:
        """(pid, job or nothing) of the processes of one kind."""
        if kind == "engine":
            return [(pid, marker.split("/")[0]) for pid, marker in process_tree.marked().items() if self._is_ours(pid)]
        names = {"guardian": "qm-guardian", "spawner": "qm-spawner", "consumer": "qm-consumer"}
        if kind == "supervisor":
            return [(self.daemon.pid, "")] if self._settled_in() else []
        stats = [(pid, process_tree.stat_of(pid)) for pid in self.home.processes()]
        return [(pid, "") for pid, stat in stats if stat is not None and stat.comm == names[kind]]

    def _is_ours(self, pid: int) -> bool:
        return pid in self.home.processes()

    def _signal(self, kind: str, number: int) -> int | None:
        """Which process was signalled, through a pidfd."""
        victims = sorted(self._victims(kind))
        if not victims:
            return None
        pid, job = self.dice.choice(victims)
        identity = process_tree.identity_of(pid)
        if identity is None or not process_tree.send(identity, number):
            return None
        if job:
            self.harmed.add(job)
        return pid

    def _kill(self, kind: str) -> None:
        if self._signal(kind, signal.SIGKILL):
            self.counts[f"kill_{kind}"] += 1

    def _freeze(self, kind: str) -> None:
        pid = self._signal(kind, signal.SIGSTOP)
        if pid is None:
            return
        self.counts[f"freeze_{kind}"] += 1
        identity = process_tree.identity_of(pid)

        def thaw() -> None:
            if identity is not None:
                process_tree.send(identity, signal.SIGCONT)

        # Now and then for longer than the lease of 3 s.
        self.later.append((time.monotonic() + self.dice.choice((0.1, 0.5, 1.5, 4.0)), thaw))

    def _settled_in(self) -> bool:
        """Whether the daemon has had the time to get to work: else none ever would."""
        return self.daemon is not None and self.daemon.running() and time.monotonic() - self.up_at > 4.0

    def _restart(self) -> None:
        if self.daemon is not None and self._settled_in():
            self.daemon.process.terminate()
            if self.dice.random() < 0.3:
                self.later.append((time.monotonic() + 0.3, lambda: self._signal("supervisor", signal.SIGTERM) and None))
            self.counts["term_supervisor"] += 1

    def _kill_all(self) -> None:
        """As a machine goes down: everything at once, engines too."""
        if not self._settled_in():
            return
        self.home.end_processes()
        if self.daemon:
            self.daemon.process.wait(10)
        self.counts["kill_all"] += 1

    def _lock_store(self) -> None:
        with suppress(sqlite3.OperationalError):
            foreign = sqlite3.connect(self.home.settings.home / "store.db", timeout=1.0, isolation_level=None)
            foreign.execute("BEGIN IMMEDIATE")
            self.counts["store_locked"] += 1
            time.sleep(self.dice.uniform(0.2, 2.5))
            foreign.execute("ROLLBACK")
            foreign.close()

    def _lose_queue(self) -> None:
        for path in self.home.path.glob("queue.db*"):
            path.unlink(missing_ok=True)
        self.counts["queue_deleted"] += 1

    def _damage_queue(self) -> None:
        path = self.home.path / "queue.db"
        new = path.with_name("queue.new")
        with suppress(OSError):  # the disk may be full just now
            new.write_bytes(self.dice.choice((b"", b"no database" * 500)))
            os.replace(new, path)
            self.counts["queue_damaged"] += 1

    def _cancel(self) -> None:
        with suppress(QmrunnerError), self.app.store.write() as connection:
            open_ones = connection.execute(select(jobs.c.id).where(jobs.c.state.not_in(JOB_FINAL))).scalars().all()
            if open_ones:
                operator_actions.cancel(connection, time.time(), self.dice.choice(sorted(open_ones)))
                self.counts["cancelled"] += 1

    def _fill_disk(self) -> None:
        """Only where the home lies on a separate small disk: see `disk`."""
        if not os.path.ismount(self.folder) or self.dice.random() < 0.5:
            return
        found = os.statvfs(self.folder)
        hog = self.folder / "hog"
        with suppress(OSError), open(hog, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize)
        self.counts["disk_filled"] += 1
        with suppress(OSError):
            time.sleep(self.dice.uniform(0.1, 1.0))
        hog.unlink(missing_ok=True)
        # An engine's own output may have been cut: that its job reports it is right.
        self.harmed.update(self._running_jobs())

    def _running_jobs(self) -> list[str]:
        with self.app.store.read() as connection:
            return list(connection.execute(select(jobs.c.id)).scalars())

    def _nothing(self) -> None:
        """A breath: the daemon gets to work."""
        time.sleep(self.dice.uniform(0.5, 2.0))

    # -- the end ----------------------------------------------------------------------------------------------------

    def _calm(self) -> float:
        """No more faults; how long it then took until every job had ended, seconds. Never raises for being late."""
        (self.folder / "off").touch()
        for _, work in self.later:
            work()
        self.later.clear()
        for process in self.commands:
            process.wait(60)
        began = time.monotonic()
        with suppress(AssertionError):
            wait_for(self._all_ended, self.quiet_s, "the end of all jobs")
        took = time.monotonic() - began
        self._keep_jobs_acknowledged()
        with suppress(AssertionError):
            wait_for(lambda: not process_tree.marked() or not self._engines(), 10.0)
        assert self.daemon is not None
        if self.daemon.running():
            self.daemon.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.daemon.process.wait(15)
        with suppress(AssertionError):
            wait_for(lambda: not self.home.processes(), 5.0)
        # What a crash may leave for the sweep, the sweep must find.
        self._daemonless_sweep()
        return took

    def _all_ended(self) -> bool:
        self._keep_daemon()
        return self._unfinished() == 0

    def _engines(self) -> list[int]:
        return [pid for pid in process_tree.marked() if self._is_ours(pid)]

    def _keep_jobs_acknowledged(self) -> None:
        for process in self.commands:
            if process.returncode == 0 and process.stdout is not None:
                self.acknowledged.append(json.loads(process.stdout.read())["id"])
        self._end_commands()

    def _end_commands(self) -> None:
        for process in self.commands:
            with process:
                process.kill()
        self.commands.clear()

    def _daemonless_sweep(self) -> None:
        last = _Daemon(self.home, self.folder / "daemon.out", {"PYTHONPATH": str(ROOT)})
        with suppress(AssertionError):
            last.wait_ready()
            self.home.run("sweep")
            wait_for(lambda: not list(self.home.settings.run_root.glob("tails/*~*")), 5.0)
        last.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            last.process.wait(15)

    def _clear_away(self) -> None:
        (self.folder / "off").touch()
        self._end_commands()
        self.app.close()
        if self.daemon is not None and self.daemon.running():
            self.daemon.process.kill()
            self.daemon.process.wait(10)
        self.home.end_processes()

    def _report(self, found: dict[str, list[str]], took: float, quiet: float) -> dict[str, Any]:
        hits = Counter(line.split()[0] for line in _lines(self.folder / "hits"))
        with App(self.home.settings).store.read() as connection:
            states = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
        kills = sum(count for name, count in self.counts.items() if name.startswith("kill")) + hits.total()
        return {
            "seed": self.seed,
            "seconds": round(took, 1),
            "jobs": {row.state: row[1] for row in states},
            "kills": kills,
            "faults": dict(sorted(self.counts.items())),
            "windows": {name: hits.get(name, 0) for name in NAMES},
            "windows_hit": sum(hits.get(name, 0) > 0 for name in NAMES),
            "quiet_after_s": round(quiet, 1),
            "counters": {name: len(found[name]) for name in COUNTERS},
            "findings": {name: lines[:20] for name, lines in found.items() if lines},
        }


class _Daemon(Daemon):
    """A daemon with further variables over those of the tests."""

    def __init__(self, home: Home, output: Path, environment: dict[str, str]) -> None:
        self.home, self.output = home, output
        with open(output, "ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "qmrunner", "run"],
                cwd=home.path.parent,
                env=home.environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []
