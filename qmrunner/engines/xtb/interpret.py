"""The outcome of an xTB attempt. The exit status is unreliable: most incomplete runs end with 0
(tests/fixtures/xtb)."""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from qmrunner import untrusted
from qmrunner.engines import failures, qcschema, qcschema_result, result_files, same_molecule
from qmrunner.engines.openmp import integer, stack_limited, value_of
from qmrunner.engines.signatures import Catalogue, Finding, load
from qmrunner.engines.xtb import quantities, remarks, schema, trace
from qmrunner.engines.xtb.read import Summary, incomplete, last_frame, lowest_wavenumber, read_log
from qmrunner.engines.xtb.remarks import DYNAMICS, UHF
from qmrunner.model.jobs import Evidence, Exit, Outcome, Step

CHARGE = ("--chrg", "-c", "--charge")
_OPTIMISING = frozenset({"--opt", "-o", "--ohess", "--omd"})
_FREQUENCIES = frozenset({"--hess", "--ohess", "--bhess"})
# Options of runs with several structures, or with another Hamiltonian than the energy's.
_OTHERWISE = DYNAMICS | {
    "--bhess",
    "--oniom",
    "--path",
    "--siman",
    "--modef",
    "--screen",
    "--reactor",
    "--scan",
    "--onlyhess",
}
# Files that may set charge and spin.
CONTROL_FILES = (".CHRG", ".UHF", "--input", "-I")
_WITHOUT_ENERGY = frozenset({"--topo", "--wrtopo"})
# Files that are not published. A restart file is of no use, because no xTB run is resumed.
_SCRATCH = ("xtbrestart", "*.xtbrestart", "xtbhess.coord", "gfnff_topo", "*.gfnff_topo", "gfnff_adjacency")
# A wavenumber (cm⁻¹) below this is a downhill direction, not the noise of a soft mode: no minimum.
# Messages of xTB about flags and files that it ignores.
_UNREAD = re.compile(r"prog_main_parseArguments: Unknown|readin_|userdata_read|set_(?!.*discouraged)")
_IMAGINARY_BELOW = -20.0
_FULL = (
    "The scratch volume filled up and cut result files, although xTB reports success: free or enlarge it, then retry."
)
_STOP = re.compile(r"STOP\b(?! 0\b)")
_STOPPED = "xTB stopped with this message, although it exits 0: correct the file or option that it names."
_CUT = "The log ends early although xTB exits 0: the volume of the logs is probably full; free it, then retry."


@cache
def catalogue() -> Catalogue:
    """The signatures of this engine. Read on first use: a submission needs none, and they take 20 ms."""
    return load(Path(__file__).with_name("signatures.toml"))


@cache
def _hidden() -> Catalogue:
    return failures.hidden(catalogue())


@dataclass(frozen=True, slots=True)
class _Run:
    """The request, and the files of the run."""

    args: tuple[str, ...]
    directory: Path
    log: Path
    exit: Exit
    summary: Summary

    def asked(self, flags: frozenset[str]) -> bool:
        return not flags.isdisjoint(self.args)

    @property
    def prefix(self) -> str:
        namespace = value_of(self.args, ("--namespace",))
        return f"{namespace}." if namespace else ""

    def file(self, name: str) -> Path:
        return self.directory / f"{self.prefix}{name}"


def interpret(step: Step, args: Sequence[str], directory: Path, log: Path, exit: Exit) -> Outcome:
    """The outcome of an attempt that ran xTB with `args` in `directory`."""
    run = _Run(tuple(args), directory, log, exit, read_log(log))
    if not exit.ok:
        whole = _complete(run, step) or _before_the_end(run, step)
        return whole or failures.ended(
            catalogue(), log, exit, lambda found, log: stack_limited(trace.refine(found, log), exit)
        )
    finding = _hidden_failure(run) or _wrong_atoms(run, step)
    if finding is None:
        return _optimised(run, step) if step.task == "optimise" else _computed(run, step)
    if exit.stop_reason is not None:
        return failures.stopped(exit.stop_reason, catalogue(), log)
    return failures.failed(finding)


def _complete(run: _Run, step: Step) -> Outcome | None:
    """The success of a run that ended badly only after `normal termination` and with complete files."""
    calm = replace(run, exit=replace(run.exit, returncode=0, signal=None))
    if not run.summary.terminated_normally or run.summary.energy_hartree is None:
        return None
    if _hidden_failure(calm) or _wrong_atoms(calm, step):
        return None
    return failures.crashed_behind(
        _optimised(calm, step) if step.task == "optimise" else _computed(calm, step), run.exit
    )


