"""Small real calculations through the code that the daemon uses: engine, guardian, exit record, interpretation.

They run in a separate folder on the scratch filesystem, under a separate spawner. No process or file is left behind.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qmrunner import logs
from qmrunner.attempt.active import ActiveAttempt, engine_grace_s
from qmrunner.attempt.directory import AttemptDirectory, paths
from qmrunner.attempt.hang_watch import HangWatch
from qmrunner.attempt.interpret import outcome_of, read_exit
from qmrunner.attempt.monitor import Follower
from qmrunner.attempt.prepare import prepare
from qmrunner.attempt.spawner_client import SpawnerClient
from qmrunner.doctor.checks import installed
from qmrunner.doctor.finding import Finding, ask, fail, ok
from qmrunner.doctor.folders import existing
from qmrunner.engines import ENGINES
from qmrunner.engines.base import Installed
from qmrunner.guardian import process_tree, spawner
from qmrunner.host.capacity import capacity
from qmrunner.host.remove_tree import remove_tree
from qmrunner.host.sockets import bind_short
from qmrunner.model.jobs import Demand, Exit, Grant, Job, Step
from qmrunner.model.packing import Capacity
from qmrunner.model.states import JobState, StepState
from qmrunner.settings import Settings

_PREFIX = ".qmrunner-smoke-"
_STALE_S = 3600.0
_LONGEST_RUN_S = 120.0
_ALONE_S = 3.0  # if this process is killed, the guardian ends the run after this time
_SETTLED_S = 10.0
_MEMORY_MIB_PER_RANK = 512
_H2 = """start h2
geometry units angstroms
  H 0.0 0.0 0.0
  H 0.0 0.0 0.74
end
basis
  * library sto-3g
end
scf
  direct
