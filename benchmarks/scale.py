"""How qmrunner's store and queue bear many workers, many attempts, many finished jobs and many directories.

    python benchmarks/scale.py [--jobs 2000] [--workers 1 8 64 256] [--running 10000] [--finished 1000000]
                               [--directories 100000] [--only claims beat lists sweep] [--json]

Real PostgreSQL and Redis, started for this run on this machine; SQLite beside them. Aims: `status` within 150 ms (p95)
with a million finished jobs, the sweep at the start within 10 s with 100,000 scratch directories. Claims per second are
whole claims with their ends (two commits); Procrastinate and Huey alone run empty tasks in the same place.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from sqlalchemy import text  # noqa: E402  # the checkout must be on the path first

from qmrunner.app import App  # noqa: E402
from qmrunner.maintenance import scratch  # noqa: E402
from qmrunner.maintenance.base import Context  # noqa: E402
from qmrunner.model.job_filter import JobFilter  # noqa: E402
from qmrunner.queue import Queue  # noqa: E402
from qmrunner.reports import jobs as job_lists  # noqa: E402
from qmrunner.reports import status  # noqa: E402
from qmrunner.store import schema, workers  # noqa: E402
from qmrunner.store.session import Store  # noqa: E402
from tests import postgres, redis  # noqa: E402
from tests.store.work import BIG, ONE, SUCCEED, Work  # noqa: E402
from tests.support import Home  # noqa: E402

_PROCESSES = 8
_LOOKS = 30


@contextmanager
def databases(folder: Path, server: str) -> Iterator[dict[str, str]]:
    """Fresh stores at the newest schema: kind → URL."""
    import psycopg

    name = f"scale_{time.monotonic_ns()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    urls = {"sqlite": f"sqlite:///{folder / name}.db", "postgresql": server.replace("/postgres?", f"/{name}?")}
    for url in urls.values():
        store = Store(url)
        schema.upgrade(store)
        store.close()
    yield urls


# -- claims -----------------------------------------------------------------------------------------------------------


def _claimer(url: str, ids: list[int], start: Any, done: Any) -> None:
    """Simulated workers in one process, taking turns: claim, and finish at once."""
    work = Work(Store(url))
    work.all_steps("none")
    start.wait()
    ended, idle, last = 0, 0, time.monotonic()
    while idle < 3 * len(ids):
        for worker in ids:
            claim = work.claim(worker)
            if claim is None:
                idle += 1
                continue
            idle = 0
            work.finish(claim, SUCCEED, ONE)
            ended, last = ended + 1, time.monotonic()
    done.put((ended, last))


def claims(url: str, count: int, jobs: int) -> float:
    """Claims per second of so many simulated workers, with their ends."""
    work = Work(Store(url))
    ids = [work.worker(BIG, f"home{i}") for i in range(count)]
    for i in range(jobs):
        work.job(owner=f"user{i % 5}")
    context = multiprocessing.get_context("spawn")
    several = min(count, _PROCESSES)
    start, done = context.Barrier(several + 1), context.Queue()
    shares = [ids[i::several] for i in range(several)]
    running = [context.Process(target=_claimer, args=(url, share, start, done)) for share in shares]
    for process in running:
        process.start()
    start.wait()
    began = time.monotonic()
    ended = [done.get(timeout=3600) for _ in running]
    for process in running:
        process.join()
    assert sum(number for number, _ in ended) == jobs
    work.store.close()
    return jobs / (max(at for _, at in ended) - began)


def procrastinate(url: str, concurrency: int, jobs: int) -> float:
    """Empty tasks per second of one Procrastinate worker on the same server."""
    from procrastinate import App as Procrastinate
    from procrastinate import PsycopgConnector

    async def run() -> float:
        app = Procrastinate(connector=PsycopgConnector(conninfo=url, max_size=concurrency + 4))

        @app.task(name="nothing")
        async def nothing() -> None:
            return None

        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            await nothing.batch_defer_async(*({} for _ in range(jobs)))
            began = time.monotonic()
            await app.run_worker_async(concurrency=concurrency, wait=False, install_signal_handlers=False)
            return jobs / (time.monotonic() - began)

    return asyncio.run(run())


def huey(url: str, folder: Path, threads: int, jobs: int) -> float:
    """Hints per second through Huey alone."""
    queue = Queue(url, folder)
    left = threading.Semaphore(0)
    queue.on_notify(left.release)
    for _ in range(jobs):
        queue.notify()
    began = time.monotonic()
    consumer = queue.huey.create_consumer(workers=threads, worker_type="thread", periodic=False)
    consumer.start()
    for _ in range(jobs):
        left.acquire()
    seconds = time.monotonic() - began
    consumer.stop()
    return jobs / seconds


# -- beats, lists, sweeps ---------------------------------------------------------------------------------------------


def fill(store: Store, count: int, state: str, worker: int | None = None) -> None:
    """So many jobs of one step and one attempt in that state, made by the database itself."""
    sqlite = store.is_sqlite

    def as_json(value: Any) -> str:
        return f"'{json.dumps(value)}'" + ("" if sqlite else "::json")

    empty, none = as_json({}), as_json([])
    shown = as_json({"structure": "m.xyz", "args": [], "files": []})
    grant = as_json({"cores": 1, "memory_mib": 1, "scratch_mib": 1, "shm_mib": 0})
    then, mine = "1800000000.0", worker or 1
    over = then if state == "succeeded" else "NULL"
    statements = [
        f"""
        INSERT INTO jobs (id, kind, state, params, priority, cancel_requested, owner, created_at, finished_at)
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
        SELECT '{state[:2]}' || i, 'xtb', '{state}', {shown}, 0, false, 'user' || (i - i / 5 * 5), {then}, {over} FROM n
        """,
        f"""
        INSERT INTO steps (job_id, name, stage, engine, task, params, inputs, after, demand, state, attempt, retries,
            priority, worker_id, result, passed_over, created_at, finished_at)
        SELECT id, 'xtb', 'xtb', 'xtb', 'user', {shown}, {empty}, {none}, {empty}, '{state}', 1, 0,
            0, {mine}, {empty}, 0, {then}, {over} FROM jobs WHERE state = '{state}'
        """,
        f"""
        INSERT INTO attempts (step_id, number, job_id, state, worker_id, marker, directory, log, progress, usage,
            granted, notes, created_at)
        SELECT id, 1, job_id, '{state}', {mine}, job_id || '/xtb/1', '/s', '/l', {empty}, {empty},
            {grant}, {none}, {then} FROM steps WHERE state = '{state}'
        """,
    ]
    if state == "running":
        statements.append(
            "INSERT INTO reservations (step_id, attempt, worker_id, cores, memory_mib, scratch_mib, shm_mib) "
            f"SELECT id, 1, {mine}, 1, 1, 1, 0 FROM steps WHERE state = 'running'"
        )
    with store.write() as connection:
        if not sqlite:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        for statement in statements:
            connection.exec_driver_sql(statement)
    if not sqlite:
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.exec_driver_sql("VACUUM ANALYZE")  # as the server's own autovacuum does after such a load


def beat(url: str, running: int) -> dict[str, float]:
    """One beat of a worker while so many attempts run, and one that also saves the usage of all of them; ms."""
    work = Work(Store(url))
    worker = work.worker()
    fill(work.store, running, "running", worker)
    with work.store.read() as connection:
        pairs = [(row["step_id"], row["number"]) for row in workers.live_attempts(connection, [worker])]
    usage = {"cpu_s": 1.0, "memory_mib": 100.0, "scratch_mib": 10.0}

    def single() -> None:
        with work.store.write() as connection:
            workers.beat(connection, work.now, worker, 1)

    def everything() -> None:
        with work.store.write() as connection:
            workers.beat(connection, work.now, worker, 1)
            workers.save_usage(connection, [(step, number, usage) for step, number in pairs])
            workers.cancelled_steps(connection, worker)
            for i in range(0, len(pairs), 500):
                workers.fenced_attempts(connection, pairs[i : i + 500])

    found = {"beat_ms": _ms(single)["p50"], "all_usage_ms": _ms(everything, 5)["p50"]}
    work.store.close()
    return found


def lists(url: str, finished: int, home: Home) -> dict[str, Any]:
    """`status` of everything and of one job, and pages of the API's list, with so many finished ones; p50, p95 in ms.

    `list_middle` begins in the middle of all jobs; `list_named` looks through all of them for a name that none has.
    """
    home.extra["QMRUNNER_STORE_URL"] = url
    app = App(home.settings)
    work = Work(app.store)
    work.worker()
    fill(app.store, finished, "succeeded")
    for _ in range(20):
        work.job()
    status.overview(app)
    looks: dict[str, Callable[[], Any]] = {
        "status": lambda: status.overview(app),
        "status_job": lambda: status.job_view(app, "su7"),
        "list": lambda: job_lists.page(app, 50, JobFilter()),
        "list_states": lambda: job_lists.page(app, 50, JobFilter(states=("failed", "running"))),
        "list_middle": lambda: job_lists.page(app, 50, JobFilter(), before=finished // 2),
        "list_named": lambda: job_lists.page(app, 50, JobFilter(words=("caffeine",))),
    }
    found = {name: _ms(look) for name, look in looks.items()}
    app.close()
    return found


def sweep(home: Home, directories: int) -> dict[str, float]:
    """The look of the start-up sweep at so many directories of attempts that may not be removed; seconds."""
    home.extra["QMRUNNER_STORE_URL"] = ""
    app = App(home.settings)
    app.open_store(create=True)
    work = Work(app.store)
    fill(app.store, directories, "running", work.worker())
    root = home.settings.scratch_root
    for i in range(1, directories + 1):
        os.makedirs(root / f"ru{i}" / "xtb" / "1" / "work")
    began = time.monotonic()
    assert scratch.plan(Context(app, work.now)) == []
    seconds = time.monotonic() - began
    app.close()
    return {"directories": directories, "seconds": round(seconds, 2)}


def _ms(act: Callable[[], Any], looks: int = _LOOKS) -> dict[str, float]:
    times = []
    for _ in range(looks):
        began = time.perf_counter()
        act()
        times.append(1000 * (time.perf_counter() - began))
    times.sort()
    return {"p50": round(statistics.median(times), 1), "p95": round(times[int(0.95 * (len(times) - 1))], 1)}


# -- all together -----------------------------------------------------------------------------------------------------


def measure(given: argparse.Namespace, folder: Path, server: str, cache: str) -> Iterator[tuple[str, Any]]:
    if "claims" in given.only:
        for count in given.workers:
            with databases(folder, server) as urls:
                for kind, url in urls.items():
                    rate = claims(url, count, given.jobs)
                    yield f"claims and ends per second, {count} workers, {kind}", round(rate, 1)
        with databases(folder, server) as urls:
            rate = procrastinate(urls["postgresql"], 8, given.jobs)
            yield "empty tasks per second, Procrastinate, 8 at once", round(rate, 1)
        yield "hints per second, Huey on Redis, 8 threads", round(huey(cache, folder, 8, given.jobs), 1)
        embedded = f"sqlite:///{folder / 'queue.db'}"
        yield "hints per second, Huey on SQLite, 8 threads", round(huey(embedded, folder, 8, given.jobs), 1)
    if "beat" in given.only:
        for count in (given.running // 10, given.running):
            with databases(folder, server) as urls:
                for kind, url in urls.items():
                    yield f"beat with {count} running attempts, {kind}", beat(url, count)
    if "lists" in given.only:
        for count in (given.finished // 10, given.finished):
            with databases(folder, server) as urls:
                for kind, url in urls.items():
                    home = Home(folder / f"lists-{kind}-{count}")
                    yield f"status with {count} finished jobs, {kind}", lists(url, count, home)
    if "sweep" in given.only:
        for count in (given.directories // 10, given.directories):
            yield f"sweep of {count} directories", sweep(Home(folder / f"sweep-{count}"), count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--running", type=int, default=10_000)
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--directories", type=int, default=100_000)
    kinds = ["claims", "beat", "lists", "sweep"]
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    report: dict[str, Any] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(postgres.server())
        cache = stack.enter_context(redis.server(folder / "redis"))
        for what, found in measure(given, folder, server.url, cache.url):
            report[what] = found
            if not given.json:
                print(f"{what}: {found}", flush=True)
    if given.json:
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
