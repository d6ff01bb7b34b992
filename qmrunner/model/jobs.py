"""The values that travel between the rooms: what was asked, what is to run, what came out.

Units are in the names: `_mib` (2**20 bytes), `_s` (seconds), `_hartree`, `_ppm`, `_angstrom`. A value that was not
found is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from qmrunner.model.states import AttemptState, JobState, StepState

KINDS = ("nmr", "conformers", "nwchem", "crest", "xtb")
Kind = Literal["nmr", "conformers", "nwchem", "crest", "xtb"]
# In front of an input's path: the step does without where no such file is there. In front of a name in `after`: the
# step waits until that one is over, and does without it where it failed.
OPTIONAL = "?"
FailureClass = Literal["transient", "resource", "method", "permanent", "operator"]


@dataclass(frozen=True, slots=True)
class Demand:
    """What one step needs before it may start. Ranks or threads use one core each.

    `scratch_least_mib` is what an earlier attempt of this very step was stopped for: never less is reserved.
    """

    cores_min: int = 1
    cores_max: int = 1
    memory_mib_per_core: int = 0
    memory_mib_base: int = 64
    scratch_mib: int = 64
    shm_mib: int = 0
    scratch_least_mib: int = 0

    def memory_mib(self, cores: int) -> int:
        return self.memory_mib_base + cores * self.memory_mib_per_core


@dataclass(frozen=True, slots=True)
class Grant:
    """What one attempt got: the reservation it runs under."""

    cores: int
    memory_mib: int
    scratch_mib: int
    shm_mib: int


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One engine calculation as a workflow wants it.

    `name` is unique in the job and names its folder and log (``optimise-c1``); `stage` is its kind in the workflow
    (``optimise``). `inputs` maps a name the engine knows (``geometry``) to a path relative to the job's folder
    (``input/mol.xyz``, ``preopt/geometry.xyz``); one that begins with ``?`` is optional: the step does without where no
    such file is there. `after` names steps that must have succeeded first, or, with ``?`` in front, have succeeded or
    failed. Where `demand` is None the engine's own rule decides.
    """

    name: str
    stage: str
    engine: str
    task: str
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    demand: Demand | None = None


def may_start(after: Iterable[str], states: Mapping[str, StepState]) -> bool:
    """Whether a step behind `after` may start, the steps of its job being in these `states`."""

    def over(name: str) -> bool:
        state = states.get(name.removeprefix(OPTIONAL))
        return state == StepState.SUCCEEDED or (name.startswith(OPTIONAL) and state == StepState.FAILED)

    return all(map(over, after))


