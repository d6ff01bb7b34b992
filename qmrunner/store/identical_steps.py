"""Finding an identical step that has succeeded, or is running."""

from __future__ import annotations

from sqlalchemy import Connection, select

from qmrunner.model.jobs import Step
from qmrunner.model.states import StepState
from qmrunner.store.rows import to_step
from qmrunner.store.tables import steps

_LOOKED_AT = 5


def computed_before(connection: Connection, content_key: str) -> list[Step]:
    """Succeeded steps with this content, newest first; whether their files still exist is not checked."""
    query = (
        select(steps)
        .where(steps.c.content_key == content_key, steps.c.state == StepState.SUCCEEDED)
        .order_by(steps.c.id.desc())
        .limit(_LOOKED_AT)
    )
    return [to_step(row) for row in connection.execute(query)]


def being_computed(connection: Connection, content_key: str, but: int) -> Step | None:
    """A running step with this content, other than step `but`."""
    # Not a step that is only claimed: two of them would wait for each other.
    same = (steps.c.content_key == content_key) & (steps.c.state == StepState.RUNNING) & (steps.c.id != but)
    row = connection.execute(select(steps).where(same).order_by(steps.c.id).limit(1)).first()
    return None if row is None else to_step(row)
