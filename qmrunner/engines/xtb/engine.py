"""xTB as an engine: one structure in, an energy and often a better structure out, mostly within a second.

Tasks:

- `optimise`: params `charge`, `multiplicity`, `alpb` (solvent or None), `level` (default ``tight``), `atoms` (symbols
  in order), `hessian` (False: also compute it); input `geometry` (XYZ). Publishes `geometry.xyz`, and `hessian`
  (Cartesian, hartree/bohr², Turbomole format) if it belongs to a minimum.
- `user`: params `structure` (file name), `args` (list of words); inputs by file name. Publishes what xTB wrote.

Both run in an empty directory with `--norestart`: xTB uses any restart file that it finds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from qmrunner.engines import openmp, structure_checks
from qmrunner.engines.base import Context, Installed, ProgressReader, Which
from qmrunner.engines.input_check import Finding
from qmrunner.engines.xtb import input_check, remedies
from qmrunner.errors import NotReadyError, UsageError
from qmrunner.model.jobs import Command, Demand, Exit, Grant, Outcome, Reach, Step
from qmrunner.model.remedies import Remedy

_VERSION = re.compile(r"xtb version +(\d[\w.-]*)")
_THREADS = ("-P", "--parallel")
_NO_CALCULATION = ("--help", "-h", "--version", "--license", "--citation", "--define")
_START = "start.xyz"


class Xtb:
    """See the module."""

    name = "xtb"

    def locate(self, configured: Mapping[str, str | None], which: Which) -> Installed:
        """Finds `xtb` by its setting, else on PATH, with the parameter files next to it."""
        path = which(configured.get("xtb") or "xtb")
        if path is None:
            return Installed(self.name, None, facts={"configured": configured.get("xtb")})
        share = Path(path).resolve().parent.parent / "share" / "xtb"
        return Installed(self.name, path, facts={"parameters": str(share)} if share.is_dir() else {})

    def probe_argv(self, found: Installed) -> Sequence[tuple[str, ...]]:
        return ((found.path, "--version"),) if found.path else ()

    def read_probe(self, found: Installed, outputs: Sequence[str]) -> Installed:
        hit = _VERSION.search("".join(outputs))
        return Installed(found.name, found.path, hit[1] if hit else None, found.facts)

    def demand(self, task: str, params: Mapping[str, Any]) -> Demand:
        """Small molecules do not get faster with threads; memory grows with the square of the atoms.

        Measured: 20-45 MiB at 15 atoms. Matrices: some 20 of (4 N)² doubles for N atoms.
        """
        atoms = openmp.atom_count(params)
        wanted = openmp.integer(openmp.value_of(params.get("args", ()), _THREADS))
        size = atoms or 100
        useful = 1 if size <= 30 else 2 if size <= 100 else 4 if size <= 300 else 8
        return Demand(
            cores_max=max(1, wanted or useful),
            memory_mib_per_core=64,
            memory_mib_base=128 + size * size * 3 // 1000,
            scratch_mib=32 if task == "optimise" else 256,
        )

    def prepare(self, step: Step, context: Context) -> Command:
        """See Engine. Raises NotReadyError `engine_missing`; UsageError for a structure or option that cannot work."""
        # Loaded before the run, not by a submission, and not after an upgrade of the package during the run.
        import qmrunner.engines.xtb.interpret  # noqa: F401

        if context.installed.path is None:
            raise missing()
        args = self._arguments(step)
        name = _START if step.task == "optimise" else plain_name(step.params["structure"])
        source = context.inputs.get("geometry" if step.task == "optimise" else name)
        if source is None:
            raise UsageError(
                "input_missing", f"{name} is not among the files of this job", remedy="submit it with the job"
            )
        structure_checks.check(source, name, **_electrons(args, context.inputs))
        inputs = {name: source} if step.task == "optimise" else dict(context.inputs)
        args, notes = _own_options(args, inputs, context.grant)
        return Command(
            argv=(context.installed.path, name, *args),
            env=self.environment(context, step),
            copies={plain_name(target): path for target, path in inputs.items()},
            notes=(f"xtb {context.installed.version or 'of unknown version'}", *notes),
            reach=reach(context.installed),
        )

    def findings(self, step: Step, files: Mapping[str, bytes], *, strict: bool) -> Sequence[Finding]:
        """Parts of a user's arguments and files that would leave the folder or start another program."""
        if step.task != "user":
            return ()
        return input_check.findings(step.params.get("args", ()), files, strict=strict)

    def reader(self, step: Step, directory: Path | None = None) -> ProgressReader:
        from qmrunner.engines.xtb.progress import XtbReader

        return XtbReader()

    def checkpoint(self, directory: Path) -> tuple[str, ...]:
        """No files: a run is too short to be worth a restart, and xTB's own restart file spoils convergence
        (xtb#1146)."""
        return ()

    def interpret(self, step: Step, directory: Path, log: Path, exit: Exit) -> Outcome:
        """See Engine. If `optimise` succeeded, `geometry.xyz` is in `directory` afterwards."""
        from qmrunner.engines.xtb import interpret

        return interpret.interpret(step, self._arguments(step), directory, log, exit)

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
        kind = "--ohess" if params.get("hessian") else "--opt"
        args = [kind, str(params.get("level") or "tight"), "--gfn", "2", "--chrg", str(params.get("charge", 0))]
        args += ["--uhf", str(params.get("multiplicity", 1) - 1)]
        return args + (["--alpb", str(params["alpb"])] if params.get("alpb") else [])

    def environment(self, context: Context, step: Step | None = None) -> dict[str, str]:
        """Threads as granted, and the parameters that belong to this xTB: XTBPATH is also the folder of `.xtbrc`."""
        stack = step.params.get("stack_mib") if step is not None else None
        parameters = context.installed.facts.get("parameters")
        env = openmp.environment(context.grant, context.directory, stack)
        return env | ({"XTBPATH": str(parameters)} if parameters else {})


