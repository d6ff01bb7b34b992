"""Response schemas for the API documentation; docs/reference/json.md describes the JSON. Fields may be added."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JobState = Literal["queued", "running", "held", "succeeded", "failed", "cancelled"]
StepState = Literal[
    "waiting", "ready", "claimed", "running", "held", "succeeded", "failed", "cancelled", "skipped"
]  # fmt: skip
Kind = Literal["nmr", "conformers", "nwchem", "crest", "xtb", "huey"]
Scope = Literal["read", "write", "admin"]
_TIMES = ["2026-11-25T18:24:37.125Z"]


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Accepted(BaseModel):
    """A stored job."""

    id: str = Field(examples=["ftqsrbrr"])


class Interruption(BaseModel):
    """Why nothing of a running job runs (`worker_silent`, `no_worker`, `draining`, `paused`), and what ends that."""

    code: str = Field(examples=["no_worker"])
    summary: str = Field(examples=["no worker runs"])
    then: str = Field(examples=["the next `qmrunner run` resumes it"])
    since: str | None = Field(examples=_TIMES)


class JobRow(_Open):
    """A job as in lists. `progress` has `text` and `fraction`; `interrupted` is null unless the job is running and
    nothing of it runs."""

    id: str = Field(examples=["ftqsrbrr"])
    kind: Kind
    name: str | None
    state: JobState
    code: str | None
    summary: str | None
    priority: int
    owner: str | None
    group: str | None
    structure: str | None
    inchikey: str | None
    cancel_requested: bool
    created_at: str = Field(examples=_TIMES)
    started_at: str | None = Field(examples=_TIMES)
    finished_at: str | None = Field(examples=_TIMES)
    interrupted: Interruption | None
    progress: dict[str, Any]


class JobCount(BaseModel):
    """How many jobs meet the conditions, and how many would in each state. `more`: there are more than were counted."""

    total: int
    states: dict[JobState, int]
    more: bool


class JobPage(BaseModel):
    """Jobs, newest first. `next` is the `cursor` of the next page, null on the last page. `count` if asked for."""

    jobs: list[JobRow]
    next: str | None = Field(examples=["1841"])
    count: JobCount | None = None


class StepRow(_Open):
    """A step of a job; docs/reference/json.md lists every field."""

    id: str = Field(examples=["optimise-c1"])
    stage: str
    engine: str
    state: StepState
    attempt: int
    progress: dict[str, Any]
    code: str | None
    started_at: str | None = Field(examples=_TIMES)
    finished_at: str | None = Field(examples=_TIMES)


class JobDetail(JobRow):
    """A job with its steps."""

    steps: list[StepRow]


class JobAnswer(BaseModel):
    """The same JSON as `qmrunner status JOB --json`."""

    job: JobDetail


class StageRow(BaseModel):
    """The steps of one stage: their ids without the common `prefix`, and in `states` a letter for each."""

    stage: str
    engines: list[str]
    counts: dict[StepState, int]
    prefix: str = Field(examples=["optimise-"])
    ids: list[str] = Field(examples=[["c1", "c2"]])
    states: str = Field(examples=["sR"])


class NotableStep(BaseModel):
    """A step that runs, is held or failed, or needed several attempts."""

    id: str
    state: StepState
    attempt: int
    code: str | None


class JobSummary(JobRow):
    """A job with its stages; `letters` explains the letters, `notable` has at most 200 steps."""

    letters: dict[str, StepState]
    stages: list[StageRow]
    notable: list[NotableStep]
    notable_more: int


class JobSummaryAnswer(BaseModel):
    """A job with `steps=summary`."""

    job: JobSummary


class Moved(BaseModel):
    """State of a job after cancel, retry, hold or release."""

    id: str
    state: JobState
    cancel_requested: bool


class WhyAnswer(_Open):
    """The same JSON as `qmrunner why JOB --json`."""

    id: str
    state: JobState
    summary: str
    code: str | None
    evidence: dict[str, Any] | None
    deck: dict[str, Any] | None
    remedy: str | None
    next: str | None
    attempts: list[dict[str, Any]]


class ShiftRow(_Open):
    """The shift of one atom, numbered from 1; `uncertainty_ppm` is null where the error of its kind is not known."""

    nucleus: Literal["1H", "13C"]
    atom: int
    symbol: str
    shift_ppm: float
    shielding_ppm: float
    own_shielding_ppm: float | None = None
    uncertainty_ppm: float | None
    equivalent_atoms: list[int]
    kind: str | None


class ConformerRow(_Open):
    """A conformer; those that were dropped have a `reason` and no weight."""

    id: str = Field(examples=["c1"])
    energy_hartree: float | None
    weight: float | None
    state: str = Field(examples=["kept"])
    relative_kcal_mol: float | None = None
    degeneracy: int | None = None
    reason: str | None = None


class ResultAnswer(_Open):
    """The same JSON as `qmrunner result JOB --json`, without `folder`."""

    id: str
    kind: Kind
    energy_hartree: float | None
    shifts: list[ShiftRow]
    conformers: list[ConformerRow]
    files: list[str]
    provenance: dict[str, Any]


class FileRow(BaseModel):
    """A published file."""

    name: str = Field(examples=["xtb/output.log"])
    bytes: int


class FileList(BaseModel):
    """All published files of a job, sorted by name."""

    files: list[FileRow]


class EventRow(BaseModel):
    """A state change: time, event, step, attempt, worker and details."""

    id: int
    at: str = Field(examples=_TIMES)
    event: str = Field(examples=["step_claimed"])
    step: str | None
    attempt: int | None
    worker: int | None
    data: dict[str, Any]


class EventList(BaseModel):
    """Events of a job, oldest first; pass `last` as `after` in the next request."""

    events: list[EventRow]
    last: int


class Trace(BaseModel):
    """The course of a run. Each of `points` has the values that `columns` names; null where a line has none."""

    attempt: int
    columns: list[str] = Field(examples=[["number", "iteration", "phase", "energy_hartree", "gradient", "residual"]])
    points: list[list[int | float | str | None]]
    last: int
    complete: bool
    here: bool
    live: bool
    thresholds: dict[str, float] = Field(examples=[{"gradient": 4.5e-4, "residual": 1e-5}])


class Arguments(BaseModel):
    """The arguments of a task as Python writes them, cut; `more` counts those left out."""

    task: str | None
    args: list[str]
    kwargs: dict[str, str]
    more: int


class WorkerRow(_Open):
    """A worker as in `qmrunner status --json`."""

    id: int
    name: str
    state: str
    slots: int
    cores: int
    heartbeat_age_s: float
    stale: bool
    version: str


class WorkerList(BaseModel):
    """All workers that have not ended."""

    workers: list[WorkerRow]
    paused: bool


class TokenRow(BaseModel):
    """A token without its secret."""

    name: str = Field(examples=["alice"])
    scope: Scope
    created_at: str = Field(examples=_TIMES)


class TokenList(BaseModel):
    """All tokens, sorted by name."""

    tokens: list[TokenRow]


class TokenForm(BaseModel):
    """A token to create."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", examples=["alice"])
    scope: Scope


class NewToken(BaseModel):
    """A token with its secret, which is shown only once."""

    name: str
    scope: Scope
    secret: str = Field(examples=["qmr_…"])


class Health(BaseModel):
    """The server answers."""

    status: Literal["ok"]
    version: str