def _before_the_end(run: _Run, step: Step) -> Outcome | None:
    """The success of an `optimise` that crashed after its results; None for any other end.

    xTB 6.5.1 dies of `*** stack smashing detected ***` in the thermochemistry of every linear molecule (xtb#593), when
    the optimisation has converged and the Hessian is written, but before the structure is.
    """
    if step.task != "optimise" or run.exit.stop_reason is not None or not run.summary.converged:
        return None
    if not (run.asked(_FREQUENCIES) and _crashed(run.exit)):
        return None
    atoms, cycles = step.params.get("atoms"), run.summary.cycles or 0
    energy = last_frame(run.file("xtbopt.log"), run.file("xtbopt.xyz"), cycles)
    if energy is None or not isinstance(atoms, Sequence) or _damaged_file(run) or _wrong_atoms(run, step):
        return None
    run.summary.energy_hartree = run.summary.energy_hartree or energy
    return failures.crashed_behind(_optimised(run, step), run.exit)


def _crashed(exit: Exit) -> bool:
    """Whether the program ended by its own signal, which a shell or launcher reports as 128 or more."""
    number = exit.signal or max(0, (exit.returncode or 0) - 128)
    return number in (signal.SIGABRT, signal.SIGSEGV, signal.SIGFPE, signal.SIGBUS)


def _hidden_failure(run: _Run) -> Finding | None:
    """Why a run that ended with exit status 0 is not a success; None when it is one."""
    return (
        _hidden().classify(run.log, run.exit)
        or _cut_log(run)
        or _impossible_spin(run)
        or _missing_optimisation(run)
        or _damaged_file(run)
    )


def _cut_log(run: _Run) -> Finding | None:
    summary = run.summary
    energy = summary.energy_hartree
    missing = [
        what
        for what, there in (
            ("`normal termination of xtb`", summary.terminated_normally),
            ("`finished run on`", summary.finished),
            ("a total energy", energy is not None or run.asked(_WITHOUT_ENERGY)),
        )
        if not there
    ]
    if missing:
        last = catalogue().last_line(run.log)
        if last is not None and _STOP.match(last.text):
            return Finding("input_error", "permanent", last, _STOPPED)
        text = f"the log lacks {', '.join(missing)}; last line: {last.text.strip() if last else 'none'}"
        return Finding("truncated_output", "resource", Evidence(text, run.log.name, last.line if last else None), _CUT)
    if energy is not None and not math.isfinite(energy):
        text = "the total energy is not a finite number"
        remedy = "The calculation broke down numerically: check structure, charge and spin."
        return Finding("not_finite", "method", Evidence(text, run.log.name), remedy)
    return None


def _impossible_spin(run: _Run) -> Finding | None:
    """xTB accepts an even number of unpaired electrons with an odd number of electrons, and the reverse."""
    unpaired, electrons = integer(value_of(run.args, UHF)), run.summary.electrons
    if unpaired is None or electrons is None or (unpaired <= electrons and (electrons - unpaired) % 2 == 0):
        return None
    text = f"{electrons} valence electrons cannot leave {unpaired} of them unpaired"
    remedy = "Give a charge and multiplicity (unpaired electrons + 1) that fit the number of electrons."
    return Finding("charge_multiplicity", "permanent", Evidence(text, run.log.name), remedy)


def _missing_optimisation(run: _Run) -> Finding | None:
    if not run.asked(_OPTIMISING) or run.summary.converged:
        return None
    if len(_symbols(_geometry(run))) == 1:
        return None
    text = "an optimisation was requested, but none converged according to the log"
    remedy = "Another option has overridden it: ask for one kind of run at a time."
    return Finding("input_error", "permanent", Evidence(text, run.log.name), remedy)


def _damaged_file(run: _Run) -> Finding | None:
    for path in _expected(run):
        problem = incomplete(path)
        if problem is not None:
            return failures.file_finding("scratch_full", path, problem, _FULL)
    if run.exit.disk_full:
        return failures.file_finding("scratch_full", run.directory, "the scratch volume was full during the run", _FULL)
    return None


def _expected(run: _Run) -> list[Path]:
    paths: list[Path] = []
    if run.asked(_OPTIMISING):
        paths.append(_geometry(run))
    if run.asked(_FREQUENCIES):
        paths += [run.file("hessian"), run.file("vibspectrum")]
    if run.asked(DYNAMICS):
        paths.append(run.file("xtb.trj"))
    if "--json" in run.args:
        # Its name has no namespace (xTB 6.5.1).
        paths.append(next((p for p in (run.file("xtbout.json"),) if p.exists()), run.directory / "xtbout.json"))
    if "--grad" in run.args:
        paths.append(run.file("gradient"))
    # The GFN-xTB methods always write it, never empty; the force field writes none.
    return paths + [path for path in (run.file("charges"),) if path.exists()]


