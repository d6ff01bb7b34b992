"""The values that packages exchange: submissions, jobs, steps, commands and outcomes.

Units are in the names: `_mib` (2**20 bytes), `_s` (seconds), `_hartree`, `_ppm`, `_angstrom`. An unknown
value is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from qmrunner.model.states import AttemptState, JobState, StepState

KINDS = ("nmr", "conformers", "nwchem", "crest", "xtb", "huey")
Kind = Literal["nmr", "conformers", "nwchem", "crest", "xtb", "huey"]
ENGINES = ("nwchem", "xtb", "crest", "chemistry", "huey")  # those of the registry, `qmrunner.engines`
# In front of an input's path: the step starts without the file if it does not exist. In front of a name in `after`: the
# step waits until that step has ended, and starts even if it failed.
OPTIONAL = "?"
FailureClass = Literal["transient", "resource", "method", "permanent", "operator"]


@dataclass(frozen=True, slots=True)
class Demand:
    """What one step needs before it may start. Ranks or threads use one core each.

    `scratch_least_mib`: an earlier attempt of this step was stopped because it needed that much; never less is
    reserved. A step without cores takes no slot, either: another program bounds how many of its kind run.
    """

    cores_min: int = 1
    cores_max: int = 1
    memory_mib_per_core: int = 0
    memory_mib_base: int = 64
    scratch_mib: int = 64
    shm_mib: int = 0
    scratch_least_mib: int = 0

    @property
    def takes_slot(self) -> bool:
        return self.cores_max > 0

    def memory_mib(self, cores: int) -> int:
        return self.memory_mib_base + cores * self.memory_mib_per_core


@dataclass(frozen=True, slots=True)
class Grant:
    """The reservation of one attempt."""

    cores: int
    memory_mib: int
    scratch_mib: int
    shm_mib: int

    @property
    def takes_slot(self) -> bool:
        return self.cores > 0


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One engine calculation that a workflow requests.

    `name` is unique in the job and names its folder and log (``optimise-c1``); `stage` is its kind in the workflow
    (``optimise``). `inputs` maps a name the engine knows (``geometry``) to a path relative to the job's folder
    (``input/mol.xyz``, ``preopt/geometry.xyz``); one that begins with ``?`` is optional: the step starts without it if
    the file does not exist. `after` names steps that must have succeeded first, or, with ``?`` in front, have succeeded
    or failed. If `demand` is None, the engine's own rule applies.
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
    """Whether a step with this `after` may start while the steps of its job are in these `states`."""

    def over(name: str) -> bool:
        state = states.get(name.removeprefix(OPTIONAL))
        return state == StepState.SUCCEEDED or (name.startswith(OPTIONAL) and state == StepState.FAILED)

    return all(map(over, after))


@dataclass(frozen=True, slots=True)
class Evidence:
    """The line that proves a finding, and where it is (`line` counts from 1).

    `input_line` of `input_file` (relative to the job's folder) is the input line that the engine was processing.
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
    `stack_limit_mib` is the stack limit of the engine's main thread; None if there is no limit or it was not read.
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
    """An engine's interpretation of an attempt's directory after the process tree has ended.

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
    reported: bool = False  # the outcome has left this attempt: it stands, also if the attempt was stopped


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of an attempt, for display and for the hang watch. Every field may be None.

    `fraction` is of the phase. Energies in hartree, gradients in hartree/bohr (xTB: the norm, else the largest).
    """

    phase: str | None = None
    iteration: int | None = None
    energy_hartree: float | None = None
    gradient: float | None = None
    residual: float | None = None
    fraction: float | None = None
    text: str | None = None
    done: float | None = None  # share of the whole step's work, 0 to 1, from the known make-up of such runs
    saves: bool = False  # the engine has just written files that a later attempt can resume from

    def as_dict(self) -> dict[str, Any]:
        pairs = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in pairs if value is not None and name != "saves"}


@dataclass(frozen=True, slots=True)
class Reach:
    """What an engine may access, in addition to the system's libraries and its attempt's own folder.

    `programs` (paths, or names on PATH) may be executed; `data` may be read; below `listed` only names may be read.
    `shared_memory` opens /dev/shm. Each variable of `ports` is set to a free TCP port,
    which may be used; `any_port` allows all ports, for launchers whose ports cannot be chosen. Without either there is
    no network. `local_ipc` allows Unix sockets, System V objects and modes of files.
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
    `env` has the variables that the engine needs; conflicting variables are dropped when the environment is composed.
    `notes` records every choice and override for the provenance. `reach` is what confinement leaves open.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reach: Reach = Reach()
    app_cwd: str | None = None  # a task of an application: not confined, and at home in this folder
    detach: bool = False  # what it leaves behind runs until the daemon ends


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked job that a user submits. `files` are the input files by name, as bytes.

    `owner` is the user whose share of the machines the job counts towards, `requires` the labels that a worker must
    have to run it. `request_digest` distinguishes two requests with the same `key`; without a digest on both sides they
    count as the same request. `group` names the jobs that belong together.
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
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored. `structure` is the canonical SMILES of its molecule; None if it is unknown or very long."""

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
    group: str | None = None
    structure: str | None = None
    inchikey: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A step as stored. `attempt` is the fencing token: the number of the newest attempt, 0 before any."""

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
    """One attempt at a step, as stored."""

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
    """What a workflow does next: steps to add, waiting steps to skip, or the end of the job."""

    add: tuple[StepSpec, ...] = ()
    skip: tuple[str, ...] = ()
    end: JobEnd | None = None
