"""Workers on separate machines, and their results: the same questions as after a storm."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from qmrunner.app import App
from qmrunner.guardian import process_tree
from qmrunner.host.home import STATE_FILE
from qmrunner.model.states import JOB_FINAL
from qmrunner.store.tables import attempts, jobs, workers
from qmrunner.submission import job_kinds
from qmrunner.submission.submit import submit
from tests.chaos.checker import check
from tests.faults.network import POSTGRES, REDIS, Network
from tests.support import ROOT, Home, wait_for

STAND_IN = ROOT / "tests" / "stand_ins" / "xtb"
INJECT = Path(__file__).with_name("inject")
LEASE_S = 10.0
# What a store's or queue's machine, a partition and a wrong clock may not cause. An overlap costs time, never truth.
NEVER = ("lost", "duplicated", "stuck", "surviving", "stale", "incomplete", "wronged", "leaked")
_TIMES = {
    "QMRUNNER_HEARTBEAT_SECONDS": "0.5",
    "QMRUNNER_LEASE_SECONDS": str(LEASE_S),
    "QMRUNNER_SWEEP_SECONDS": "3",
    "QMRUNNER_POISON_DEATHS": "1000",
    "QMRUNNER_RETRY_DELAY_SECONDS": "0",
    "QMRUNNER_REUSE": "on",  # the look for an identical step is one of the store's; here no two are identical
}


class Machine:
    """A worker with a home, and its own network and process ids; only the folder of jobs is shared."""

    def __init__(self, network: Network, number: int, folder: Path, database: str) -> None:
        self.network, self.number = network, number
        self.name = f"m{number}"
        self.shift_s = 0.0
        self.lost = False
        self.output = folder / f"{self.name}.out"
        self.home = Home(folder / self.name, settings(network, number, folder, database))
        # The same home, as it is looked at from here.
        self.seen = Home(folder / self.name, settings(network, 0, folder, database))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Machine:
        environment = self.home.environment(PYTHONPATH=f"{INJECT}:{ROOT}", CLOCK_SHIFT=str(self.shift_s))
        there = self.network.inside(self.network.name(self.number))
        own_pids = ["unshare", "--fork", "--pid", "--kill-child", "--mount-proc"]
        with open(self.output, "ab") as sink:
            self._process = subprocess.Popen(
                [*there, *own_pids, sys.executable, "-m", "qmrunner", "run"],
                cwd=self.home.path.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def keep(self) -> None:
        """The service manager's part: a daemon that ended by itself is started again."""
        if self._process is not None and self._process.poll() is not None and not self.lost:
            self.start()

    def signal(self, number: int) -> None:
        """To the daemon, which is process 1 there."""
        assert self._process is not None
        for pid in process_tree.children_of(self._process.pid):
            identity = process_tree.identity_of(pid)
            if identity is not None:
                process_tree.send(identity, number)

    def clock(self) -> float:
        """What time it is there, by the state file of its daemon, Unix seconds."""
        return float(json.loads((self.home.settings.run_root / STATE_FILE).read_text())["at"])

    def consumers(self) -> list[int]:
        """Living consumers of this machine."""
        stats = [(pid, process_tree.stat_of(pid)) for pid in self.home.processes()]
        return [
            pid for pid, stat in stats if stat and stat.comm == process_tree.CONSUMER_NAME and stat.state not in "ZX"
        ]

    def die_for_good(self) -> None:
        """Everything that runs there at once; nothing of it comes back."""
        self.lost = True
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(20)

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self.signal(signal.SIGTERM)
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def said(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""


def settings(network: Network, number: int, folder: Path, database: str) -> dict[str, str]:
    address = network.address(number)
    return {
        **_TIMES,
        "QMRUNNER_STORE_URL": f"postgresql://postgres@{address}:{POSTGRES}/{database}",
        "QMRUNNER_QUEUE_URL": f"redis://{address}:{REDIS}/0",
        "QMRUNNER_JOBS": str(folder / "jobs"),
        "QMRUNNER_WORKER_NAME": f"m{number}",
        "QMRUNNER_XTB": str(STAND_IN),
    }


@dataclass
class Site:
    """All machines of one store. `recovery_s` is what the last `wait_for_all` took."""

    network: Network
    folder: Path
    database: str
    machines: list[Machine] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    harmed: set[str] = field(default_factory=set)
    recovery_s: float = 0.0

    def __post_init__(self) -> None:
        self.client = Home(self.folder / "client", settings(self.network, 0, self.folder, self.database))
        self.app = App(self.client.settings)

    def start(self, count: int = 2, shift_s: float = 0.0) -> Site:
        self.app.open_store(create=True)
        self.machines = [Machine(self.network, n, self.folder, self.database) for n in range(1, count + 1)]
        for machine in self.machines:
            machine.shift_s = shift_s if machine.number == 1 else 0.0
            machine.start()
        try:
            wait_for(lambda: self._beating() == count, 100.0, "all workers to beat")
        except AssertionError as late:
            late.add_note("\n".join(f"{machine.name}: {machine.said()[-2000:]}" for machine in self.machines))
            raise
        return self

    def submit(self, count: int, seconds: int) -> list[str]:
        """So many jobs that each take so long."""
        path = self.folder / "molecule.xyz"
        new = []
        for _ in range(count):
            text = f"seconds={seconds} number={len(self.acknowledged)}"
            path.write_text(f"3\n{text}\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n")
            new.append(submit(self.app, job_kinds.xtb(str(path))).job_id)
            self.acknowledged.append(new[-1])
        return new

    def wait_until_busy(self) -> None:
        """Until every machine runs something."""
        wait_for(lambda: len(self.running()) == len(self.machines), 60.0, "all workers to run something")

    def running(self) -> dict[str, int]:
        """Running attempts by worker."""
        query = (
            select(workers.c.name, func.count())
            .join(attempts, attempts.c.worker_id == workers.c.id)
            .where(attempts.c.state == "running")
            .group_by(workers.c.name)
        )
        with self.app.store.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def hold(self, seconds: float) -> None:
        """Let that time pass, as long as a fault lasts; ended daemons are started again."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for machine in self.machines:
                machine.keep()
            time.sleep(0.1)

    def hold_until_condemned(self) -> None:
        """Let a fault last until another machine has called its victim lost."""

        def called() -> bool:
            for machine in self.machines:
                machine.keep()
            return self.condemned() > 0

        wait_for(called, LEASE_S * 6, "the verdict")

    def wait_for_all(self, deadline_s: float = 90.0) -> float:
        """Until every job has ended; how long that took, seconds."""
        began = time.monotonic()

        def ended() -> bool:
            for machine in self.machines:
                machine.keep()
            with self.app.store.read() as connection:
                open_ones = select(func.count()).select_from(jobs).where(jobs.c.state.not_in(JOB_FINAL))
                return not connection.execute(open_ones).scalar_one()

        with suppress(AssertionError):  # what is stuck is reported by the findings
            wait_for(ended, deadline_s)
        self.recovery_s = time.monotonic() - began
        return self.recovery_s

    def findings(self) -> dict[str, list[str]]:
        """Everything stopped; what is wrong then. Empty when all is well."""
        with suppress(AssertionError):  # what the sweeps leave is reported by the findings
            wait_for(lambda: not self._litter(), 20.0)
        for machine in self.machines:
            machine.stop()
        found: dict[str, set[str]] = {}
        for machine in self.machines:
            for name, lines in check(machine.seen, self.acknowledged, self.harmed).items():
                if name in NEVER and not (machine.lost and name == "leaked") and lines:
                    found.setdefault(name, set()).update(lines)
        return {name: sorted(lines) for name, lines in found.items()}

    def _litter(self) -> list[Path]:
        """Scratch folders, and results that were staged and not published; every job has ended."""
        roots = [machine.seen.settings.scratch_root for machine in self.machines if not machine.lost]
        staged = list((self.folder / "jobs").glob("*/.*.new"))
        return [path for root in roots for path in root.glob("*")] + staged

    def condemned(self) -> int:
        """How often a worker was called lost by another."""
        return sum(machine.said().count('"worker_lost"') for machine in self.machines)

    def close(self) -> None:
        self.app.close()
        for machine in self.machines:
            machine.stop()
            machine.home.end_processes()

    def _beating(self) -> int:
        with self.app.store.read() as connection:
            query = select(func.count()).select_from(workers).where(workers.c.beat > 0, workers.c.state == "active")
            return int(connection.execute(query).scalar_one())
