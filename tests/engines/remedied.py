"""A step carried from remedy to remedy with the real programs, as a worker does it, but without a daemon."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from qmrunner.attempt.environment import compose
from qmrunner.engines.base import Context, Engine
from qmrunner.host.probe import probe
from qmrunner.model.jobs import Command, Demand, Exit, Grant, Outcome, Step
from qmrunner.model.packing import Capacity
from qmrunner.model.remedies import Allowed, Failure, applied, propose

CAPACITY = Capacity(slots=2, cores=2, memory_mib=4000)


@dataclass(frozen=True)
class Course:
    """What became of a step: its last outcome, all codes in order, and the remedies applied."""

    outcome: Outcome
    codes: tuple[str, ...]
    step: Step
    last: Path

    @property
    def remedies(self) -> list[str]:
        return [record["remedy"] for record in applied(self.step.params)]


def carry(
    engine: Engine,
    step: Step,
    inputs: Mapping[str, Path],
    folder: Path,
    *,
    allow: Allowed = "neutral",
    configured: Mapping[str, str | None] | None = None,
    previous: Path | None = None,
    demand: Demand | None = None,
    cores: int = 1,
) -> Course:
    """Attempt after attempt, each with what a remedy changed, until success or no remedy is left."""
    codes: list[str] = []
    step = replace(step, demand=demand or engine.demand(step.task, step.params))
    while True:
        number = len(codes) + 1
        directory = folder / str(number)
        directory.mkdir(parents=True)
        granted = min(step.demand.cores_max, cores)
        grant = Grant(granted, step.demand.memory_mib(granted), step.demand.scratch_mib, step.demand.shm_mib)
        installed = probe(engine, configured or {})
        command = engine.prepare(step, Context(directory, inputs, grant, installed, previous))
        exit = run(command, directory)
        outcome = engine.interpret(step, directory, log_of(directory), exit)
        codes.append(outcome.code)
        if outcome.state == "succeeded":
            return Course(outcome, tuple(codes), step, directory)
        failure = Failure(replace(step, attempt=number), outcome, grant, CAPACITY)
        found = propose(failure, engine.remedies(step.task), allow)
        if found is None:
            return Course(outcome, tuple(codes), step, directory)
        step = replace(step, params=found.params, demand=found.demand, attempt=number)
        previous = directory if engine.checkpoint(directory) else previous


def log_of(directory: Path) -> Path:
    return directory.parent / f"step.{directory.name}.log"


def run(command: Command, directory: Path) -> Exit:
    """The command in its directory to its end, both outputs in one log."""
    for name, text in command.files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    for name, source in command.copies.items():
        shutil.copyfile(source, directory / name)
    env = compose(os.environ, command.env, directory, "none/none/1").variables
    with log_of(directory).open("wb") as log:
        ended = subprocess.run(
            command.argv, cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=200
        )
    code = ended.returncode
    return Exit(code) if code >= 0 else Exit(None, -code)
