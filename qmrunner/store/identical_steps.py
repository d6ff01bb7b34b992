"""Finding a step that was computed before, or that is being computed."""

from __future__ import annotations

from sqlalchemy import Connection, select

from qmrunner.model.jobs import Step
from qmrunner.model.states import StepState
from qmrunner.store.rows import to_step
from qmrunner.store.tables import steps

_LOOKED_AT = 5


def computed_before(connection: Connection, content_key: str) -> list[Step]:
    """Succeeded steps with this content, the newest first; whether their files are still there is not asked here."""
    query = (
        select(steps)
        .where(steps.c.content_key == content_key, steps.c.state == StepState.SUCCEEDED)
        .order_by(steps.c.id.desc())
        .limit(_LOOKED_AT)
    )
    return [to_step(row) for row in connection.execute(query)]


def being_computed(connection: Connection, content_key: str, but: int) -> Step | None:
    """A running step with this content, other than step `but`."""
    # Not one that is merely claimed: two of them would each wait for the other.
    same = (steps.c.content_key == content_key) & (steps.c.state == StepState.RUNNING) & (steps.c.id != but)
    row = connection.execute(select(steps).where(same).order_by(steps.c.id).limit(1)).first()
    return None if row is None else to_step(row)
