"""A Django application: `manage.py run_huey --queue` for two queues."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.apps.conftest import LAB
from tests.support import Daemon, Home, wait_for

MANAGE = (sys.executable, "manage.py")


class Shop:
    """The application in `folder`, which is also where its daemon is started."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(LAB / "django", folder)
        self.folder = folder
        self.home = Home(folder / "home")
        self.home.path.mkdir()
        self.manage("migrate", "--run-syncdb", "--verbosity", "0")

    def manage(self, *arguments: str) -> str:
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "shop.settings"}
        command = [*MANAGE, *arguments]
        ended = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def enqueue(self, expression: str) -> str:
        """What a view does."""
        code = f"import json\nfrom shop import tasks\nprint(json.dumps(tasks.{expression}.id))"
        found: str = json.loads(self.manage("shell", "--no-imports", "-c", code).splitlines()[-1])
        return found

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / "shop.db", timeout=30)) as connection:
            return connection.execute(f"select {', '.join(columns)} from shop_{table} order by id").fetchall()

    def left(self, queue: str) -> int:
        tables = ("task", "schedule", "qmrunner_taken", "qmrunner_put")
        with closing(sqlite3.connect(self.folder / f"{queue}.db", timeout=30)) as connection:
            counts = [connection.execute(f"select count(*) from {name}").fetchone()[0] for name in tables]
        return sum(counts) + self.locks(queue)

    def locks(self, queue: str) -> int:
        with closing(sqlite3.connect(self.folder / f"{queue}.db", timeout=30)) as connection:
            return int(connection.execute("select count(*) from kv where key like '%.lock.%'").fetchone()[0])

    def jobs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.home.json("status")["jobs"]
        return found


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


@pytest.mark.slow
def test_two_queues_of_a_django_project_survive_a_kill_of_everything(shop: Shop, daemon: Callable[..., Daemon]) -> None:
    command = f"{sys.executable} manage.py run_huey --queue"
    sections = [
        f"[{queue}]\ncommand = '{command} {queue} -w {workers}'\ncwd = '{shop.folder}'\n"
        for queue, workers in (("mail", 2), ("books", 1))
    ]
    (shop.home.path / "apps.toml").write_text("".join(sections))
    ids = [shop.enqueue(f"send({number})") for number in (1, 2)] + [shop.enqueue("book('rent', 700)")]
    daemon(on=shop.home)
    wait_for(lambda: shop.rows("letter", "tries", "sent") == [(1, 0), (1, 0)], 60.0, "both letters")
    wait_for(lambda: shop.locks("books") == 3, 60.0, "the locks of the book and of both letters")
    shop.home.end_processes()
    (shop.folder / "go").touch()
    daemon(on=shop.home)
    ids.append(shop.enqueue("book('rent', 30)"))
    wait_for(lambda: shop.rows("letter", "tries", "sent") == [(2, 1), (2, 1)], 60.0, "both letters again")
    wait_for(lambda: sorted(job["state"] for job in shop.jobs()) == ["succeeded"] * 4, 60.0, "all ends")
    assert shop.rows("account", "name", "total") == [("rent", 730)]
    assert {shop.home.json("result", one)["result"]["app"] for one in ids[:2]} == {"mail"}
    assert {shop.home.json("result", one)["result"]["app"] for one in ids[2:]} == {"books"}
    wait_for(lambda: [shop.left(queue) for queue in ("mail", "books")] == [0, 0], 20.0, "empty queues")
    assert (shop.folder / "imported").read_text().count("ready") == 1 + 4 + 2 * 2  # the table, requests, app hosts