def _wrong_atoms(run: _Run, step: Step) -> Finding | None:
    """Whether the optimised geometry has other atoms than the input (parameter `atoms`: their symbols in order)."""
    wanted = step.params.get("atoms")
    if step.task != "optimise" or not isinstance(wanted, Sequence):
        return None
    path = run.directory / "xtbopt.xyz"
    found = _symbols(path)
    if [symbol.lower() for symbol in found] == [str(symbol).lower() for symbol in wanted]:
        return None
    return failures.file_finding(
        "truncated_output", path, f"{len(found)} atoms of {len(wanted)}, or in another order", _FULL
    )


def _optimised(run: _Run, step: Step) -> Outcome:
    """Success of `optimise`, if the structure is still the molecule. The geometry gets its plain name here, by an
    atomic rename."""
    problem, notes = same_molecule.changed(step.params, run.directory / "xtbopt.xyz")
    if problem is not None:
        return failures.failed(problem)
    partial = run.directory / "geometry.xyz.part"
    untrusted.copy(run.directory / "xtbopt.xyz", partial)
    partial.replace(run.directory / "geometry.xyz")
    result = _result(run.summary) | ({"notes": list(notes)} if notes else {})
    if not run.asked(_FREQUENCIES):
        return Outcome("succeeded", "ok", result=result, publish=("geometry.xyz",))
    result["lowest_wavenumber_cm1"] = lowest = lowest_wavenumber(run.file("vibspectrum"))
    usable = lowest is not None and lowest >= _IMAGINARY_BELOW
    return Outcome("succeeded", "ok", result=result, publish=("geometry.xyz", *(("hessian",) if usable else ())))


def _computed(run: _Run, step: Step) -> Outcome:
    found = quantities.read(run.log, run.directory, run.prefix)
    result = _result(run.summary) | {
        "free_energy_hartree": run.summary.free_energy_hartree,
        "gap_ev": run.summary.gap_ev,
        "warnings": list(run.summary.warnings),
    }
    if methods := value_of(run.args, ("--oniom",)):
        found["energy_of"] = remarks.of_layers(methods)
    assumed = remarks.unasked(run.args, step, run.directory, run.summary.electrons)
    found["notes"] = [*found.get("notes", ()), *assumed]
    unread = filter(_UNREAD.match, run.summary.warnings)
    ignored = [f"xtb ignored something that it could not read: {warning}" for warning in unread]
    ignored += found.pop("notes", ())
    result |= found
    text = _schema(run, step, result)
    if text is not None:
        untrusted.write_text(run.directory / qcschema.FILE, text)
    files, notes = result_files.results(run.directory, frozenset(step.inputs), _SCRATCH)
    return Outcome("succeeded", "ok", result=result | {"notes": ignored + notes}, publish=files, promote=files)


def _schema(run: _Run, step: Step, result: Mapping[str, Any]) -> str | None:
    """The text of `qcschema.json`; None if the run has no single structure, or if files may set its electrons."""
    if run.asked(_OTHERWISE) or any(name in step.inputs or name in run.args for name in CONTROL_FILES):
        return None
    structure = _geometry(run) if run.asked(_OPTIMISING) else run.directory / str(step.params.get("structure"))
    request = qcschema_result.request_of(run.directory, step.params)
    if request is not None:
        return schema.answer(structure, request, result, run.log, run.directory)
    charge, unpaired = integer(value_of(run.args, CHARGE) or "0"), integer(value_of(run.args, UHF) or "0")
    electrons = run.summary.electrons
    if charge is None or unpaired is None or electrons is None or not structure.name.endswith(".xyz"):
        return None
    driver, file = "energy", None
    if run.asked(_FREQUENCIES):
        driver, file = "hessian", run.file("hessian")
    elif "--grad" in run.args:
        driver, file = "gradient", run.file("gradient")
    multiplicity = 1 + max(unpaired, electrons % 2)
    return schema.document(structure, driver, charge, multiplicity, result, run.log, file)


def _result(summary: Summary) -> dict[str, Any]:
    return {
        "energy_hartree": summary.energy_hartree,
        "gradient_norm": summary.gradient_norm,
        "cycles": summary.cycles,
        "converged": summary.converged,
    }


def _symbols(path: Path) -> tuple[str, ...]:
    """Atom symbols of an XYZ file that `incomplete` found whole; empty when there is none."""
    try:
        lines = untrusted.read_text(path).splitlines()
        return tuple(line.split()[0] for line in lines[2 : 2 + int(lines[0])])
    except (OSError, ValueError, IndexError):
        return ()


def _geometry(run: _Run) -> Path:
    """The file of the optimised structure: the log names it by the input's format, without the namespace."""
    return run.file(run.summary.geometry or "xtbopt.xyz")