@dataclass(frozen=True, slots=True)
class Evidence:
    """The line that decides, and where it stands (`line` counts from 1).

    `input_line` of `input_file` (relative to the job's folder) is the line of the input that the engine was at.
    """

    text: str
    file: str | None = None
    line: int | None = None
    input_file: str | None = None
    input_line: int | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process tree ended, as its guardian recorded it.

    `returncode` is None and `signal` set when the engine was ended by a signal. `stop_reason` is set when qmrunner
    itself ended it (``drain``, ``cancel``, ``fenced``, ``abandoned``, ``hung``, ``scratch_quota``, ``scratch_low``).
    `stack_limit_mib` is what the engine's main thread could have at most; None without a limit, or where nobody looked.
    `started_at`/`ended_at` are Unix seconds.
    """

    returncode: int | None
    signal: int | None = None
    stop_reason: str | None = None
    wall_s: float | None = None
    cpu_s: float | None = None
    peak_rss_mib: float | None = None
    peak_memory_mib: float | None = None
    peak_scratch_mib: float | None = None
    peak_shm_mib: float | None = None
    survivors_ended: int = 0
    oom_kills: int | None = None
    disk_full: bool = False
    logs_full: bool = False
    stack_limit_mib: float | None = None
    started_at: float | None = None
    ended_at: float | None = None

    @property
    def ok(self) -> bool:
        return self.returncode == 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an engine made of its directory after the process tree was gone.

    `result` is JSON-ready. `publish` lists paths, relative to the attempt directory, that move to the step's folder;
    `promote` those of them that are also copied to the job's folder.
    """

    state: Literal["succeeded", "failed", "stopped"]
    code: str
    result: Mapping[str, Any] = field(default_factory=dict)
    failure_class: FailureClass | None = None
    evidence: Evidence | None = None
    remedy: str | None = None
    summary: str | None = None
    publish: tuple[str, ...] = ()
    promote: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an attempt stands, for people and for the hang watch. Every field may be unknown.

    `fraction` is of the phase. Energies in hartree, gradients in hartree/bohr (xTB: the norm, else the largest).
    """

    phase: str | None = None
    iteration: int | None = None
    energy_hartree: float | None = None
    gradient: float | None = None
    residual: float | None = None
    fraction: float | None = None
    text: str | None = None
    done: float | None = None  # share of the whole step's work, 0 to 1, by experience with such runs
    saves: bool = False  # the engine has just written what a later attempt can go on from

    def as_dict(self) -> dict[str, Any]:
        pairs = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in pairs if value is not None and name != "saves"}


@dataclass(frozen=True, slots=True)
class Reach:
    """What an engine needs of the machine, beside the system's libraries and its attempt's own folder.

    `programs` (paths, or names on PATH) may be executed; `data` may be read; below `listed` only names are seen.
    `shared_memory` opens /dev/shm. Each variable of `ports` is set to a free TCP port,
    which may be used; `any_port` allows all of them, for launchers whose ports cannot be chosen. Without either there
    is no network. `local_ipc` allows Unix sockets, System V objects and modes of files.
    """

    programs: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    shared_memory: bool = False
    ports: tuple[str, ...] = ()
    any_port: bool = False
    local_ipc: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """Everything a guardian needs to start an engine, and nothing else.

    `files` are written into the attempt directory before the start, `copies` are copied there (target → source).
    `env` is what the engine wants of its environment; what conflicts with it is dropped when the environment is
    composed. `notes` records every choice and override for the provenance. `reach` is what confinement leaves open.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reach: Reach = Reach()


@dataclass(frozen=True, slots=True)
class Submission:
    """A job as a user hands it in, already checked. `files` are the input files by name, as bytes.

    `owner` is whose share of the machines it counts to, `requires` the labels that a worker must have to run it.
    `request_digest` tells two requests with the same `key` apart; None, or a job that was stored without one: they are
    taken for the same.
    """

    kind: str
    params: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    name: str | None = None
    priority: int = 0
    key: str | None = None
    owner: str | None = None
    requires: tuple[str, ...] = ()
    request_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the store has it."""

    id: str
    seq: int
    kind: str
    state: JobState
    params: Mapping[str, Any]
    name: str | None
    priority: int
    key: str | None
    code: str | None
    summary: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested: bool = False
    owner: str | None = None
    requires: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A step as the store has it. `attempt` is the fencing token: the number of the newest attempt, 0 before any."""

    id: int
    job_id: str
    name: str
    stage: str
    engine: str
    task: str
    params: Mapping[str, Any]
    inputs: Mapping[str, str]
    after: tuple[str, ...]
    demand: Demand
    state: StepState
    attempt: int
    retries: int
    priority: int
    not_before: datetime | None
    worker_id: int | None
    code: str | None
    failure_class: str | None
    evidence: Evidence | None
    remedy: str | None
    summary: str | None
    result: Mapping[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    skips: int = 0
    waits_for: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a step, as the store has it."""

    step_id: int
    number: int
    state: AttemptState
    worker_id: int
    worker_pid: int
    guardian_pid: int | None
    engine_pid: int | None
    directory: str
    log: str
    grant: Grant
    progress: Mapping[str, Any]
    usage: Mapping[str, Any]
    notes: tuple[str, ...]
    code: str | None
    summary: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a workflow ends its job."""

    state: Literal["succeeded", "failed", "cancelled", "held"]
    code: str | None = None
    summary: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A workflow's answer to "what now?": steps to add, waiting steps that are not needed, or the end of the job."""

    add: tuple[StepSpec, ...] = ()
    skip: tuple[str, ...] = ()
    end: JobEnd | None = None
