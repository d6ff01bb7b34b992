"""qmrunner's own Python chemistry as an engine: `python -m qmrunner.chemistry TASK task.json` under a guardian, so that
a crash in native code costs one attempt.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import math
import re
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qmrunner import untrusted
from qmrunner.confinement import interpreter
from qmrunner.engines import failures, input_check, signatures
from qmrunner.engines.base import Context, Installed, ProgressReader, Which
from qmrunner.engines.signatures import Finding
from qmrunner.errors import NotReadyError, QmrunnerError
from qmrunner.model.jobs import Command, Demand, Evidence, Exit, FailureClass, Outcome, Progress, Step
from qmrunner.model.remedies import Remedy

# The last line of `qmrunner.chemistry.__main__`; repeated because this package may not import that one.
END_MARKER = "qmrunner chemistry: done"
_ANSWER = (
    "shifts.csv",
    "geometry.xyz",
    "ensemble.xyz",
    "ensemble.json",
    "spectrum_1H.svg",
    "spectrum_13C.svg",
    "structure.svg",
    "nmredata.sdf",
)
# `select` promotes only the ensemble; the `shifts` step of the same job replaces it with its own.
PROMOTED = {"shifts": _ANSWER, "select": ("ensemble.xyz", "geometry.xyz")}
# The files of each conformer of a task, by the name of the step's input.
_PER_CONFORMER = {"shifts": ("shielding", "optimise", "geometry"), "select": ("energy", "geometry")}
_NEEDED = ("rdkit", "numpy")
_TAIL_BYTES = 65536
_OWN_LINES = 20_000  # at the end of the log: searched for the `error CODE: message` line
_ERROR = re.compile(r"^error (?P<code>[a-z][a-z0-9_]*): (?P<message>.*)$")
_PROGRESS = re.compile(r"^progress (?P<fraction>[01]\.\d+) (?P<text>.*)$")
# The code is deterministic: the same input fails in the same way, unless the machine is the cause.
_CLASSES: dict[str, FailureClass] = {
    "scratch_full": "resource",
    "rdkit_missing": "operator",
    "embed_failed": "method",
    "topology_changed": "method",
}


class Chemistry:
    """Tasks `embed` (a SMILES or 2D file to a start structure), `search` (to conformers), `select` (a selection of
    conformers) and `shifts` (shieldings to shifts)."""

    name = "chemistry"

    def locate(self, configured: Mapping[str, str | None], which: Which) -> Installed:
        """This interpreter, with the versions of the packages it needs; None for one that is missing."""
        facts: dict[str, Any] = {name: _version(name) for name in (*_NEEDED, "matplotlib")}
        there = all(importlib.util.find_spec(name) is not None for name in _NEEDED)
        return Installed(self.name, sys.executable if there else None, facts["rdkit"], facts)

    def probe_argv(self, found: Installed) -> Sequence[tuple[str, ...]]:
        return ()

    def read_probe(self, found: Installed, outputs: Sequence[str]) -> Installed:
        return found

    def demand(self, task: str, params: Mapping[str, Any]) -> Demand:
        """One core; RDKit and matplotlib take about 150 MiB (measured), which hardly grows with the molecule."""
        return Demand(memory_mib_base=256, scratch_mib=16)

    def prepare(self, step: Step, context: Context) -> Command:
        """The command. Inputs are copied in, and named in the task file by their copies.

        Raises NotReadyError `engine_missing`, QmrunnerError `input_missing`.
        """
        if context.installed.path is None:
            raise NotReadyError(
                "engine_missing",
                "RDKit and numpy are not installed for this worker",
                evidence=sys.executable,
                remedy="install the extra: pip install 'qmrunner[nmr]'",
            )
        copies = {_copy_name(name, step.inputs[name]): _input(context, name) for name in step.inputs}
        task = {**step.params, **_named_inputs(step)}
        return Command(
            # -P: no file in the attempt's directory can replace a module.
            argv=(context.installed.path, "-P", "-m", "qmrunner.chemistry", step.task, "task.json"),
            env=self.environment(context),
            files={"task.json": json.dumps(task, indent=1) + "\n"},
            copies=copies,
            reach=interpreter.reach(),
        )

    def findings(self, step: Step, files: Mapping[str, bytes], *, strict: bool) -> Sequence[input_check.Finding]:
        """No findings: the tasks only read structures."""
        return ()

    def environment(self, context: Context) -> dict[str, str]:
        """Only Python's own variables; the task has one thread anyway."""
        return {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}

    def reader(self, step: Step, directory: Path | None = None) -> ProgressReader:
        return _Reader(step.task)

    def checkpoint(self, directory: Path) -> tuple[str, ...]:
        """None: a task takes seconds and starts over."""
        return ()

    def interpret(self, step: Step, directory: Path, log: Path, exit: Exit) -> Outcome:
        """Success is exit 0, the end marker, and a finite `result.json` whose files all exist.

        A task that was complete before it was stopped counts as succeeded.
        """
        if not exit.ok or exit.disk_full:
            return _ended(log, exit)
        problem = _marker_missing(log)
        result, unusable = _read_result(directory / "result.json")
        files = tuple((result or {}).get("files") or ())
        problem = problem or unusable or _files_missing(directory, files)
        if problem is not None or result is None:
            return _ended(log, exit) if exit.stop_reason or problem is None else failures.failed(problem)
        promote = tuple(name for name in files if name in PROMOTED.get(step.task, ()))
        return Outcome("succeeded", "ok", result=result, publish=files, promote=promote)

    def remedies(self, task: str) -> Sequence[Remedy]:
        """None: deterministic code fails in the same way again."""
        return ()


