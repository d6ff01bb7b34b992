"""What qmrunner adds to a run, beside the bare engine and beside a plain Huey task that calls `subprocess.run`.

    python benchmarks/overhead.py [--jobs 20] [--rounds 3] [--quiet 60] [--idle 60] [--json]

All three run the same xTB optimisation of water (20 to 50 ms), one at a time, in turns within one run, so that a noisy
machine disturbs all of them alike. Figures are medians unless stated otherwise. benchmarks/README.md describes how each
is measured, docs/explanation/performance.md has the results.
"""

from __future__ import annotations

import argparse
import fcntl
import itertools
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Service = TypeVar("Service", "PlainHuey", "Daemon")
WATER = "3\nwater\nO 0.0 0.0 0.12\nH 0.0 0.76 -0.48\nH 0.0 -0.76 -0.48\n"
FLAGS = ("--opt", "tight")
TICKS = os.sysconf("SC_CLK_TCK")
CONSUMER = "--serve-huey"
# The aims of the project: name, unit, limit.
AIMS = {
    "cpu_added_ms": 40.0,
    "wall_added_ms": 60.0,
    "latency_p50_s": 0.3,
    "latency_max_s": 1.0,
    "latency_after_quiet_s": 1.0,
    "idle_cpu_percent": 0.5,
    "idle_pss_mib": 120.0,
    "help_s": 0.4,
    "status_s": 0.4,
}

# -- what the kernel reports on a process--------------------------------------------------------------------------


def tree(root: int) -> list[int]:
    """A process with all its descendants."""
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                todo += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        except OSError:
            continue  # it ended while we looked
    return found


