"""What PostgreSQL reads for a claim grows with the ready steps, not with their square, while it has no statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from qmrunner.model.jobs import Submission
from qmrunner.store import schema
from qmrunner.store.advance import accept
from qmrunner.store.session import Store
from tests.store.work import NOW, ONE, SUCCEED, Work

MANY = 1500


def queries(store: Store, action: Callable[[], object]) -> list[tuple[str, Any]]:
    """The SELECTs that an action executes, with their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if statement.startswith("SELECT"):
            seen.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", note)
    action()
    event.remove(store.engine, "before_cursor_execute", note)
    return seen


def rows_read(plan: dict[str, Any]) -> float:
    """Rows that the nodes of a plan returned or threw away, each time they were executed."""
    thrown = sum(value for name, value in plan.items() if name.startswith("Rows Removed by"))
    below = sum(rows_read(part) for part in plan.get("Plans", ()))
    return float((plan["Actual Rows"] + thrown) * plan["Actual Loops"]) + below


@pytest.mark.slow
def test_a_new_store_full_of_ready_steps_is_claimed_from_without_statistics(postgres_database: str) -> None:
    store = Store(postgres_database)
    schema.upgrade(store)
    work = Work(store)
    with store.write() as connection:
        for number in range(MANY):
            submission = Submission(kind="xtb", params={}, owner=f"user{number % 5}")
            accept(connection, NOW, f"many{number}", submission, ONE)
    worker = work.worker()

    def attempt() -> None:
        claim = work.claim(worker)
        assert claim
        work.finish(claim, SUCCEED, ONE)

    attempt()  # prepares what is prepared once
    asked = queries(store, attempt)
    assert len(asked) > 5
    with store.engine.connect() as connection:
        read = 0.0
        for statement, parameters in asked:
            explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
            answer = connection.exec_driver_sql(explain, parameters).scalar_one()
            read += rows_read(answer[0]["Plan"])
        connection.rollback()
    store.close()
    # A dozen looks at each ready step.
    assert read < MANY * 30
