"""Prepares an attempt: fills its directory and writes the guardian's order. Nothing here accesses the store."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from qmrunner import untrusted
from qmrunner.attempt.active import ActiveAttempt, engine_grace_s
from qmrunner.attempt.directory import AttemptDirectory, make_log
from qmrunner.attempt.environment import compose
from qmrunner.confinement import policy
from qmrunner.engines.base import Context, Engine, Installed
from qmrunner.engines.input_check import refuse
from qmrunner.errors import NotReadyError, QmrunnerError
from qmrunner.guardian import process
from qmrunner.guardian.process_tree import MARKER
from qmrunner.host import capacity
from qmrunner.host.atomic_write import write_atomically
from qmrunner.model.disk_space import hard_mark_mib
from qmrunner.model.jobs import OPTIONAL, Command, Step
from qmrunner.settings import Settings

_PREALLOCATED_LOG_BYTES = 4 << 20


def prepare(attempt: ActiveAttempt, engine: Engine, installed: Installed, settings: Settings) -> Command:
    """Fill the attempt directory and write the guardian's order. Raises QmrunnerError or OSError."""
    work = attempt.directory.work
    attempt.directory.make()
    make_log(attempt.log)
    context = Context(
        directory=work,
        inputs=inputs_of(attempt.step, settings.jobs_root / attempt.job.id),
        grant=attempt.grant,
        installed=installed,
        previous=_previous(attempt, engine),
    )
    command = engine.prepare(attempt.step, context)
    granted = policy.kernel()
    if command.app_cwd is None and not attempt.job.params.get("unconfined"):
        refuse(
            engine.findings(
                attempt.step, as_run(context.inputs, command), strict=_is_strict(attempt, granted, settings)
            )
        )
    if command.app_cwd is None and (warning := capacity.stack_note()):
        command = replace(command, notes=(*command.notes, warning))
    _lay_out(work, command)
    if command.app_cwd is not None:
        _write_app_order(attempt, command, command.app_cwd, settings)
        return command
    environment = compose(os.environ, command.env, work, attempt.marker)
    held = _confinement(attempt, command, environment.variables, granted, settings)
    _write_order(attempt, command, {**environment.variables, **held.variables}, held, settings)
    return replace(command, notes=(*command.notes, *environment.notes(), *held.notes))


def as_run(inputs: Mapping[str, Path], command: Command) -> dict[str, bytes]:
    """The content of a step's input files by name, as the engine will read them: rewritten files in their new form."""
    contents = {name: path.read_bytes() for name, path in inputs.items()}
    return contents | {name: _bytes(text) for name, text in command.files.items() if name in contents}


def _bytes(text: str) -> bytes:
    # A user's deck may hold any bytes (`engines.nwchem.input.reader.decode`), and is written as it was checked.
    return text.encode("utf-8", "surrogateescape")


def _is_strict(attempt: ActiveAttempt, granted: policy.Kernel, settings: Settings) -> bool:
    """Whether the input check is the only confinement of a job that came over the network."""
    held = settings.confine != "off" and granted.holds
    return not held and bool(attempt.job.params.get("network"))


def _confinement(
    attempt: ActiveAttempt,
    command: Command,
    environment: Mapping[str, str],
    granted: policy.Kernel,
    settings: Settings,
) -> policy.Confinement:
    """How the kernel confines this attempt. Raises NotReadyError `confinement_missing`."""
    if attempt.job.params.get("unconfined"):
        return policy.open_to_all("lifted by --unconfined")
    if settings.confine == "off":
        return policy.open_to_all("QMRUNNER_CONFINE=off")
    if settings.confine == "require" and attempt.job.params.get("network") and not granted.holds:
        raise NotReadyError(
            "confinement_missing",
            "this worker may not run an input from the network: its kernel cannot confine engines",
            evidence=granted.words,
            remedy="`qmrunner doctor` lists what is missing; QMRUNNER_CONFINE=auto runs what passes the stricter check",
        )
    if granted.abi is None:
        return policy.open_to_all(granted.words)
    return policy.confine(command.reach, attempt.directory.work, environment, settings, granted)