def cpu_s(root: int) -> float:
    """CPU of all processes of a tree so far, with that of the children they have collected."""
    total = 0
    for pid in tree(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
    return total / TICKS


def pss_mib(root: int) -> dict[str, float]:
    """Memory of each process of a tree, shared pages split among their users; by name."""
    found: dict[str, float] = {}
    for pid in tree(root):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                found[f"{Path(f'/proc/{pid}/comm').read_text().strip()} {pid}"] = int(line.split()[1]) / 1024
    return found


# -- bare engine ---------------------------------------------------------------------------------------------------


def engine_environment(folder: Path) -> dict[str, str]:
    """What qmrunner gives xTB for one core, so that all three start the same program the same way."""
    from qmrunner.engines.openmp import environment
    from qmrunner.model.jobs import Grant

    return {**os.environ, **environment(Grant(cores=1, memory_mib=192, scratch_mib=256, shm_mib=0), folder)}


def run_bare(folder: Path, environment: Mapping[str, str]) -> tuple[float, float]:
    """One run in an empty folder: wall and CPU seconds."""
    folder.mkdir()
    (folder / "water.xyz").write_text(WATER)
    begin = time.perf_counter()
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            ["xtb", "water.xyz", *FLAGS, "--norestart", "-P", "1"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (folder / "log").read_text()
    return time.perf_counter() - begin, used.ru_utime + used.ru_stime


# -- a plain Huey consumer -----------------------------------------------------------------------------------------


def huey_of(folder: Path) -> tuple[Any, Callable[[str], Any]]:
    """A Huey instance as its manual shows it, and its task."""
    from huey import SqliteHuey

    huey = SqliteHuey("plain", filename=str(folder / "huey.db"))

    @huey.task()  # type: ignore[untyped-decorator,unused-ignore]
    def calculate(name: str) -> None:
        work = folder / name
        work.mkdir()
        (work / "water.xyz").write_text(WATER)
        begin = time.time()
        before = os.times()
        with open(work / "log", "wb") as log:
            subprocess.run(
                ["xtb", "water.xyz", *FLAGS, "--norestart", "-P", "1"],
                cwd=work, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True,
            )  # fmt: skip
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        note = work / "ended.new"
        note.write_text(json.dumps({"began": begin, "ended": time.time(), "engine_cpu_s": used}))
        note.rename(work / "ended")

    return huey, calculate


def serve_huey(folder: Path) -> None:
    """The consumer process: one thread, all else as by default."""
    huey, _ = huey_of(folder)
    huey.create_consumer(workers=1).run()


class PlainHuey:
    """The consumer and what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._huey, self._task = huey_of(folder)
        self._count = 0
        with open(folder / "consumer.log", "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, CONSUMER, str(folder)],
                env=engine_environment(folder), stdout=log, stderr=log,
            )  # fmt: skip

    def ask(self) -> Path:
        self._count += 1
        self._task(f"{self._count}")
        return self.folder / f"{self._count}"

    def answer(self, work: Path) -> dict[str, float]:
        wait_for((work / "ended").exists)
        found: dict[str, float] = json.loads((work / "ended").read_text())
        return found

    def round(self, jobs: int) -> dict[str, float]:
        """A backlog of jobs: wall from one start to the next, CPU each of the consumer and its engines."""
        before = cpu_s(self.process.pid)
        answers = [self.answer(work) for work in [self.ask() for _ in range(jobs)]]
        starts = [answer["began"] for answer in answers]
        return {
            "wall_s": statistics.median(_steps(starts)),
            "cpu_s": (cpu_s(self.process.pid) - before) / jobs,
            "engine_cpu_s": sum(answer["engine_cpu_s"] for answer in answers) / jobs,
        }

    def latency(self) -> float:
        asked = time.time()
        return self.answer(self.ask())["began"] - asked

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


# -- qmrunner ------------------------------------------------------------------------------------------------------


class Daemon:
    """`qmrunner run` on a separate home, and jobs submitted to it by this process."""

    def __init__(self, home: Path, **settings: str) -> None:
        from qmrunner import app
        from qmrunner.settings import load

        given = {"QMRUNNER_HOME": str(home), **{f"QMRUNNER_{name.upper()}": text for name, text in settings.items()}}
        given["QMRUNNER_REUSE"] = "off"  # it is the same job every time, and each is to run
        others = {name: text for name, text in os.environ.items() if not name.startswith("QMRUNNER_")}
        self.environment = {**others, **given}
        self.app = app.build(load(given))
        self.water = home.parent / "water.xyz"
        self.water.write_text(WATER)
        with open(home.parent / "daemon.out", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "qmrunner", "run"], env=self.environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            wait_for(self._healthy)
        except BaseException:
            self.stop()
            raise

    def _healthy(self) -> bool:
        from qmrunner.supervisor.health import examine

        assert self.process.poll() is None, "the daemon has ended"
        report = examine(self.app.settings)
        return bool(report["healthy"]) and report["pid"] == self.process.pid

    def submit(self) -> str:
        from qmrunner.submission import job_kinds
        from qmrunner.submission.submit import submit

        return submit(self.app, job_kinds.xtb(str(self.water), FLAGS, [])).job_id

    def attempt(self, job: str) -> dict[str, Any]:
        """The row of a job's attempt, once the job has succeeded; with the time at which the job was accepted."""
        from sqlalchemy import select

        from qmrunner.store.tables import attempts, jobs

        query = select(attempts, jobs.c.created_at.label("accepted_at"), jobs.c.state.label("job_state"))
        query = query.join(jobs, jobs.c.id == attempts.c.job_id).where(attempts.c.job_id == job)

        def row() -> dict[str, Any] | None:
            with self.app.store.read() as connection:
                found = connection.execute(query).first()
            if found is None or found.job_state in ("queued", "running"):
                return None
            assert found.job_state == "succeeded", found
            return dict(found._mapping)

        return wait_for(row)

    def round(self, jobs: int) -> dict[str, float]:
        """A backlog of jobs: wall from one claim to the next once all are submitted, CPU each of daemon and engines."""
        before = cpu_s(self.process.pid)
        names = [self.submit() for _ in range(jobs)]
        submitted = time.time()
        rows = [self.attempt(name) for name in names]
        time.sleep(0.3)  # the last one's folders are removed, its log forwarded
        after = cpu_s(self.process.pid)
        steps = _steps([row["created_at"] for row in rows if row["created_at"] > submitted])
        return {
            "wall_s": statistics.median(steps),
            "cpu_s": (after - before) / jobs,
            "engine_cpu_s": sum(row["usage"]["cpu_s"] for row in rows) / jobs,
            "engine_wall_s": statistics.median(row["usage"]["wall_s"] for row in rows),
        }

    def latency(self) -> float:
        """From just before the accepting commit until the running engine was recorded."""
        row = self.attempt(self.submit())
        return float(row["started_at"] - row["accepted_at"])

    def command(self, *args: str) -> float:
        """Wall seconds of one `qmrunner ARGS`."""
        begin = time.perf_counter()
        subprocess.run(
            [str(Path(sys.executable).with_name("qmrunner")), *args],
            env=self.environment, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        return time.perf_counter() - begin

    def stop(self) -> None:
        self.app.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


# -- the measurement -----------------------------------------------------------------------------------------------


def wait_for(condition: Callable[[], T | None], deadline_s: float = 120.0) -> T:
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, "the jobs do not end"
        time.sleep(0.05)
    return value


def _steps(times: Sequence[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


@contextmanager
def ended(service: Service) -> Iterator[Service]:
    """Stopped when the block is left, however that happens."""
    try:
        yield service
    finally:
        service.stop()


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"machine": machine(folder), "options": {"jobs": options.jobs, "rounds": options.rounds}}
    found["per_attempt"] = compare(options.jobs, options.rounds, folder)
    with ended(Daemon(folder / "home")) as daemon, ended(PlainHuey(folder / "huey2")) as huey:
        daemon.latency()
        huey.latency()
        found["latency_s"] = latencies(options, daemon, huey)
        found["idle"] = idle(options.idle, daemon.process.pid)
        found["commands_s"] = {
            name: [daemon.command(name) for _ in range(7)] for name in ("--help", "status", "health")
        }
    found["summary"] = summary(found)
    return found


def compare(jobs: int, rounds: int, folder: Path) -> dict[str, list[dict[str, float]]]:
    """Rounds of the three in turn; one job at a time in each."""
    environment = engine_environment(folder)
    found: dict[str, list[dict[str, float]]] = {"bare": [], "huey": [], "qmrunner": []}
    with ended(Daemon(folder / "home", slots="1")) as daemon, ended(PlainHuey(folder / "huey")) as huey:
        daemon.latency()
        huey.latency()
        run_bare(folder / "bare", environment)
        for number in range(rounds):
            runs = [run_bare(folder / f"bare.{number}.{i}", environment) for i in range(jobs)]
            wall, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
            found["bare"].append({"wall_s": wall, "cpu_s": cpu, "engine_cpu_s": cpu})
            found["huey"].append(huey.round(jobs))
            found["qmrunner"].append(daemon.round(jobs))
    return found


def latencies(options: argparse.Namespace, daemon: Daemon, huey: PlainHuey) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}
    for name, service in (("qmrunner", daemon), ("huey", huey)):
        busy = []
        for number in range(options.jobs):
            time.sleep(0.05 * (number % 5))
            busy.append(service.latency())
        found[name] = {"busy": busy, "after_quiet": []}
    for _ in range(options.quiets):
        time.sleep(options.quiet)
        found["qmrunner"]["after_quiet"].append(daemon.latency())
        found["huey"]["after_quiet"].append(huey.latency())
    return found


def idle(seconds: float, root: int) -> dict[str, Any]:
    time.sleep(2.0)
    before, begin = cpu_s(root), time.monotonic()
    time.sleep(seconds)
    used = cpu_s(root) - before
    return {"cpu_percent": 100 * used / (time.monotonic() - begin), "pss_mib": pss_mib(root)}


def summary(found: Mapping[str, Any]) -> dict[str, float]:
    def middle(kind: str, key: str) -> float:
        return float(statistics.median(attempt[key] for attempt in found["per_attempt"][kind]))

    def added(kind: str, key: str) -> float:
        """Against the bare engine of the same round."""
        pairs = zip(found["per_attempt"][kind], found["per_attempt"]["bare"], strict=True)
        return 1e3 * float(statistics.median(attempt[key] - bare[key] for attempt, bare in pairs))

    def own(kind: str) -> float:
        return 1e3 * float(
            statistics.median(attempt["cpu_s"] - attempt["engine_cpu_s"] for attempt in found["per_attempt"][kind])
        )

    ours, plain = found["latency_s"]["qmrunner"], found["latency_s"]["huey"]
    commands = {name: statistics.median(times) for name, times in found["commands_s"].items()}
    return {
        "bare_wall_ms": middle("bare", "wall_s") * 1e3,
        "bare_cpu_ms": middle("bare", "cpu_s") * 1e3,
        "cpu_added_ms": own("qmrunner"),
        "cpu_added_with_engine_noise_ms": added("qmrunner", "cpu_s"),
        "wall_added_ms": added("qmrunner", "wall_s"),
        "huey_cpu_added_ms": own("huey"),
        "huey_wall_added_ms": added("huey", "wall_s"),
        "latency_p50_s": statistics.median(ours["busy"]),
        "latency_max_s": max(ours["busy"]),
        "latency_after_quiet_s": max(ours["after_quiet"], default=float("nan")),
        "huey_latency_p50_s": statistics.median(plain["busy"]),
        "huey_latency_max_s": max(plain["busy"]),
        "huey_latency_after_quiet_s": max(plain["after_quiet"], default=float("nan")),
        "idle_cpu_percent": found["idle"]["cpu_percent"],
        "idle_pss_mib": sum(found["idle"]["pss_mib"].values()),
        "help_s": commands["--help"],
        "status_s": commands["status"],
        "health_s": commands["health"],
    }


def machine(folder: Path) -> dict[str, Any]:
    """What the figures depend on."""
    probe = folder / "fsync"
    times = []
    with open(probe, "wb", buffering=0) as file:
        for _ in range(20):
            file.write(b"x" * 4096)
            begin = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begin)
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "fsync_ms": statistics.median(times) * 1e3,
        "load_before": os.getloadavg()[0],
    }


def show(found: Mapping[str, Any]) -> None:
    about = found["machine"]
    print(
        f"{about['date']}, {about['cores']} cores, Python {about['python']}, fsync {about['fsync_ms']:.1f} ms, "
        f"load before {about['load_before']:.1f}\n"
    )
    for name, value in found["summary"].items():
        aim = AIMS.get(name)
        verdict = "" if aim is None else f"   aim {aim:g}: {'met' if value <= aim else 'MISSED'}"
        print(f"  {name:<34s}{value:9.3f}{verdict}")
    print("\n  idle memory, MiB: " + ", ".join(f"{n} {v:.1f}" for n, v in found["idle"]["pss_mib"].items()))


@contextmanager
def _locked(path: Path | None) -> Iterator[None]:
    if path is None:
        yield
        return
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def main() -> int:
    if sys.argv[1:2] == [CONSUMER]:
        serve_huey(Path(sys.argv[2]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20, help="of each kind and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quiet", type=float, default=60.0, help="seconds without a job before the latency is taken")
    parser.add_argument("--quiets", type=int, default=1, help="how often to do so")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds over which the idle daemon is watched")
    parser.add_argument("--lock", type=Path, help="hold a lock on this file meanwhile")
    parser.add_argument("--json", action="store_true", help="print everything measured")
    options = parser.parse_args()
    if shutil.which("xtb") is None:
        print("xtb is not installed: `make setup`", file=sys.stderr)
        return 1
    with _locked(options.lock), tempfile.TemporaryDirectory(prefix="qmrunner-overhead-") as folder:
        found = measure(options, Path(folder))
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