class _Reader:
    def __init__(self, phase: str) -> None:
        self._phase = phase

    def feed(self, line: str) -> Progress | None:
        found = _PROGRESS.match(line.rstrip())
        if found is None:
            return None
        fraction = float(found["fraction"])
        return Progress(phase=self._phase, fraction=fraction, text=found["text"], done=fraction)


def _version(package: str) -> str | None:
    """Read without the parser of `importlib.metadata.version`: it took 8 ms for these packages, at every submission."""
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    head = (found.read_text("METADATA") or "").partition("\n\n")[0].splitlines()
    versions = (line.partition(":")[2].strip() for line in head if line.startswith("Version:"))
    return next(versions, None) or found.version


def _copy_name(name: str, path: str) -> str:
    """The name under which an input is copied: its name in the step, with the extension of the file."""
    return name + Path(path).suffix.lower()


def _input(context: Context, name: str) -> Path:
    path = context.inputs.get(name)
    if path is None or not path.is_file():
        raise QmrunnerError(
            "input_missing",
            f"the input {name} of this step is missing",
            evidence=str(path),
            remedy="check whether the job's folder was changed; `qmrunner retry` runs the job again",
        )
    return path


def _named_inputs(step: Step) -> dict[str, Any]:
    """The entries of the task file for inputs: `structure` for embed and search, `ensemble`, or each conformer's files.

    Each of params `conformers` is an id, or an object with `id` and further values for the task.
    """
    copied = {name: _copy_name(name, path) for name, path in step.inputs.items()}
    kinds = _PER_CONFORMER.get(step.task)
    if kinds is None:
        return copied
    found: dict[str, Any] = {"symbols": step.params["atoms"]}
    if "ensemble" in copied:
        return found | {"ensemble": copied["ensemble"]}
    entries = [entry if isinstance(entry, Mapping) else {"id": entry} for entry in step.params["conformers"]]
    found["conformers"] = [{**entry, **{kind: copied[f"{kind}-{entry['id']}"] for kind in kinds}} for entry in entries]
    if "structure" in copied:
        found["source"] = {"structure": copied["structure"]}
    return found


def _tail(log: Path) -> list[str]:
    """The last lines of the log."""
    try:
        with untrusted.open_file(log) as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL_BYTES))
            return stream.read(_TAIL_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _marker_missing(log: Path) -> Finding | None:
    # Warnings of a library at exit may follow the marker on stderr.
    lines = [line.strip() for line in _tail(log) if line.strip()]
    if END_MARKER in lines[-20:]:
        return None
    evidence = signatures.load().last_line(log) or Evidence("no output at all", log.name)
    return Finding(
        "truncated_output", "transient", evidence, "The output ends without its end marker: the step is retried."
    )


def _files_missing(directory: Path, files: Sequence[str]) -> Finding | None:
    lost = [name for name in files if not untrusted.is_file(directory / name)]
    return _bad_result(f"missing: {', '.join(lost)}", "result.json") if lost else None


def _bad_result(text: str, file: str) -> Finding:
    remedy = "The result is not usable: the step is retried; if it fails again, report it with the log."
    return Finding("bad_result", "transient", Evidence(text, file), remedy)


def _ended(log: Path, exit: Exit) -> Outcome:
    """The outcome of a stop or of the task's own error line, else by the signatures."""
    if exit.stop_reason is None:
        error = _own_error(log)
        if error is not None:
            return error
    return failures.ended(signatures.load(), log, exit)


def _own_error(log: Path) -> Outcome | None:
    """The outcome of the task's own ``error CODE: message`` line, with the evidence and remedy lines after it."""
    try:
        lines = list(deque(enumerate(untrusted.lines(log), 1), _OWN_LINES))
    except OSError:
        return None
    for index in range(len(lines) - 1, -1, -1):
        number, line = lines[index]
        found = _ERROR.match(line)
        if found is None:
            continue
        after = [other for _, other in lines[index + 1 : index + 3]]
        seen, fix = (_follower(after, word) for word in ("seen:", "fix:"))
        code = found["code"]
        text = f"{found['message']} ({seen})" if seen else found["message"]
        return Outcome(
            "failed",
            code,
            failure_class=_CLASSES.get(code, "permanent"),
            evidence=Evidence(text, log.name, number),
            remedy=fix,
            summary=found["message"],
        )
    return None


def _follower(lines: Sequence[str], word: str) -> str | None:
    return next((line.strip()[len(word) :].strip() for line in lines if line.strip().startswith(word)), None)


def _read_result(path: Path) -> tuple[dict[str, Any] | None, Finding | None]:
    try:
        data = untrusted.read_json(path, untrusted.TEXT_BYTES)
    except (OSError, ValueError) as error:
        return None, _bad_result(str(error), path.name)
    if not isinstance(data, dict):
        return None, _bad_result("no JSON object", path.name)
    return (data, None) if _finite(data) else (None, _bad_result("a number is not finite", path.name))


def _finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    return all(map(_finite, value)) if isinstance(value, list) else True
