"""The tables, typed. Times are Unix seconds (UTC); JSON columns hold plain JSON values.

The migrations in `migrations/` make the same schema; a test compares the two.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypedColumns,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class WorkerColumns(TypedColumns):
    """One `qmrunner run`. `beat` only grows; the failure detectors of other workers watch it on their own clocks."""

    id: Column[int] = Column(Integer, primary_key=True)
    name: Column[str] = Column(String(200), nullable=False)
    host: Column[str] = Column(String(200), nullable=False)
    boot_id: Column[str] = Column(String(64), nullable=False)
    pid_ns: Column[str] = Column(String(64), nullable=False)
    pid: Column[int] = Column(Integer, nullable=False)
    start_ticks: Column[int] = Column(BigInteger, nullable=False)
    consumer_pid: Column[int | None] = Column(Integer)
    state: Column[str] = Column(String(16), nullable=False)  # active, draining, stopped, dead
    home_id: Column[str] = Column(String(40), nullable=False)  # its lock holder succeeds all earlier workers
    home: Column[str] = Column(String(1000), nullable=False)
    slots: Column[int] = Column(Integer, nullable=False)
    cores: Column[int] = Column(Integer, nullable=False)
    memory_mib: Column[int] = Column(Integer, nullable=False)
    scratch_mib: Column[int | None] = Column(Integer)
    shm_mib: Column[int | None] = Column(Integer)
    scratch_volume: Column[str | None] = Column(String(100))  # workers of one volume share what is on it
    shm_volume: Column[str | None] = Column(String(100))
    labels: Column[Any | None] = Column(JSON)
    beat: Column[int] = Column(Integer, nullable=False, default=0)
    beat_at: Column[float] = Column(Float, nullable=False)
    created_at: Column[float] = Column(Float, nullable=False)
    version: Column[str] = Column(String(40), nullable=False)


workers = Table("workers", metadata, WorkerColumns, Index(None, "state"), Index(None, "home_id"))


class ExaminationColumns(TypedColumns):
    """What `doctor` last found on the machine of a worker. Beside the worker's row, which each heartbeat writes."""

    worker_id: Column[int] = Column(Integer, ForeignKey("workers.id"), primary_key=True)
    at: Column[float] = Column(Float, nullable=False)
    ok: Column[int] = Column(Integer, nullable=False)
    warn: Column[int] = Column(Integer, nullable=False)
    fail: Column[int] = Column(Integer, nullable=False)
    checks: Column[Any] = Column(JSON, nullable=False)


examinations = Table("examinations", metadata, ExaminationColumns)


class JobColumns(TypedColumns):
    """What a user submitted and waits for."""

    seq: Column[int] = Column(Integer, primary_key=True)
    id: Column[str] = Column(String(32), nullable=False, unique=True)
    kind: Column[str] = Column(String(16), nullable=False)
    state: Column[str] = Column(String(16), nullable=False)
    params: Column[Any] = Column(JSON, nullable=False)
    name: Column[str | None] = Column(String(200))
    priority: Column[int] = Column(Integer, nullable=False, default=0)
    key: Column[str | None] = Column(String(200), unique=True)
    owner: Column[str | None] = Column(String(200))
    requires: Column[str | None] = Column(String(1000))  # labels, as `labels.stored` writes them
    request_digest: Column[str | None] = Column(String(64))  # of the API request that came with `key`
    cancel_requested: Column[bool] = Column(Boolean, nullable=False, default=False)
    code: Column[str | None] = Column(String(64))
    summary: Column[str | None] = Column(String)
    created_at: Column[float] = Column(Float, nullable=False)
    started_at: Column[float | None] = Column(Float)
    finished_at: Column[float | None] = Column(Float)
    group: Column[str | None] = Column(String(200))  # jobs that were submitted together
    structure: Column[str | None] = Column(String(1000))  # canonical SMILES, if it is known and not longer
    inchikey: Column[str | None] = Column(String(27))


