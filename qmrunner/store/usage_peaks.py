"""Measured peaks of successful attempts, and the demands that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, delete, select

from qmrunner.model.jobs import Demand, Step
from qmrunner.model.learned_demand import KEPT, Ratios, kind_of, learned, ratios_of
from qmrunner.model.packing import Capacity
from qmrunner.store.tables import peaks


def record(
    connection: Connection, step: Step, cores: int, usage: Mapping[str, Any], offered: Capacity | None = None
) -> None:
    """Record the peaks of a successful attempt with `cores` on a worker that `offered` so much. The oldest of its kind
    beyond `KEPT` are deleted."""
    kind = kind_of(step.engine, step.task, step.params)
    ratios = ratios_of(step.demand, cores, usage, offered) if kind is not None else None
    if ratios is None:
        return
    values = {"memory": ratios.memory, "scratch": ratios.scratch, "shm": ratios.shm}
    connection.execute(peaks.insert().values(kind=kind, **values))
    beyond = select(peaks.c.id).where(peaks.c.kind == kind).order_by(peaks.c.id.desc()).offset(KEPT).limit(1)
    oldest = connection.execute(beyond).scalar()
    if oldest is not None:
        connection.execute(delete(peaks).where(peaks.c.kind == kind, peaks.c.id <= oldest))


def seen(connection: Connection, kinds: Iterable[str | None]) -> dict[str, list[Ratios]]:
    """The measurements of each kind, newest first."""
    found: dict[str, list[Ratios]] = {}
    for kind in sorted({kind for kind in kinds if kind is not None}):
        query = select(peaks).where(peaks.c.kind == kind).order_by(peaks.c.id.desc()).limit(KEPT)
        found[kind] = [Ratios(row.memory, row.scratch, row.shm) for row in connection.execute(query)]
    return found


def demands(connection: Connection, steps: Iterable[Step]) -> dict[int, Demand]:
    """What to reserve for each step (by id): its rule, corrected by measured peaks of its kind."""
    kinds = {step.id: (kind_of(step.engine, step.task, step.params), step) for step in steps}
    known = seen(connection, (kind for kind, _ in kinds.values()))
    return {
        step_id: learned(step.demand, known.get(kind, []) if kind else []) for step_id, (kind, step) in kinds.items()
    }
