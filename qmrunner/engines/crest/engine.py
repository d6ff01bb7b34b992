"""CREST as an engine: one structure in, an ensemble of conformers out.

Tasks:

- `conformers`: params `charge`, `multiplicity`, `alpb` (solvent or None), `quick` (``quick``, ``squick``, ``mquick``
  or None), `energy_window_kcal` (or None), `atoms` (symbols in order); input `geometry` (XYZ).
- `user`: params `structure` (file name), `args` (list of words); inputs by file name.

Both publish `crest_conformers.xyz`, `crest_best.xyz` and, where there is more than one atom pair, `crest.energies`.
CREST 3 computes on its own; 2.12, and 3 with `--legacy` or `--qcg`, call the `xtb` program.

An interrupted search is not repeated if some of its iterations were complete: the next attempt sorts those (`salvage`),
and its result is marked as partial.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qmrunner.engines import openmp, structure_checks
from qmrunner.engines.base import Context, Installed, ProgressReader, Which
from qmrunner.engines.crest import input_check, remedies, salvage
from qmrunner.engines.crest import interpret as crest_interpret
from qmrunner.engines.crest.progress import CrestReader
from qmrunner.engines.crest.salvage import Salvage
from qmrunner.engines.input_check import Finding
from qmrunner.engines.xtb.engine import checked_args, plain_name
from qmrunner.errors import NotReadyError, UsageError
from qmrunner.model.jobs import Command, Demand, Exit, Outcome, Reach, Step
from qmrunner.model.remedies import Remedy

_VERSION = re.compile(r"\bVersion +(\d+(?:\.\d+)+)")
_THREADS = ("-T", "--T", "-P", "--threads")
_XTB_NAME = ("-xnam", "--xnam")
_NEEDS_XTB = ("--legacy", "-legacy", "--qcg", "-qcg")
_NO_CALCULATION = ("--help", "-h", "--version", "--cite", "--citation")
_QUICK = ("quick", "squick", "mquick")
_START = "start.xyz"
_SHELL_COMMANDS = ("sh", "cat", "cp", "ln", "ls", "mkdir", "mv", "rm", "rmdir", "touch")


class Crest:
    """See the module."""

    name = "crest"

    def locate(self, configured: Mapping[str, str | None], which: Which) -> Installed:
        """Finds `crest` by its setting, else on PATH, and the `xtb` that some runs call."""
        path = which(configured.get("crest") or "crest")
        facts = {"xtb": which(configured.get("xtb") or "xtb")}
        if path is None:
            facts["configured"] = configured.get("crest")
        return Installed(self.name, path, facts=facts)

    def probe_argv(self, found: Installed) -> Sequence[tuple[str, ...]]:
        return ((found.path, "--version"),) if found.path else ()

    def read_probe(self, found: Installed, outputs: Sequence[str]) -> Installed:
        """Version from the banner; the fact `native`: whether it computes without `xtb`."""
        hit = _VERSION.search("".join(outputs))
        version = hit[1] if hit else None
        native = None if version is None else int(version.split(".")[0]) >= 3
        return Installed(found.name, found.path, version, {**found.facts, "native": native})

    def demand(self, task: str, params: Mapping[str, Any]) -> Demand:
        """Metadynamics runs of a search are independent, so cores are used well up to their number (6 to 14).

        Measured at 9 to 15 atoms: 20-45 MiB, under 2 MiB of scratch.
        """
        atoms = openmp.atom_count(params) or 100
        wanted = openmp.integer(openmp.value_of(params.get("args", ()), _THREADS))
        return Demand(
            cores_max=max(1, wanted or 14),
            memory_mib_per_core=96 + atoms * atoms * 3 // 1000,
            memory_mib_base=128,
            scratch_mib=128 + 8 * atoms,
        )

    def prepare(self, step: Step, context: Context) -> Command:
        """See Engine: a search, or the sorting of the iterations that `context.previous` completed.

        Raises NotReadyError `engine_missing`; UsageError for a structure or option that cannot work.
        """
        installed = context.installed
        if installed.path is None:
            raise missing()
        args = self._arguments(step)
        name = _START if step.task == "conformers" else plain_name(step.params["structure"])
        source = context.inputs.get("geometry" if step.task == "conformers" else name)
        if source is None:
            raise UsageError(
                "input_missing", f"{name} is not among the files of this job", remedy="submit it with the job"
            )
        charge = openmp.value_of(args, ("--chrg", "-chrg"))
        symbols = structure_checks.check(
            source,
            name,
            charge=0 if charge is None else openmp.integer(charge),
            unpaired=openmp.integer(openmp.value_of(args, ("--uhf", "-uhf"))),
        )
        inputs = {name: source} if step.task == "conformers" else dict(context.inputs)
        point, resume_notes = _resume(step, args, context.previous, symbols)
        args, notes = _own_options(args, installed, context.grant.cores)
        return Command(
            argv=(installed.path, name, *(("--cregen", salvage.INPUT) if point else ()), *args),
            env=self.environment(context, step),
            files={salvage.INPUT: point.text, salvage.MARKER: point.marker.text()} if point else {},
            copies={plain_name(target): path for target, path in inputs.items()},
            notes=(f"crest {installed.version or 'of unknown version'}", *resume_notes, *notes),
            reach=_reach(installed),
        )

    def environment(self, context: Context, step: Step | None = None) -> dict[str, str]:
        """Threads as granted."""
        stack = step.params.get("stack_mib") if step is not None else None
        return openmp.environment(context.grant, context.directory, stack)

    def findings(self, step: Step, files: Mapping[str, bytes], *, strict: bool) -> Sequence[Finding]:
        """Parts of a user's arguments and files that would leave the folder or start another program."""
        if step.task != "user":
            return ()
        return input_check.findings(step.params.get("args", ()), files, strict=strict)

    def reader(self, step: Step, directory: Path | None = None) -> ProgressReader:
        return CrestReader()

    def checkpoint(self, directory: Path) -> tuple[str, ...]:
        """The ensembles of completed iterations; CREST's own restart files "break more often than they do work" (its
        maintainer, crest#440)."""
        return salvage.checkpoint_files(directory)

    def interpret(self, step: Step, directory: Path, log: Path, exit: Exit) -> Outcome:
        """See Engine. Conformers come in the order of `crest_conformers.xyz`, lowest energy first."""
        return crest_interpret.interpret(step, self._arguments(step), directory, log, exit)

    def remedies(self, task: str) -> Sequence[Remedy]:
        """The remedies, best first."""
        return remedies.of_task(task)

    def _arguments(self, step: Step) -> list[str]:
        """The options of remedies and of the requested run, before qmrunner adds its own."""
        return [*(step.params.get("options") or ()), *self._asked(step)]

    def _asked(self, step: Step) -> list[str]:
        params = step.params
        if step.task == "user":
            return checked_args(params.get("args", ()), _NO_CALCULATION)
        args = ["--gfn2", *(["--alpb", str(params["alpb"])] if params.get("alpb") else [])]
        if charge := params.get("charge", 0):
            args += ["--chrg", str(charge)]
        if unpaired := params.get("multiplicity", 1) - 1:
            args += ["--uhf", str(unpaired)]
        if params.get("energy_window_kcal") is not None:
            args += ["--ewin", str(params["energy_window_kcal"])]
        return args + _quick(params.get("quick"))