def inputs_of(step: Step, job_folder: Path, *, optional: bool = True) -> dict[str, Path]:
    """The step's input files by name; includes files that may be missing only with `optional`. Raises QmrunnerError."""
    paths = {}
    for name, relative in step.inputs.items():
        path = job_folder / relative.removeprefix(OPTIONAL)
        if path.is_file() and (optional or not relative.startswith(OPTIONAL)):
            paths[name] = path
        elif not relative.startswith(OPTIONAL):
            raise QmrunnerError(
                "input_missing",
                f"the input {name!r} of step {step.name} does not exist",
                evidence=str(path),
                remedy="the job was submitted with another QMRUNNER_JOBS or QMRUNNER_ARTIFACTS than this worker has, or"
                " its files were removed: use the same settings on both, and submit it again",
            )
    return paths


def _previous(attempt: ActiveAttempt, engine: Engine) -> Path | None:
    """The work folder of the newest earlier attempt from which this one can resume."""
    for number in range(attempt.number - 1, 0, -1):
        work = AttemptDirectory(attempt.directory.path.parent / str(number)).work
        if work.is_dir() and engine.checkpoint(work):
            return work
    return None


def _lay_out(work: Path, command: Command) -> None:
    for name, source in command.copies.items():
        target = work / name
        target.parent.mkdir(parents=True, exist_ok=True)
        untrusted.copy(source, target)
    for name, text in command.files.items():
        target = work / name
        target.parent.mkdir(parents=True, exist_ok=True)
        untrusted.write_bytes(target, _bytes(text))
    temporary = command.env.get("TMPDIR")
    if temporary and work in Path(temporary).parents:
        Path(temporary).mkdir(parents=True, exist_ok=True)


def _write_order(
    attempt: ActiveAttempt,
    command: Command,
    environment: Mapping[str, str],
    held: policy.Confinement,
    settings: Settings,
) -> None:
    order = process.Order(
        argv=list(command.argv),
        env=dict(environment),
        cwd=str(attempt.directory.work),
        log=str(attempt.log),
        marker=attempt.marker,
        grace_s=engine_grace_s(settings),
        adoption_s=settings.adoption_seconds,
        preallocate_bytes=_PREALLOCATED_LOG_BYTES,
        scratch_quota_mib=attempt.grant.scratch_mib,
        file_limit_bytes=_file_limit_bytes(attempt, settings),
        confinement=policy.as_order(held),
    )
    write_atomically(attempt.directory.path / process.COMMAND, json.dumps(order._asdict()))


def _write_app_order(attempt: ActiveAttempt, command: Command, cwd: str, settings: Settings) -> None:
    """The order for a task of an application: `env` only adds to the environment that its host has."""
    order = process.Order(
        argv=list(command.argv),
        env={**command.env, MARKER: attempt.marker},
        cwd=cwd,
        log=str(attempt.log),
        marker=attempt.marker,
        grace_s=engine_grace_s(settings),
        adoption_s=settings.adoption_seconds,
        preallocate_bytes=0,
        measured=str(attempt.directory.work),
        detach=command.detach,
    )
    write_atomically(attempt.directory.path / process.COMMAND, json.dumps(order._asdict()))


def _file_limit_bytes(attempt: ActiveAttempt, settings: Settings) -> int:
    """The largest file allowed: free scratch space. 0 (no limit) with shared memory: its segments are files, too."""
    volume = capacity.volume(attempt.directory.path) if attempt.grant.shm_mib == 0 else None
    if volume is None:
        return 0
    hard = hard_mark_mib(volume.total_mib, settings.scratch_hard_mib, settings.scratch_soft_mib)
    return max(1, volume.free_mib - hard) * 2**20
