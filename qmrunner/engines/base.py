"""The engine protocol. An engine turns values into commands and output into values; it never runs anything.

`prepare` and `interpret` may read the files they are given, and nothing else: no store, no clock, no process. Probing
needs a short run of the program: the engine only returns its command (`probe_argv`) and reads its output
(`read_probe`); `host.probe` runs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from qmrunner.engines.input_check import Finding
from qmrunner.model.jobs import Command, Demand, Exit, Grant, Outcome, Progress, Step
from qmrunner.model.remedies import Remedy


@dataclass(frozen=True, slots=True)
class Installed:
    """An engine as found on this machine. `path` is None if it is not installed."""

    name: str
    path: str | None
    version: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """The input of `prepare`.

    `directory` is the attempt's private directory, already there; `inputs` maps the step's input names to readable
    files; `installed` is the result of the probe; `previous` is the directory of the newest earlier attempt
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
        """Short commands whose output has version and flavour; each ends within seconds."""
        ...

    def read_probe(self, found: Installed, outputs: Sequence[str]) -> Installed:
        """The result of the probe from the output (stdout and stderr together) of each command of `probe_argv`."""
        ...

    def demand(self, task: str, params: Mapping[str, Any]) -> Demand:
        """The demand of such a step, by rule: cores, memory, scratch and shared memory."""
        ...

    def prepare(self, step: Step, context: Context) -> Command:
        """The command for this attempt. Resumes from `context.previous` if that has a usable checkpoint.

        Raises QmrunnerError if the step cannot be started at all (an input missing, the engine not installed).
        """
        ...

    def findings(self, step: Step, files: Mapping[str, bytes], *, strict: bool) -> Sequence[Finding]:
        """Parts of a user's input that would leave its folder or start a program; `files` by name, as they will run.

        `strict`: only this check confines the run, so everything that is not known to be harmless is refused, too.
        """
        ...

    def environment(self, context: Context) -> Mapping[str, str]:
        """The environment variables of this engine, the same for every step; `prepare` puts them into its command."""
        ...

    def reader(self, step: Step, directory: Path | None = None) -> ProgressReader:
        """A new reader of the engine's output; `directory` is the attempt's, with the input as it runs."""
        ...

    def checkpoint(self, directory: Path) -> tuple[str, ...]:
        """Files of a running or ended attempt from which a later one can resume; empty if there are none yet."""
        ...

    def interpret(self, step: Step, directory: Path, log: Path, exit: Exit) -> Outcome:
        """The outcome of the attempt: success only with exit 0, the end marker and a complete, finite result."""
        ...

    def remedies(self, task: str) -> Sequence[Remedy]:
        """The remedies for failed steps of this task, best first: data and pure functions."""
        ...


class ProgressReader(Protocol):
    """Reads output line by line, with little state."""

    def feed(self, line: str) -> Progress | None:
        """The new progress if this line reports any, else None."""
        ...


class Which(Protocol):
    """Finds a program on PATH, like shutil.which."""

    def __call__(self, name: str, /) -> str | None: ...