def _reach(installed: Installed) -> Reach:
    """CREST, the xTB it may call, and the shell commands with which it does so and moves its files."""
    programs = (str(installed.path), *([str(installed.facts["xtb"])] if installed.facts.get("xtb") else []))
    return Reach((*programs, *_SHELL_COMMANDS), (str(Path("~/.xtbrc").expanduser()),))


def missing() -> NotReadyError:
    """The error for a machine without CREST."""
    return NotReadyError(
        "engine_missing",
        "CREST is not installed on this machine",
        remedy="install it and set QMRUNNER_CREST to its path, or search conformers with RDKit (--conformers rdkit)",
    )


def _quick(word: str | None) -> list[str]:
    if not word:
        return []
    plain = word.lstrip("-")
    if plain not in _QUICK:
        raise UsageError(
            "input_error", "unknown quick mode of CREST", evidence=word, remedy=f"one of {', '.join(_QUICK)}"
        )
    return [f"--{plain}"]


def _resume(
    step: Step, args: Sequence[str], previous: Path | None, symbols: Sequence[str]
) -> tuple[Salvage | None, tuple[str, ...]]:
    """The ensemble to sort instead of searching, if any, and the note about it."""
    if not crest_interpret.searches(args):
        return None, ()
    if previous is None:
        # A claimed step still has the number of the attempt before this one.
        again = "resume: no earlier attempt left a completed iteration, searched from the beginning"
        return None, (again,) if step.attempt else ()
    found = salvage.find(previous)
    if found is None and salvage.read_marker(previous) is not None:
        return None, (
            "resume: completed iterations of an earlier attempt could not be sorted, searched from the beginning",
        )
    if found is None or (symbols and [s.lower() for s in found.symbols] != [s.lower() for s in symbols]):
        return None, (
            "resume: files of an earlier attempt are incomplete or have other atoms, searched from the beginning",
        )
    return found, (f"resume: {found.source} of the previous attempt; {found.marker.sentence}",)


def _own_options(args: Sequence[str], installed: Installed, cores: int) -> tuple[list[str], list[str]]:
    """`args` with qmrunner's own options, and a note for each choice.

    Raises NotReadyError `engine_missing` when the run will call `xtb` and there is none.
    """
    kept, threads = openmp.without(args, _THREADS)
    notes = [f"-T {value} replaced by the {cores} cores granted" for value in threads if value != str(cores)]
    kept += ["-T", str(cores)]
    external = installed.facts.get("native") is False or any(word in _NEEDS_XTB for word in kept)
    if external and not any(word in _XTB_NAME for word in kept):
        xtb = installed.facts.get("xtb")
        if not xtb:
            raise NotReadyError(
                "engine_missing",
                "this CREST run calls the xtb program, which is not installed",
                evidence=f"crest {installed.version}, options {' '.join(args)}",
                remedy="install xtb (Debian: apt-get install xtb) or set QMRUNNER_XTB to its path",
            )
        kept += ["--xnam", str(xtb)]
        notes.append(f"calls {xtb}")
    return kept, notes
