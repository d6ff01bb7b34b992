"""Response schemas of the state: overview, options, events, a worker, this machine."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from qmrunner.api.schemas import EventRow, Scope, WorkerRow


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Me(BaseModel):
    """The token of this request."""

    name: str | None
    scope: Scope


class SolventRow(BaseModel):
    """A solvent: the names that a form may send, and a substitute that a program uses."""

    key: str
    label: str
    aliases: list[str]
    note: str | None


class LevelRow(BaseModel):
    """A level of theory, and the heaviest element it covers."""

    key: str
    about: str
    last_element: str


class Options(BaseModel):
    """What a form of a submission may offer. `engines`: which are installed beside this server."""

    solvents: list[SolventRow]
    levels: list[LevelRow]
    conformers: list[str]
    kinds: list[str]
    engines: dict[str, bool]
    defaults: dict[str, str | float]
    limits: dict[str, int]


class Attention(BaseModel):
    """Something that needs a person: a stable code, a sentence, and the next command."""

    code: str = Field(examples=["job_held"])
    text: str
    job: str | None
    worker: int | None
    next: str


class Overview(_Open):
    """As `qmrunner status --json`. `store` is the error if the store does not answer."""

    workers: list[WorkerRow]
    jobs: list[dict[str, Any]]
    queue: dict[str, Any] | None
    disk: dict[str, Any]
    store: dict[str, Any] | None
    attention: list[Attention]


class StoreEvent(EventRow):
    """An event, and its job."""

    job: str | None


class History(BaseModel):
    """Events, newest first. `next` is the `cursor` of the next page, null on the last page."""

    events: list[StoreEvent]
    next: int | None


class Day(BaseModel):
    """The last 24 hours of a worker."""

    core_hours: float
    attempts: dict[str, int]
    restarts: int


class Examined(BaseModel):
    """When `doctor` last examined the machine of a worker, and its findings by result."""

    at: str
    ok: int
    warn: int
    fail: int


class WorkerDetail(WorkerRow):
    """A worker with what runs on it. `examined` is null until it has examined its machine."""

    used: dict[str, float | None]
    running: list[dict[str, Any]]
    day: Day
    examined: Examined | None


class ScratchPlan(_Open):
    """The same JSON as `qmrunner scratch plan --json`."""

    needs: dict[str, int]
    compose: list[str]


class ScratchUsage(_Open):
    """The same JSON as `qmrunner scratch usage --json`."""

    jobs: list[dict[str, Any]]


class Check(BaseModel):
    """A finding about this machine."""

    name: str
    result: Literal["ok", "warn", "fail"]
    code: str | None
    text: str
    remedy: str | None
    data: dict[str, Any]


class Doctor(BaseModel):
    """The same JSON as `qmrunner doctor --json`."""

    checks: list[Check]
    summary: dict[str, int]


class WorkerChecks(Doctor):
    """The same of the machine of a worker, and when it was examined."""

    at: str


class SweepAction(_Open):
    """What a sweep does or would do."""

    sweep: str
    verb: str
    target: str
    reason: str
    done: bool
    problem: str | None


class Sweeps(BaseModel):
    """The actions of a sweep, in order."""

    actions: list[SweepAction]
