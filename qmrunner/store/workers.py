"""Workers: registration, heartbeats, and their live attempts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, bindparam, delete, or_, select, update

from qmrunner.model.jobs import Attempt
from qmrunner.model.packing import Capacity
from qmrunner.model.states import ATTEMPT_LIVE, STEP_LIVE
from qmrunner.store import events
from qmrunner.store.rows import to_attempt
from qmrunner.store.tables import attempts, control, jobs, reservations, steps, workers

# Statements of every heartbeat are built once: on SQLite building one costs more than executing it.
_BEAT = (
    update(workers)
    .where(workers.c.id == bindparam("worker"), workers.c.state != "dead")
    .values(beat=workers.c.beat + 1, beat_at=bindparam("at"), consumer_pid=bindparam("consumer"))
)
_HOLDING = select(attempts.c.worker_id).where(attempts.c.state.in_(ATTEMPT_LIVE))
_DEAD_WITH_ATTEMPTS = select(workers.c.id).where(workers.c.state == "dead", workers.c.id.in_(_HOLDING))
_ALL = select(workers).order_by(workers.c.id)
_NOT_ENDED = _ALL.where(workers.c.state.in_(("active", "draining")))
_PAUSED = select(control.c.value).where(control.c.name == "paused")
_CANCELLED = (
    select(attempts.c.step_id)
    .join(jobs, jobs.c.id == attempts.c.job_id)
    .where(attempts.c.worker_id == bindparam("worker"), attempts.c.state.in_(ATTEMPT_LIVE))
    .where(jobs.c.cancel_requested.is_(True))
)
_OWNERS = select(steps.c.id, steps.c.attempt, steps.c.state).where(steps.c.id.in_(bindparam("steps", expanding=True)))
_LIVE_OF = (
    select(attempts, steps.c.name.label("step_name"), workers.c.pid.label("worker_pid"))
    .join(steps, steps.c.id == attempts.c.step_id)
    .join(workers, workers.c.id == attempts.c.worker_id)
    .where(attempts.c.state.in_(ATTEMPT_LIVE), attempts.c.worker_id.in_(bindparam("workers", expanding=True)))
    .order_by(attempts.c.step_id)
)
# Written as OR: SQLAlchemy refuses an IN together with many rows of parameters.
_LIVE = or_(*(attempts.c.state == state for state in sorted(ATTEMPT_LIVE)))
_SAVE = update(attempts).where(attempts.c.step_id == bindparam("s"), attempts.c.number == bindparam("n"), _LIVE)
_SAVE_USAGE = _SAVE.values(usage=bindparam("u"))
_SAVE_PROGRESS = _SAVE.values(progress=bindparam("p"), progress_at=bindparam("at"))


def register(
    connection: Connection,
    now: float,
    *,
    name: str,
    host: str,
    identity: Mapping[str, Any],
    home_id: str,
    home: str,
    capacity: Capacity,
    version: str,
) -> int:
    """Insert an active worker. `identity` is (boot_id, pid_ns, pid, start_ticks) of the supervisor."""
    result = connection.execute(
        workers.insert().values(
            name=name,
            host=host,
            home_id=home_id,
            home=home,
            state="active",
            **asdict(capacity),
            beat=0,
            beat_at=now,
            created_at=now,
            version=version,
            **identity,
        )
    )
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def set_capacity(connection: Connection, worker_id: int, capacity: Capacity) -> None:
    """Record a changed capacity: a volume was mounted or grew, a limit was changed."""
    connection.execute(update(workers).where(workers.c.id == worker_id).values(**asdict(capacity)))


def beat(connection: Connection, now: float, worker_id: int, consumer_pid: int | None) -> bool:
    """Write a heartbeat for the worker and all its attempts. False: the worker has been declared dead."""
    return connection.execute(_BEAT, {"worker": worker_id, "at": now, "consumer": consumer_pid}).rowcount == 1


def consumer_died(connection: Connection, now: float, worker_id: int, status: int | None) -> None:
    """Record that the consumer process died. The next one registers with its first heartbeat."""
    connection.execute(update(workers).where(workers.c.id == worker_id).values(consumer_pid=None))
    events.append(connection, now, "consumer_died", worker_id=worker_id, exit=status)


def set_state(connection: Connection, worker_id: int, state: str) -> None:
    connection.execute(update(workers).where(workers.c.id == worker_id, workers.c.state != "dead").values(state=state))


def of_home(connection: Connection, home_id: str, *, but: int) -> list[int]:
    """Earlier workers of this home that have not ended, or that ended with live attempts."""
    query = select(workers.c.id).where(
        workers.c.home_id == home_id,
        workers.c.id != but,
        or_(workers.c.state.in_(("active", "draining")), workers.c.id.in_(_HOLDING)),
    )
    return [row.id for row in connection.execute(query)]


def retire(connection: Connection, worker_id: int, now: float) -> None:
    """Mark a worker dead because another worker owns its home now. Its next heartbeat is refused."""
    connection.execute(update(workers).where(workers.c.id == worker_id).values(state="dead"))
    events.append(connection, now, "worker_dead", worker_id=worker_id)


def declare_lost(connection: Connection, now: float, worker_id: int, beat: int) -> bool:
    """Declare a worker dead if its beat is still the observed one. False: it has changed, or the worker is dead
    already."""
    statement = (
        update(workers)
        .where(workers.c.id == worker_id, workers.c.beat == beat, workers.c.state.in_(("active", "draining")))
        .values(state="dead")
    )
    if connection.execute(statement).rowcount != 1:
        return False
    events.append(connection, now, "worker_dead", worker_id=worker_id, reason="its lease ran out")
    return True


def dead_with_attempts(connection: Connection) -> list[int]:
    """Dead workers with live attempts: the process that declared them dead may have died before it released those."""
    return [row.id for row in connection.execute(_DEAD_WITH_ATTEMPTS)]


def set_drain(connection: Connection, now: float, home_id: str, draining: bool, *, by: str | None = None) -> int:
    """Stop or resume claiming for the workers of a home. Returns how many changed."""
    old, new = ("active", "draining") if draining else ("draining", "active")
    changed = connection.execute(
        update(workers).where(workers.c.home_id == home_id, workers.c.state == old).values(state=new)
    ).rowcount
    events.append(connection, now, "drain_requested" if draining else "drain_lifted", by=by)
    return changed


def set_paused(connection: Connection, now: float, paused: bool, *, by: str | None = None) -> None:
    """Stop all workers of this store from starting steps, or allow it again."""
    connection.execute(delete(control).where(control.c.name == "paused"))
    connection.execute(control.insert().values(name="paused", value="yes" if paused else "no"))
    events.append(connection, now, "paused" if paused else "resumed", by=by)


def is_paused(connection: Connection) -> bool:
    return connection.execute(_PAUSED).scalar() == "yes"


def all_workers(connection: Connection, *, ended: bool = False) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in connection.execute(_ALL if ended else _NOT_ENDED).all()]


def save_usage(connection: Connection, rows: Sequence[tuple[int, int, Mapping[str, Any]]]) -> None:
    """What live attempts use: (step id, attempt number, usage)."""
    if rows:
        connection.execute(_SAVE_USAGE, [{"s": s, "n": n, "u": dict(u)} for s, n, u in rows])


def save_progress(connection: Connection, now: float, rows: Sequence[tuple[int, int, Mapping[str, Any]]]) -> None:
    """Progress of live attempts: (step id, attempt number, progress)."""
    if rows:
        connection.execute(_SAVE_PROGRESS, [{"s": s, "n": n, "p": dict(p), "at": now} for s, n, p in rows])


def cancelled_steps(connection: Connection, worker_id: int) -> set[int]:
    """Live steps of this worker whose job has a cancel request."""
    return {row.step_id for row in connection.execute(_CANCELLED, {"worker": worker_id})}


def fenced_attempts(connection: Connection, pairs: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """The given (step id, attempt number) that no longer own their step."""
    if not pairs:
        return set()
    rows = connection.execute(_OWNERS, {"steps": [step for step, _ in pairs]})
    owners = {row.id: (row.attempt if row.state in ("claimed", "running") else None) for row in rows}
    return {(step, number) for step, number in pairs if owners.get(step) != number}


def live_attempts(connection: Connection, worker_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of attempts that these workers have not ended, with facts about their step, job and worker."""
    if not worker_ids:
        return []
    return [dict(row._mapping) for row in connection.execute(_LIVE_OF, {"workers": list(worker_ids)})]


def attempts_of_job(connection: Connection, job_id: str, of: Collection[int] | None = None) -> list[Attempt]:
    """The attempts of a job, or of these steps of it, in the order of the steps."""
    query = (
        select(attempts, workers.c.pid.label("worker_pid"))
        .join(workers, workers.c.id == attempts.c.worker_id)
        .where(attempts.c.job_id == job_id)
        .order_by(attempts.c.step_id, attempts.c.number)
    )
    if of is not None:
        query = query.where(attempts.c.step_id.in_(of))
    return [to_attempt(row) for row in connection.execute(query).all()]


def take_over(connection: Connection, old: Sequence[int], new: int) -> None:
    """Transfer the live attempts, steps and reservations of dead workers to their successor."""
    if not old:
        return
    live = attempts.c.state.in_(ATTEMPT_LIVE)
    connection.execute(update(attempts).where(attempts.c.worker_id.in_(old), live).values(worker_id=new))
    holding = steps.c.state.in_(STEP_LIVE)
    connection.execute(update(steps).where(steps.c.worker_id.in_(old), holding).values(worker_id=new))
    connection.execute(update(reservations).where(reservations.c.worker_id.in_(old)).values(worker_id=new))