# Each filter of the job list has an index in the order of the list. The index of names spares the list a look at
# `params`, which are most of a row.
jobs = Table(
    "jobs",
    metadata,
    JobColumns,
    Index(None, "state", "seq"),
    Index(None, "kind", "seq"),
    Index(None, "code", "seq"),
    Index(None, "owner", "seq"),
    Index(None, "group", "seq"),
    Index(None, "structure", "seq"),
    Index(None, "inchikey", "seq"),
    Index(None, "seq", "name"),
    Index(None, "created_at"),
    Index(None, "finished_at"),
)


class StepColumns(TypedColumns):
    """One engine calculation. `attempt` is the fencing token: the number of the newest attempt, 0 before any."""

    id: Column[int] = Column(Integer, primary_key=True)
    job_id: Column[str] = Column(String(32), ForeignKey("jobs.id"), nullable=False)
    name: Column[str] = Column(String(100), nullable=False)
    stage: Column[str] = Column(String(40), nullable=False)
    engine: Column[str] = Column(String(40), nullable=False)
    task: Column[str] = Column(String(40), nullable=False)
    params: Column[Any] = Column(JSON, nullable=False)
    inputs: Column[Any] = Column(JSON, nullable=False)
    after: Column[Any] = Column(JSON, nullable=False)
    demand: Column[Any] = Column(JSON, nullable=False)
    state: Column[str] = Column(String(16), nullable=False)
    attempt: Column[int] = Column(Integer, nullable=False, default=0)
    retries: Column[int] = Column(Integer, nullable=False, default=0)
    priority: Column[int] = Column(Integer, nullable=False, default=0)
    not_before: Column[float | None] = Column(Float)
    worker_id: Column[int | None] = Column(Integer, ForeignKey("workers.id"))
    code: Column[str | None] = Column(String(64))
    failure_class: Column[str | None] = Column(String(16))
    evidence: Column[Any | None] = Column(JSON)
    remedy: Column[str | None] = Column(String)
    summary: Column[str | None] = Column(String)
    result: Column[Any] = Column(JSON, nullable=False)
    passed_over: Column[int] = Column(Integer, nullable=False, server_default="0")  # times a later step started first
    waits_for: Column[str | None] = Column(String)  # what a ready step lacked at the last claim by a worker
    created_at: Column[float] = Column(Float, nullable=False)
    started_at: Column[float | None] = Column(Float)
    finished_at: Column[float | None] = Column(Float)
    # Hash of all that decides the result: of a succeeded, a running, and a ready step that waited or was started.
    content_key: Column[str | None] = Column(String(64))


steps = Table(
    "steps",
    metadata,
    StepColumns,
    UniqueConstraint("job_id", "name"),
    Index(None, "state", "priority", "id"),
    Index(None, "content_key"),
)


class AttemptColumns(TypedColumns):
    """One attempt at a step. `marker` is the value of QMRUNNER_ATTEMPT in its processes."""

    step_id: Column[int] = Column(Integer, ForeignKey("steps.id"), primary_key=True)
    number: Column[int] = Column(Integer, primary_key=True)
    job_id: Column[str] = Column(String(32), ForeignKey("jobs.id"), nullable=False)
    state: Column[str] = Column(String(16), nullable=False)
    worker_id: Column[int] = Column(Integer, ForeignKey("workers.id"), nullable=False)
    marker: Column[str] = Column(String(200), nullable=False)
    directory: Column[str] = Column(String(1000), nullable=False)
    log: Column[str] = Column(String(1000), nullable=False)
    guardian: Column[Any | None] = Column(JSON)  # identity: boot_id, pid_ns, pid, start_ticks
    engine_pid: Column[int | None] = Column(Integer)
    progress: Column[Any] = Column(JSON, nullable=False)
    progress_at: Column[float | None] = Column(Float)
    usage: Column[Any] = Column(JSON, nullable=False)
    granted: Column[Any] = Column(JSON, nullable=False)
    notes: Column[Any] = Column(JSON, nullable=False)
    code: Column[str | None] = Column(String(64))
    summary: Column[str | None] = Column(String)
    created_at: Column[float] = Column(Float, nullable=False)
    started_at: Column[float | None] = Column(Float)
    finished_at: Column[float | None] = Column(Float)


attempts = Table(
    "attempts",
    metadata,
    AttemptColumns,
    Index(None, "state"),
    Index(None, "job_id"),
)


