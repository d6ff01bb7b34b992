"""Before an engine starts: its attempt's directory filled, and the guardian's order written. Nothing here touches the
store.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from qmrunner import untrusted
from qmrunner.attempt.active import Live, engine_grace_s
from qmrunner.attempt.directory import AttemptFolder, make_log
from qmrunner.attempt.environment import compose
from qmrunner.confinement import policy
from qmrunner.engines.base import Context, Engine, Installed
from qmrunner.engines.confinement import refuse
from qmrunner.errors import NotReadyError, QmrunnerError
from qmrunner.guardian import process
from qmrunner.host import capacity
from qmrunner.host.files import write_atomically
from qmrunner.model.disk_space import hard_mark_mib
from qmrunner.model.jobs import OPTIONAL, Command, Step
from qmrunner.settings import Settings

_PREALLOCATED_LOG_BYTES = 4 << 20


def prepare(live: Live, engine: Engine, installed: Installed, settings: Settings) -> Command:
    """Fill the attempt directory and write the guardian's order. Raises QmrunnerError or OSError."""
    work = live.folder.work
    live.folder.make()
    make_log(live.log)
    context = Context(
        directory=work,
        inputs=inputs_of(live.step, settings.jobs_root / live.job.id),
        grant=live.grant,
        installed=installed,
        previous=_previous(live, engine),
    )
    command = engine.prepare(live.step, context)
    granted = policy.kernel()
    if not live.job.params.get("unconfined"):
        refuse(engine.findings(live.step, as_run(context.inputs, command), strict=_is_strict(live, granted, settings)))
    if warning := capacity.stack_note():
        command = replace(command, notes=(*command.notes, warning))
    _lay_out(work, command)
    environment = compose(os.environ, command.env, work, live.marker)
    held = _confinement(live, command, environment.variables, granted, settings)
    _write_order(live, command, {**environment.variables, **held.variables}, held, settings)
    return replace(command, notes=(*command.notes, *environment.notes(), *held.notes))


def as_run(inputs: Mapping[str, Path], command: Command) -> dict[str, bytes]:
    """The content of a step's input files by name, those that the engine rewrote as they will run."""
    found = {name: path.read_bytes() for name, path in inputs.items()}
    return found | {name: _bytes(text) for name, text in command.files.items() if name in found}


def _bytes(text: str) -> bytes:
    # A deck of a user may hold any bytes (`engines.nwchem.reader.decode`), and is written as it was checked.
    return text.encode("utf-8", "surrogateescape")


def _is_strict(live: Live, granted: policy.Kernel, settings: Settings) -> bool:
    """Whether nothing but the check of inputs holds what came over the network."""
    held = settings.confine != "off" and granted.holds
    return not held and bool(live.job.params.get("network"))


def _confinement(
    live: Live,
    command: Command,
    environment: Mapping[str, str],
    granted: policy.Kernel,
    settings: Settings,
) -> policy.Confinement:
    """How the kernel holds this attempt. Raises NotReadyError `confinement_missing`."""
    if live.job.params.get("unconfined"):
        return policy.open_to_all("lifted by --unconfined")
    if settings.confine == "off":
        return policy.open_to_all("QMRUNNER_CONFINE=off")
    if settings.confine == "require" and live.job.params.get("network") and not granted.holds:
        raise NotReadyError(
            "confinement_missing",
            "this worker may not run an input from the network: its kernel cannot confine engines",
            evidence=granted.words,
            remedy="`qmrunner doctor` says what is missing; QMRUNNER_CONFINE=auto runs what passes the stricter check",
        )
    if granted.abi is None:
        return policy.open_to_all(granted.words)
    return policy.confine(command.reach, live.folder.work, environment, settings, granted)


def inputs_of(step: Step, job_folder: Path, *, optional: bool = True) -> dict[str, Path]:
    """The step's input files by name, those that may be missing only with `optional`. Raises QmrunnerError."""
    found = {}
    for name, relative in step.inputs.items():
        path = job_folder / relative.removeprefix(OPTIONAL)
        if path.is_file() and (optional or not relative.startswith(OPTIONAL)):
            found[name] = path
        elif not relative.startswith(OPTIONAL):
            raise QmrunnerError(
                "input_missing",
                f"the input {name!r} of step {step.name} is not there",
                evidence=str(path),
                remedy="files of this job were removed by hand; submit it again",
            )
    return found


def _previous(live: Live, engine: Engine) -> Path | None:
    """The work folder of the newest earlier attempt from which this one can go on."""
    for number in range(live.number - 1, 0, -1):
        work = AttemptFolder(live.folder.path.parent / str(number)).work
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
    live: Live,
    command: Command,
    environment: Mapping[str, str],
    held: policy.Confinement,
    settings: Settings,
) -> None:
    order = process.Order(
        argv=list(command.argv),
        env=dict(environment),
        cwd=str(live.folder.work),
        log=str(live.log),
        marker=live.marker,
        grace_s=engine_grace_s(settings),
        adoption_s=settings.adoption_seconds,
        preallocate_bytes=_PREALLOCATED_LOG_BYTES,
        scratch_quota_mib=live.grant.scratch_mib,
        file_limit_bytes=_file_limit_bytes(live, settings),
        confinement=policy.as_order(held),
    )
    write_atomically(live.folder.path / process.COMMAND, json.dumps(asdict(order)))


def _file_limit_bytes(live: Live, settings: Settings) -> int:
    """What is free of the scratch volume now. None for what uses shared memory: its segments are files, too."""
    found = capacity.volume(live.folder.path) if live.grant.shm_mib == 0 else None
    if found is None:
        return 0
    hard = hard_mark_mib(found.total_mib, settings.scratch_hard_mib, settings.scratch_soft_mib)
    return max(1, found.free_mib - hard) * 2**20
