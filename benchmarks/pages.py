"""What the pages cost: weights, times at the server, and 50 open pages on four jobs.

    python benchmarks/pages.py [--jobs 10000] [--seconds 20]

It makes a home in a temporary folder with jobs that no worker runs, starts `qmrunner serve`, and prints one
line per figure. Times are medians of 20; on a machine with other work take ratios.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_TICK = os.sysconf("SC_CLK_TCK")
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def server(home: Path) -> Iterator[tuple[str, int]]:
    """The address and the process of a server on this home."""
    environment = {**os.environ, "QMRUNNER_HOME": str(home), "QMRUNNER_API_RATE_PER_MINUTE": "1000000"}
    command = [sys.executable, "-m", "qmrunner", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = next(json.loads(line)["url"] for line in process.stdout if '"api_started"' in line)
        drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
        try:
            yield url, process.pid
        finally:
            process.terminate()
            process.wait(30)
            drain.wait(10)


def fill(home: Path, count: int) -> list[str]:
    """Jobs without a worker; returns the ids of the newest five."""
    from qmrunner import app
    from qmrunner.model.jobs import Submission
    from qmrunner.settings import load
    from qmrunner.submission.submit import submit

    os.environ["QMRUNNER_HOME"] = str(home)
    made = app.App(load({"QMRUNNER_HOME": str(home), "QMRUNNER_XTB": "/bin/true"}))
    made.open_store(create=True)
    water = {"water.xyz": b"3\n\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"}
    params = {"args": [], "files": ["water.xyz"]}
    ids = []
    for number in range(count):
        job = Submission("xtb", params, water if number >= count - 5 else {}, name=f"job {number}")
        ids.append(submit(made, job).job_id)
    made.close()
    return ids[-5:]


def lengthen(home: Path, job: str, conformers: int) -> None:
    """Give a job four stages of so many steps, with an attempt each, as a search that found many conformers."""
    from sqlalchemy import insert, select

    from qmrunner import app
    from qmrunner.settings import load
    from qmrunner.store.tables import attempts, steps, workers

    made = app.App(load({"QMRUNNER_HOME": str(home)}))
    made.open_store(create=False)
    with made.store.write() as connection:
        now = made.store.now()
        first = dict(connection.execute(select(steps).where(steps.c.job_id == job)).mappings().one())
        del first["id"]
        worker = {
            "name": "w", "host": "h", "boot_id": "b", "pid_ns": "1", "pid": 1, "start_ticks": 1, "state": "stopped",
            "home_id": "h", "home": "/x", "slots": 1, "cores": 1, "memory_mib": 1, "beat_at": now, "created_at": now,
            "version": "0",
        }  # fmt: skip
        connection.execute(insert(workers).values(id=1, **worker))
        ended = {"state": "succeeded", "attempt": 1, "started_at": now, "finished_at": now + 5.0}
        params = {**first["params"], "geometry": "x" * 2000}
        for stage in ("preopt", "hessian", "optimise", "shielding"):
            names = [f"{stage}-c{number}" for number in range(1, conformers + 1)]
            connection.execute(
                insert(steps), [{**first, **ended, "params": params, "name": name, "stage": stage} for name in names]
            )
        mine = connection.execute(select(steps.c.id).where(steps.c.job_id == job, steps.c.attempt == 1)).scalars()
        attempt = {
            "number": 1, "job_id": job, "worker_id": 1, "marker": "m", "directory": "/x", "log": "/x/log",
            "progress": {}, "usage": {"peak_memory_mib": 100.0}, "notes": ["a note of the run"] * 5, "created_at": now,
            "granted": {"cores": 1, "memory_mib": 1, "scratch_mib": 1, "shm_mib": 1}, "code": "ok",
            "state": "succeeded", "started_at": now, "finished_at": now + 5.0,
        }  # fmt: skip
        connection.execute(insert(attempts), [{**attempt, "step_id": step} for step in mine])
    made.close()


def get(url: str) -> tuple[float, bytes]:
    """Seconds and bytes of one page, uncompressed."""
    began = time.perf_counter()
    with _OPENER.open(url, timeout=60) as answer:
        data: bytes = answer.read()
    return time.perf_counter() - began, data


def weight(url: str, path: str) -> tuple[int, int]:
    """Compressed bytes of a page with all it loads at once, and the number of requests."""
    _, html = get(url + path)
    found = {name.decode() for name in re.findall(rb'(?:src|href)="(/static/[^"]+)"', html)}
    while True:
        more = set()
        for name in found:
            if name.endswith(".js"):
                base = name.rsplit("/", 1)[0]
                more |= {f"{base}/{part.decode()}" for part in re.findall(rb'from "\./([^"]+)"', get(url + name)[1])}
        if more <= found:
            break
        found |= more
    return len(gzip.compress(html)) + sum(len(gzip.compress(get(url + name)[1], 9)) for name in found), 1 + len(found)


_PAINTS = """() => new Promise((resolve) => {
  const last = {};
  new PerformanceObserver((list) => { for (const entry of list.getEntries()) last.largest = entry.startTime; })
    .observe({type: "largest-contentful-paint", buffered: true});
  setTimeout(() => {
    const first = performance.getEntriesByName("first-contentful-paint")[0];
    resolve({first: first ? first.startTime : null, largest: last.largest ?? null,
      requests: performance.getEntriesByType("resource").length + 1});
  }, 1500);
})"""


def paints(url: str, paths: dict[str, str]) -> Iterator[tuple[str, str, dict[str, float]]]:
    """First and largest paint of each page, ms: medians of three in a cold browser, plain and throttled (4 times slower
    processor, 10 Mbit/s, 40 ms)."""
    import shutil

    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for how in ("plain", "throttled"):
            for name, path in paths.items():
                seen = []
                for _ in range(3):
                    context = browser.new_context()
                    page = context.new_page()
                    if how == "throttled":
                        tools = context.new_cdp_session(page)
                        tools.send("Emulation.setCPUThrottlingRate", {"rate": 4})
                        line = {
                            "offline": False,
                            "latency": 40,
                            "downloadThroughput": 1.25e6,
                            "uploadThroughput": 1.25e6,
                        }
                        tools.send("Network.enable")
                        tools.send("Network.emulateNetworkConditions", line)
                    page.goto(url + path)
                    seen.append(page.evaluate(_PAINTS))
                    context.close()
                yield name, how, {key: statistics.median(run[key] or 0.0 for run in seen) for key in seen[0]}
        browser.close()


def cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--paints", action="store_true", help="also measure paints, in Chromium")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        jobs = fill(home, asked.jobs)
        lengthen(home, jobs[4], 1000)
        with server(home) as (url, pid):
            for name, path in (
                ("overview", "/"), ("list", "/jobs"), ("job", f"/jobs/{jobs[0]}"), ("new", "/jobs/new"),
                ("job of 4,000 steps", f"/jobs/{jobs[4]}"), ("why of it", f"/jobs/{jobs[4]}/why"),
            ):  # fmt: skip
                bytes_, requests = weight(url, path)
                times = statistics.median(get(url + path)[0] for _ in range(20))
                used = cpu(pid)
                for _ in range(10):
                    get(url + path)
                print(
                    f"{name}: {bytes_ / 1000:.1f} kB gz in {requests} requests, {times * 1000:.0f} ms, "
                    f"{(cpu(pid) - used) * 100:.0f} ms of CPU at the server"
                )
            if asked.paints:
                shown = {"overview": "/", "list": "/jobs", "job": f"/jobs/{jobs[0]}", "new": "/jobs/new"}
                for name, how, found in paints(url, {**shown, "job of 4,000 steps": f"/jobs/{jobs[4]}"}):
                    print(
                        f"{name}, {how}: first paint {found['first']:.0f} ms, largest {found['largest']:.0f} ms, "
                        f"{found['requests']:.0f} requests"
                    )
            idle = cpu(pid)
            time.sleep(asked.seconds / 2)
            print(f"idle: {(cpu(pid) - idle) / (asked.seconds / 2) * 100:.1f} % of a core")
            port = int(url.rsplit(":", 1)[1])
            streams = []
            for number in range(50):
                stream = socket.create_connection(("127.0.0.1", port))
                stream.sendall(f"GET /live/jobs/{jobs[number % 4]} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
                streams.append(stream)
            time.sleep(3)
            before, began, times_ = cpu(pid), time.monotonic(), []
            while time.monotonic() - began < asked.seconds:
                times_.append(get(f"{url}/v1/jobs/{jobs[0]}")[0])
                time.sleep(0.5)
            used = (cpu(pid) - before) / (time.monotonic() - began)
            late = sorted(times_)[int(0.95 * len(times_))]
            print(f"50 open pages on 4 jobs: {used * 100:.1f} % of a core, GET beside them p95 {late * 1000:.0f} ms")
            for stream in streams:
                stream.close()


if __name__ == "__main__":
    main()