class ReservationColumns(TypedColumns):
    """What a live attempt reserves of its machine. Deleted in the commit that ends the attempt."""

    step_id: Column[int] = Column(Integer, ForeignKey("steps.id"), primary_key=True)
    attempt: Column[int] = Column(Integer, primary_key=True)
    worker_id: Column[int] = Column(Integer, ForeignKey("workers.id"), nullable=False)
    cores: Column[int] = Column(Integer, nullable=False)
    memory_mib: Column[int] = Column(Integer, nullable=False)
    scratch_mib: Column[int] = Column(Integer, nullable=False)
    shm_mib: Column[int] = Column(Integer, nullable=False)


reservations = Table("reservations", metadata, ReservationColumns, Index(None, "worker_id"))


class PeakColumns(TypedColumns):
    """Peak usage of successful attempts, as a ratio to the figures of their engine's rule."""

    id: Column[int] = Column(Integer, primary_key=True)
    kind: Column[str] = Column(String(200), nullable=False)  # engine, task, method and size class
    memory: Column[float | None] = Column(Float)
    scratch: Column[float | None] = Column(Float)
    shm: Column[float | None] = Column(Float)


peaks = Table("peaks", metadata, PeakColumns, Index(None, "kind", "id"))


class ArtifactColumns(TypedColumns):
    """A file of a job and its content, for machines that do not have it. Empty without QMRUNNER_ARTIFACTS."""

    job_id: Column[str] = Column(String(32), ForeignKey("jobs.id"), primary_key=True)
    place: Column[str] = Column(String(16), primary_key=True)  # job, checkpoint, log
    path: Column[str] = Column(String(500), primary_key=True)
    step: Column[str] = Column(String(100), nullable=False)  # "" for files of the whole job
    attempt: Column[int] = Column(Integer, nullable=False)
    sha256: Column[str] = Column(String(64), nullable=False)
    bytes: Column[int] = Column(BigInteger, nullable=False)
    created_at: Column[float] = Column(Float, nullable=False)


artifacts = Table("artifacts", metadata, ArtifactColumns, Index(None, "sha256"), Index(None, "place"))


class EventColumns(TypedColumns):
    """Append-only history of all moves, with time and reason."""

    id: Column[int] = Column(Integer, primary_key=True)
    at: Column[float] = Column(Float, nullable=False)
    event: Column[str] = Column(String(40), nullable=False)
    job_id: Column[str | None] = Column(String(32))
    step: Column[str | None] = Column(String(100))
    attempt: Column[int | None] = Column(Integer)
    worker_id: Column[int | None] = Column(Integer)
    data: Column[Any] = Column(JSON, nullable=False)


events = Table("events", metadata, EventColumns, Index(None, "job_id"))


class TokenColumns(TypedColumns):
    """Tokens for the HTTP API. `digest` is the SHA-256 of the secret; the secret itself is not stored."""

    name: Column[str] = Column(String(64), primary_key=True)
    scope: Column[str] = Column(String(8), nullable=False)  # read, write, admin
    digest: Column[str] = Column(String(64), nullable=False, unique=True)
    created_at: Column[float] = Column(Float, nullable=False)


tokens = Table("tokens", metadata, TokenColumns)


class SessionColumns(TypedColumns):
    """Sign-ins to the pages, and one-use codes for signing in. Each belongs to a token and is deleted with it. `digest`
    is the SHA-256 of the secret; the secret itself is not stored."""

    digest: Column[str] = Column(String(64), primary_key=True)
    token: Column[str] = Column(String(64), ForeignKey("tokens.name", ondelete="CASCADE"), nullable=False, index=True)
    purpose: Column[str] = Column(String(8), nullable=False)  # session, code
    created_at: Column[float] = Column(Float, nullable=False)
    seen_at: Column[float] = Column(Float, nullable=False)


sessions = Table("sessions", metadata, SessionColumns)


class ControlColumns(TypedColumns):
    """Switches that operators set for the whole store, such as `paused`."""

    name: Column[str] = Column(String(40), primary_key=True)
    value: Column[str] = Column(String(200), nullable=False)


control = Table("control", metadata, ControlColumns)
