"""A process frozen inside a transaction (SIGSTOP, a frozen cgroup) holds its locks on PostgreSQL for a while."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from sqlalchemy import text

from qmrunner.store.session import Store, StoreUnavailable
from tests.support import ROOT, ended

_HELD_S = 20.0  # until the server ends the session
_FROZEN = """
import sys, time
from sqlalchemy import text
from qmrunner.store.session import Store
with Store(sys.argv[1]).write() as connection:
    connection.execute(text("select * from held for update"))
    print("inside", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_its_locks_are_free_before_a_waiting_transaction_gives_up(postgres_database: str) -> None:
    store = Store(postgres_database)
    with store.write() as connection:
        connection.execute(text("create table held (value int)"))
        connection.execute(text("insert into held values (1)"))
    with ended(
        subprocess.Popen(
            [sys.executable, "-c", _FROZEN, postgres_database], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "inside\n"
        os.kill(process.pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            with store.write() as connection:
                connection.execute(text("update held set value = 2"))
        except StoreUnavailable as problem:
            pytest.fail(f"after {time.monotonic() - began:.0f} s: {problem.evidence}")
        assert time.monotonic() - began < _HELD_S + 5.0
    store.close()
