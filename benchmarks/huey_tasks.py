"""What qmrunner adds to tasks of a Huey application, beside the same application under plain `huey_consumer`.

    python benchmarks/huey_tasks.py [--tasks 40] [--backlog 100] [--workers 1] [--idle 20] [--json]

One application with a task that does nothing, on SQLite, by turns under both within one run, so that a noisy machine
disturbs both alike. `latency_*_ms`: from the call that enqueues to the body's first line, one task at a time, with a
pause of 0 to 0.3 s between two. `cpu_ms`: of all processes of the consumer or daemon, for each of those tasks, less
what they use when idle. `per_s`: tasks of a backlog, from the first body to the last. `idle_percent`: of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from overhead import cpu_s

APP = """
import time
from huey import SqliteHuey
huey = SqliteHuey("bench", filename="./huey.db", fsync=True)

@huey.task()
def nothing(number):
    now = time.time()
    with open("bodies", "a") as file:
        file.write(f"{number} {now}\\n")
"""
_DEADLINE_S = 300.0
_SETTLE_S = 3.0
AIMS = {"latency_p50_ms": 100.0, "cpu_ms": 50.0, "idle_percent": 0.2}


class Service:
    """One way to run the application, in its own folder."""

    def __init__(self, folder: Path, command: list[str], environment: dict[str, str]) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "bench_app.py").write_text(APP)
        sys.path.insert(0, str(folder))
        self.huey, self.nothing = _load(folder)
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=self._log, stderr=subprocess.STDOUT
        )

    def bodies(self) -> dict[int, float]:
        path = self.folder / "bodies"
        if not path.exists():
            return {}
        pairs = (line.split() for line in path.read_text().splitlines())
        return {int(pair[0]): float(pair[1]) for pair in pairs if len(pair) == 2}

    def await_bodies(self, numbers: set[int]) -> dict[int, float]:
        return _wait_for(lambda: found if numbers <= set(found := self.bodies()) else None)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


def _load(folder: Path) -> tuple[Any, Any]:
    """The application as a web process has it: it only enqueues."""
    here = os.getcwd()
    os.chdir(folder)
    try:
        space: dict[str, Any] = {"__name__": "bench_app"}
        exec(compile(APP, "bench_app.py", "exec"), space)
        space["huey"].storage.filename = str(folder / "huey.db")
        return space["huey"], space["nothing"]
    finally:
        os.chdir(here)


def _wait_for(found: Callable[[], Any]) -> Any:
    end = time.monotonic() + _DEADLINE_S
    while time.monotonic() < end:
        value = found()
        if value is not None:
            return value
        time.sleep(0.005)
    raise TimeoutError("the tasks did not end in time")


def measure(service: Service, tasks: int, backlog: int, idle_s: float) -> dict[str, float]:
    service.nothing(0)
    service.await_bodies({0})
    time.sleep(_SETTLE_S)
    begin, at = cpu_s(service.process.pid), time.monotonic()
    time.sleep(idle_s)
    idle = (cpu_s(service.process.pid) - begin) / (time.monotonic() - at)
    begin, at, enqueued = cpu_s(service.process.pid), time.monotonic(), {}
    for number in range(1, tasks + 1):
        enqueued[number] = time.time()
        service.nothing(number)
        service.await_bodies({number})
        time.sleep(random.uniform(0.0, 0.3))
    time.sleep(_SETTLE_S)
    used = cpu_s(service.process.pid) - begin - idle * (time.monotonic() - at)
    bodies = service.bodies()
    latency = sorted((bodies[number] - enqueued[number]) * 1000 for number in enqueued)
    numbers = set(range(1000, 1000 + backlog))
    begin = cpu_s(service.process.pid)
    for number in sorted(numbers):
        service.nothing(number)
    times = sorted(service.await_bodies(numbers)[number] for number in numbers)
    time.sleep(_SETTLE_S)
    return {
        "latency_p50_ms": statistics.median(latency),
        "latency_p90_ms": latency[int(len(latency) * 0.9)],
        "latency_max_ms": latency[-1],
        "cpu_ms": used * 1000 / tasks,
        "backlog_cpu_ms": (cpu_s(service.process.pid) - begin) * 1000 / backlog,
        "per_s": (backlog - 1) / max(1e-3, times[-1] - times[0]),
        "idle_percent": idle * 100,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--backlog", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--idle", type=float, default=20.0)
    parser.add_argument("--only", choices=("plain", "qmrunner"))
    parser.add_argument("--keep", action="store_true", help="keep the folders, with the logs")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="huey-bench-"))
    consumer = [sys.executable, "-m", "huey.bin.huey_consumer", "bench_app.huey", "-w", str(asked.workers)]
    consumer += ["-k", "process"]
    ways = {
        "plain": (consumer, {}),
        "qmrunner": (
            [sys.executable, "-m", "qmrunner", "run", "--", *consumer],
            {"QMRUNNER_HOME": str(root / "home")},
        ),
    }
    results: dict[str, dict[str, float]] = {}
    for name, (command, environment) in ways.items():
        if asked.only not in (None, name):
            continue
        service = Service(root / name, command, environment)
        try:
            results[name] = measure(service, asked.tasks, asked.backlog, asked.idle)
        finally:
            service.stop()
    if not asked.keep:
        shutil.rmtree(root)
    if asked.json:
        print(json.dumps(results))
        return
    for figure in next(iter(results.values())):
        shown = "  ".join(f"{name} {found[figure]:8.1f}" for name, found in results.items())
        ratio = (
            f"  ratio {results['qmrunner'][figure] / max(1e-3, results['plain'][figure]):6.2f}"
            if len(results) == 2
            else ""
        )
        aim = f"  (aim {AIMS[figure]:g})" if figure in AIMS else ""
        print(f"{figure:15} {shown}{ratio}{aim}")
    if asked.keep:
        print(root)


if __name__ == "__main__":
    main()
