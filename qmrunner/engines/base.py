"""The engine protocol. An engine turns values into commands and output into values; it never runs anything.

`prepare` and `interpret` may read the files they are given, and nothing else: no store, no clock, no process. Probing
needs one short run of the program, so an engine only says which (`probe_argv`) and reads what came back
(`read_probe`); `engines.probing` runs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from qmrunner.engines.confinement import Finding
from qmrunner.model.jobs import Command, Demand, Exit, Grant, Outcome, Progress, Step
from qmrunner.model.remedies import Remedy


@dataclass(frozen=True, slots=True)
class Installed:
    """What was found of an engine on this machine. `path` is None when it is not installed."""

    name: str
    path: str | None
    version: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """What `prepare` and `resume` may know.

    `directory` is the attempt's private directory, already there; `inputs` maps the step's input names to readable
    files; `installed` is the probe's answer for this engine; `previous` is the directory of the newest earlier attempt
    that left a checkpoint, or None.
    """

    directory: Path
    inputs: Mapping[str, Path]
    grant: Grant
    installed: Installed
    previous: Path | None = None


class Engine(Protocol):
    """One program that qmrunner can run."""

    name: str

    def locate(self, configured: Mapping[str, str | None], which: Which) -> Installed:
        """Find the program (no run yet). `configured` holds settings such as ``nwchem`` and ``mpirun``."""
        ...

    def probe_argv(self, found: Installed) -> Sequence[tuple[str, ...]]:
        """Short commands whose output tells version and flavour; each ends by itself within seconds."""
        ...

    def read_probe(self, found: Installed, outputs: Sequence[str]) -> Installed:
        """The probe's answer from the output (stdout and stderr together) of each command of `probe_argv`."""
        ...

    def demand(self, task: str, params: Mapping[str, Any]) -> Demand:
        """What such a step needs, by rule: cores, memory, scratch and shared memory."""
        ...

    def prepare(self, step: Step, context: Context) -> Command:
        """The command for this attempt. Resumes from `context.previous` when that holds something usable.

        Raises QmrunnerError when the step cannot be started at all (an input missing, the engine not installed).
        """
        ...

    def findings(self, step: Step, files: Mapping[str, bytes], *, strict: bool) -> Sequence[Finding]:
        """What of a user's own input would leave its folder or start something; `files` as they will run, by name.

        `strict`: nothing but this check confines the run, so what is not known to be harmless is refused, too.
        """
        ...

    def environment(self, context: Context) -> Mapping[str, str]:
        """The variables this engine wants, whatever the step; the same that `prepare` puts into its command."""
        ...

    def reader(self, step: Step, directory: Path | None = None) -> ProgressReader:
        """A fresh reader of the engine's output; `directory` is the attempt's, with the input as it runs."""
        ...

    def checkpoint(self, directory: Path) -> tuple[str, ...]:
        """Files of a running or ended attempt from which a later one can go on; empty when there is nothing yet."""
        ...

    def interpret(self, step: Step, directory: Path, log: Path, exit: Exit) -> Outcome:
        """What the attempt came to: success only with exit 0, the end marker and the complete, finite result."""
        ...

    def remedies(self, task: str) -> Sequence[Remedy]:
        """What may help a failed step of this task, best first: data and pure functions."""
        ...


class ProgressReader(Protocol):
    """Reads output line by line; remembers only what it must."""

    def feed(self, line: str) -> Progress | None:
        """The new progress if this line tells any, else None."""
        ...


class Which(Protocol):
    """Finds a program on PATH, like shutil.which."""

    def __call__(self, name: str, /) -> str | None: ...