def reach(installed: Installed) -> Reach:
    """xTB needs only its program and its parameters."""
    data = (installed.facts.get("parameters"), str(Path("~/.xtbrc").expanduser()))
    return Reach((str(installed.path),), tuple(str(path) for path in data if path))


def missing() -> NotReadyError:
    """The error for a machine without xTB."""
    return NotReadyError(
        "engine_missing",
        "xTB is not installed on this machine",
        remedy="install it (Debian: apt-get install xtb) or set QMRUNNER_XTB to its path",
    )


def plain_name(name: str) -> str:
    """`name` if it names a file in the work directory and cannot be taken for an option.

    Raises UsageError `input_error` otherwise.
    """
    if name and PurePath(name).name == name and not name.startswith("-") and name not in (".", ".."):
        return name
    raise UsageError(
        "input_error",
        "an input file needs a plain name",
        evidence=name,
        remedy="rename it: no slash, no leading '-'",
    )


def checked_args(args: Sequence[str], refused: Sequence[str]) -> list[str]:
    """`args` as a list. Raises UsageError `no_task` for options that print something and compute nothing."""
    idle = [word for word in args if word in refused]
    if idle:
        raise UsageError(
            "no_task",
            f"{idle[0]} computes nothing",
            evidence=" ".join(args),
            remedy="leave it out, or run it in a shell",
        )
    return [str(word) for word in args]


def _electrons(args: Sequence[str], inputs: Mapping[str, Path]) -> dict[str, int | None]:
    """Charge and unpaired electrons for the check of the structure; none if a file may override them."""
    from qmrunner.engines.xtb.interpret import CHARGE, CONTROL_FILES
    from qmrunner.engines.xtb.remarks import UHF

    if any(name in inputs or name in args for name in CONTROL_FILES):
        return {}
    charge = openmp.value_of(args, CHARGE)
    return {
        "charge": 0 if charge is None else openmp.integer(charge),
        "unpaired": openmp.integer(openmp.value_of(args, UHF)),
    }


def _own_options(args: Sequence[str], inputs: Mapping[str, Path], grant: Grant) -> tuple[list[str], list[str]]:
    """`args` with qmrunner's own options, and a note for each choice."""
    kept, threads = openmp.without(args, _THREADS)
    notes = [
        f"-P {value} replaced by the {grant.cores} cores granted" for value in threads if value != str(grant.cores)
    ]
    if "xtbrestart" in inputs or "--restart" in kept:
        notes.append("--norestart left out: the job has its own restart file")
    elif "--norestart" not in kept:
        kept.append("--norestart")
    return [*kept, "-P", str(grant.cores)], notes