end
task scf energy
"""
_WATER = """3
water
O  0.0000  0.0000  0.1173
H  0.0000  0.7572 -0.4692
H  0.0000 -0.7572 -0.4692
"""


# Modules that qmrunner's chemistry loads: a package may be installed while a system library is missing.
_LOADS = "import numpy, matplotlib.pyplot; from rdkit.Chem import AllChem; from rdkit.Chem.Draw import rdMolDraw2D"


@dataclass(frozen=True, slots=True)
class Case:
    """One run. `energy` is the expected total energy in hartree, within `tolerance`; None: none is printed."""

    name: str
    engine: str
    task: str
    params: Mapping[str, Any]
    file: str
    text: str
    cores: int = 1
    energy: float | None = None
    tolerance: float = 1e-6


_CASES = (
    # Energies by NWChem 7.0.2 and xTB 6.5.1.
    Case("smoke_nwchem_1", "nwchem", "deck", {"deck": "h2.nw"}, "h2.nw", _H2, 1, -1.116759310),
    Case("smoke_nwchem_2", "nwchem", "deck", {"deck": "h2.nw"}, "h2.nw", _H2, 2, -1.116759310),
    Case("smoke_xtb", "xtb", "user", {"structure": "water.xyz", "args": []}, "water.xyz", _WATER, 1, -5.070371, 1e-5),
    Case("smoke_crest", "crest", "user", {"structure": "water.xyz", "args": ["--dry"]}, "water.xyz", _WATER),
)


def smoke(settings: Settings) -> Iterator[Finding]:
    """A finding for each run. Programs that are not installed are skipped: `examine` has reported them."""
    what = capacity(settings)
    there = [(case, found) for case in _CASES if (found := installed(case.engine, settings)).path is not None]
    try:
        with _workshop(settings) as shop:
            for number, (case, found) in enumerate(there, 1):
                yield from ask(case.name, lambda case=case, found=found, n=number: _one(shop, case, found, what, n))  # type: ignore[misc]
        if installed("chemistry", settings).path is not None:
            yield from ask("smoke_chemistry", _chemistry)
    except OSError as problem:
        yield fail("smoke", "scratch_unusable", f"no run could be started: {problem}", "see `scratch` above")


def _chemistry() -> Finding:
    """Whether the packages that `examine` found can be imported, drawing included."""
    began = time.monotonic()
    command = [sys.executable, "-P", "-c", _LOADS]
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LONGEST_RUN_S
        )
    except subprocess.TimeoutExpired:
        return fail("smoke_chemistry", "timed_out", f"RDKit did not load within {_LONGEST_RUN_S:g} s", "see `cores`")
    if ended.returncode:
        last_line = (ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"])[-1]
        remedy = "install the missing library (Debian, for drawings: `apt-get install libxrender1 libxext6`)"
        return fail("smoke_chemistry", "library_broken", last_line, remedy)
    return ok("smoke_chemistry", f"RDKit, its drawing and matplotlib load in {time.monotonic() - began:.1f} s")


@dataclass
class _Workshop:
    settings: Settings
    spawner: SpawnerClient
    lives: list[ActiveAttempt] = field(default_factory=list)


@contextmanager
def _workshop(settings: Settings) -> Iterator[_Workshop]:
    """A home in a temporary folder on the scratch filesystem, with a spawner; both are gone afterwards."""
    base = existing(settings.scratch_root)
    _remove_stale(base)
    root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    own = replace(settings, home=root, jobs=None, scratch=None, logs=None, adoption_seconds=_ALONE_S, hang_watch="off")
    try:
        own.run_root.mkdir()
        logs.configure(own.run_root, "error")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as listener:
            bind_short(listener, own.run_root, spawner.SOCKET)
            listener.listen(4)
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "qmrunner.guardian.spawner", str(listener.fileno())],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=(listener.fileno(),), start_new_session=True,
            )  # fmt: skip
            shop = _Workshop(own, SpawnerClient(own.run_root))
            try:
                yield shop
            finally:
                _close(shop, process)
    finally:
        remove_tree(root, base)


def _close(shop: _Workshop, process: subprocess.Popen[bytes]) -> None:
    """Kill the remaining processes, then the spawner."""
    end = time.monotonic() + _SETTLED_S
    for live in shop.lives:
        process_tree.end_marked(live.marker)
        while live.directory.guardian_lives() and time.monotonic() < end:
            time.sleep(0.01)  # it writes its exit record
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_SETTLED_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _remove_stale(base: Path) -> None:
    """Folders of a `doctor` that was killed."""
    for path in base.glob(f"{_PREFIX}*"):
        if path.stat().st_mtime < time.time() - _STALE_S:
            remove_tree(path, base)


def _one(shop: _Workshop, case: Case, found: Installed, what: Capacity, number: int) -> Finding:
    cores = max(case.cores, 2 if found.facts.get("progress_rank") else 1)
    if cores > what.cores:
        return ok(case.name, f"skipped: it needs {cores} cores, {what.cores} available", ran=False)
    live = _live(shop, case, cores, number)
    shop.lives.append(live)
    try:
        exit = _run(shop, live, found)
        outcome = outcome_of(live, ENGINES[case.engine], exit)
    finally:
        live.close()
    left = not process_tree.end_marked(live.marker)
    energy = outcome.result.get("energy_hartree")
    data = {"ran": True, "energy_hartree": energy, "seconds": exit.wall_s, "cores": cores}
    # A dry run of CREST ends before the line that ends a search.
    done = outcome.state == "succeeded" or (case.energy is None and exit.ok and outcome.code == "truncated_output")
    if exit.stop_reason is not None:
        text = f"did not end within {_LONGEST_RUN_S:g} s; last line: {_last_line(live.log)}"
        return fail(case.name, "timed_out", text, "see `qmrunner doctor` above for cores and launcher", **data)
    if not done:
        seen = f": {outcome.evidence.text.strip()}" if outcome.evidence else ""
        return fail(case.name, outcome.code, f"{outcome.summary or outcome.code}{seen}", outcome.remedy, **data)
    if left:
        return fail(case.name, "survivors", "a process of the run cannot be killed", "see `ps`", **data)
    if case.energy is None:
        return ok(case.name, f"dry run in {exit.wall_s:.1f} s", **data)
    if energy is None or abs(energy - case.energy) > case.tolerance:
        text = f"energy {energy} Eh, expected {case.energy} within {case.tolerance:g}"
        return fail(case.name, "wrong_energy", text, "do not trust this build: install another one", **data)
    ranks = f" with {cores} rank{'s' if cores > 1 else ''}" if case.engine == "nwchem" else ""
    return ok(case.name, f"E {energy:.9f} Eh in {exit.wall_s:.1f} s{ranks}", **data)


def _live(shop: _Workshop, case: Case, cores: int, number: int) -> ActiveAttempt:
    now, job_id = datetime.now(UTC), f"smoke{number}"
    inputs = {case.file: f"input/{case.file}"}
    source = shop.settings.jobs_root / job_id / inputs[case.file]
    source.parent.mkdir(parents=True)
    source.write_text(case.text)
    job = Job(
        id=job_id, seq=0, kind=case.engine, state=JobState.RUNNING, params={}, name=None, priority=0, key=None,
        code=None, summary=None, created_at=now, started_at=now, finished_at=None,
    )  # fmt: skip
    step = Step(
        id=number, job_id=job_id, name=case.engine, stage=case.engine, engine=case.engine, task=case.task,
        params=case.params, inputs=inputs, after=(), demand=Demand(), state=StepState.CLAIMED, attempt=1, retries=0,
        priority=0, not_before=None, worker_id=None, code=None, failure_class=None, evidence=None, remedy=None,
        summary=None, result={}, created_at=now, started_at=now, finished_at=None,
    )  # fmt: skip
    where = paths(shop.settings)
    return ActiveAttempt(
        job=job,
        step=step,
        number=1,
        grant=Grant(cores, _MEMORY_MIB_PER_RANK * cores, 256, 0),
        directory=AttemptDirectory(Path(where.directory(job_id, step.name, 1))),
        log=Path(where.log(job_id, step.name, 1)),
        marker=f"{shop.settings.home.name}/{job_id}/{os.getpid()}",
    )


def _run(shop: _Workshop, live: ActiveAttempt, found: Installed) -> Exit:
    """Prepare, hand to a guardian, follow to the end. Raises QmrunnerError when it cannot even be prepared."""
    engine = ENGINES[live.step.engine]
    prepare(live, engine, found, shop.settings)
    shop.spawner.spawn_guardian(live.directory.path)
    follower = Follower(live, engine, HangWatch(live, shop.settings, engine_grace_s(shop.settings)))
    alarm = threading.Timer(_LONGEST_RUN_S, live.stop, ("timed_out", 1.0))
    alarm.daemon = True
    alarm.start()
    try:
        if follower.connect():
            follower.follow(lambda: True)
    finally:
        alarm.cancel()
    end = time.monotonic() + _SETTLED_S
    while (record := live.directory.exit_record()) is None:
        if time.monotonic() > end:
            raise TimeoutError("the guardian left no exit record")
        time.sleep(0.01)
    return read_exit(record)


def _last_line(log: Path) -> str:
    lines: Sequence[str] = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "none")
