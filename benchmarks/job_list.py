"""How long the job list takes with a million jobs: each filter alone, filters together, pages, counts.

    python benchmarks/job_list.py [--jobs 1000000] [--only sqlite postgresql] [--json]

A real file and a real PostgreSQL, started for this run on this machine. Jobs have the params of a molecule of forty
atoms, ten owners, a thousand groups, and a hundred codes among the failed ones. Aims: 150 ms for a page, 200 ms for a
search in names (medians).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from qmrunner.app import App  # noqa: E402  # the checkout must be on the path first
from qmrunner.model.job_filter import JobFilter  # noqa: E402
from qmrunner.reports import jobs  # noqa: E402
from qmrunner.store import job_list, schema  # noqa: E402
from qmrunner.store.session import Store  # noqa: E402
from tests import postgres  # noqa: E402
from tests.support import Home  # noqa: E402

_LOOKS = 5
_THEN = 1_800_000_000
_PARAMS = {"smiles": "C" * 40, "atoms": ["C"] * 40, "bonds": [[i, i + 1] for i in range(39)], "solvent": "chloroform"}
_PARAMS |= {"level": "draft", "conformers": "none"}


def fill(store: Store, count: int) -> None:
    """So many jobs, one each minute, made by the database itself; no steps."""
    params = f"'{json.dumps(_PARAMS)}'" + ("" if store.is_sqlite else "::json")
    statement = f"""
        INSERT INTO jobs (id, kind, state, params, name, priority, cancel_requested, owner, "group", code, structure,
            inchikey, created_at)
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
        SELECT 'j' || i, CASE WHEN i % 3 = 0 THEN 'nmr' ELSE 'xtb' END,
            CASE WHEN i % 10 = 0 THEN 'failed' ELSE 'succeeded' END, {params}, 'molecule ' || i || ' of the set', 0,
            false, 'user' || (i % 10), 'batch' || (i / 1000),
            CASE WHEN i % 10 = 0 THEN 'code' || ((i / 10) % 100) END, 'C' || (i / 10), 'KEY' || (i / 10),
            {_THEN} + 60.0 * i FROM n
        """
    with store.write() as connection:
        if not store.is_sqlite:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        # psycopg takes a lone % for a placeholder.
        connection.exec_driver_sql(statement if store.is_sqlite else statement.replace("%", "%%"))
    if not store.is_sqlite:
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.exec_driver_sql("VACUUM ANALYZE")


def looks(app: App, count: int) -> dict[str, Callable[[], Any]]:
    """What is measured, by name."""

    def page(before: int | None = None, **wanted: Any) -> Callable[[], Any]:
        return lambda: jobs.page(app, 100, JobFilter(**wanted), before=before)

    def counted(**wanted: Any) -> Callable[[], Any]:
        def look() -> None:
            with app.store.read() as connection:
                job_list.counts(connection, JobFilter(**wanted))

        return look

    middle = _THEN + 30.0 * count
    return {
        "page": page(),
        "page in the middle": page(count // 2),
        "state": page(states=("failed",)),
        "two states": page(states=("failed", "held")),
        "owner": page(owners=("user3",)),
        "group": page(groups=(f"batch{count // 2000}",)),
        "code": page(codes=("code7",)),
        "structure": page(structure=f"C{count // 20}"),
        "owner and state": page(owners=("user3",), states=("succeeded",)),
        "owner and state that never meet": page(owners=("user3",), states=("failed",)),
        "since": page(since=middle),
        "until": page(until=middle),
        "since and code": page(since=middle, codes=("code7",)),
        "name of some": page(words=("77",)),
        "name of one": page(words=(f"molecule {count // 2} of",)),
        "name of none": page(words=("caffeine",)),
        "name of none, of an owner": page(words=("caffeine",), owners=("user3",)),
        "count of all": counted(),
        "count of an owner": counted(owners=("user3",)),
        "count of a name that none has": counted(words=("caffeine",)),
    }


def measure(url: str, home: Home, count: int) -> dict[str, tuple[float, float]]:
    """The median of each look, ms: by the clock, and of processor time of this process, which does all the work of
    SQLite and holds on a busy machine, too."""
    home.extra["QMRUNNER_STORE_URL"] = url
    app = App(home.settings)
    schema.upgrade(app.store)
    fill(app.store, count)
    found = {}
    for name, look in looks(app, count).items():
        took, busy = [], []
        for _ in range(_LOOKS):
            began, worked = time.perf_counter(), time.process_time()
            look()
            took.append(time.perf_counter() - began)
            busy.append(time.process_time() - worked)
        found[name] = (round(statistics.median(took) * 1000, 1), round(statistics.median(busy) * 1000, 1))
    app.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="*", default=["sqlite", "postgresql"])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        home.path.mkdir()
        if "sqlite" in given.only:
            results["sqlite"] = measure(f"sqlite:///{folder}/jobs.db", home, given.jobs)
        if "postgresql" in given.only:
            with postgres.server() as server:
                results["postgresql"] = measure(server.url, home, given.jobs)
    if given.json:
        print(json.dumps(results, indent=2))
        return
    for kind, rows in results.items():
        print(f"{kind}, {given.jobs} jobs: ms by the clock, ms of processor time")
        for name, (took, busy) in rows.items():
            print(f"  {name:<34}{took:>9}{busy:>9}")


if __name__ == "__main__":
    main()
