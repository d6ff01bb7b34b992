"""What an attempt came to: success only with exit 0, the end marks and the complete, finite result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from qmrunner import untrusted
from qmrunner.engines import endings
from qmrunner.engines.nwchem import deck, errquit, molecule, reader, restart
from qmrunner.engines.nwchem.read import Report
from qmrunner.engines.signatures import Finding, load
from qmrunner.model.jobs import Evidence, Exit, Outcome, Step

CATALOGUE = load(Path(__file__).with_name("signatures.toml"))
# Ended from outside or by plan: no fault of the calculation, which goes on from its checkpoint.
_STOPPED = frozenset({"time_limit_reached", "terminated", "interrupted", "timed_out", "hung"})
# What NWChem itself says before it aborts, and may well not say again.
_OWN_WAY = frozenset({"time_limit_reached", "memory_corrupt"})
_GEOMETRY = "geometry.xyz"
_SCRATCH_ENDINGS = (".db", ".zmat", ".p", ".c", ".b", ".b^-1", ".cfock", ".cphf_rhs", ".cphf_sol", ".shieldcphf")
_SCRATCH_PARTS = (".gridpts.", ".aoints.", ".keep", "lkain", restart.MARKER)


def interpret(step: Step, directory: Path, log: Path, exit: Exit) -> Outcome:
    """The outcome of an attempt whose process tree is gone. A run that was complete before a stop reached it counts."""
    report = Report(log)
    provenance = {"nwchem": report.header.provenance()}
    if exit.ok and not exit.disk_full:
        problem = _problem(step, directory, log, exit, report)
        if problem is None:
            return _success(step, directory, log, report, provenance)
    else:
        if _complete(step, directory, log, exit, report):
            outcome = _success(step, directory, log, report, provenance)
            return endings.crashed_behind(outcome, exit)
        problem = _told(step, log, exit, report) or CATALOGUE.unknown(log, exit)
    if exit.stop_reason is not None:
        return _stopped(exit, problem, log, provenance)
    state: Literal["stopped", "failed"] = "stopped" if problem.code in _STOPPED else "failed"
    return Outcome(
        state=state,
        code=problem.code,
        result=_partial(report, provenance),
        failure_class=problem.failure_class,
        evidence=problem.evidence,
        remedy=problem.remedy,
        summary=f"NWChem {state}: {problem.evidence.text.strip()}",
    )


def _complete(step: Step, directory: Path, log: Path, exit: Exit, report: Report) -> bool:
    """Whether a run that ended badly had printed all it was asked for, its end marks included, before it did so."""
    if not report.marks.ended or report.abort.found is not None or exit.disk_full:
        return False
    return _problem(step, directory, log, replace(exit, returncode=0, signal=None), report) is None


def _told(step: Step, log: Path, exit: Exit, report: Report) -> Finding | None:
    """Why a run failed: what a signature knows, else the abort that NWChem itself decided on.

    Behind an abort, signals and words of the launcher tell only how the other ranks were ended; and the exit status is
    the abort's value: 911 looks like SIGTERM (143), 127 like a missing program.
    """
    abort = report.abort.found
    if abort is None:
        return CATALOGUE.classify(log, exit)
    found = CATALOGUE.classify(log, exit if exit.oom_kills else replace(exit, returncode=None, signal=None))
    if found is None or (found.failure_class == "transient" and found.code not in _OWN_WAY):
        found = errquit.finding(abort)
    if step.task != "deck" or abort.input_line is None:
        return found
    file = step.inputs.get(abort.included or str(step.params.get("deck")))
    at = replace(found.evidence, input_file=file, input_line=abort.input_line[0]) if file else found.evidence
    return replace(found, evidence=at)


def _problem(step: Step, directory: Path, log: Path, exit: Exit, report: Report) -> Finding | None:
    """Why an exit 0 is no success, or None."""
    text = _deck_text(step, directory)
    asked = len(deck.tasks(text)) if text else 1
    if text is not None and deck.includes_files(text):
        asked = 1
    marks = report.marks
    if marks.hidden_failure or not marks.ended or marks.tasks_done < max(1, asked):
        return _told(step, log, exit, report) or _incomplete(log, "The run did not come to its end.")
    if report.optimisation.started and not report.optimisation.converged:
        return _told(step, log, exit, report) or _incomplete(log, "The optimisation did not converge.")
    return _atoms_lost(text, report) or _result_missing(step, report, log)


def _atoms_lost(text: str | None, report: Report) -> Finding | None:
    expected = deck.atoms_in_deck(text) if text else None
    found, row = report.geometry.first_count, report.geometry.first_row
    if expected is None or found is None or row is None or found >= expected:
        return None
    remedy = f"The deck has {expected} atoms, NWChem kept {found}: two atoms coincide. Correct the coordinates."
    return Finding("geometry_bad", "permanent", row, remedy)


def _result_missing(step: Step, report: Report, log: Path) -> Finding | None:
    if step.task == "deck":
        return None
    if report.energy.hartree is None:
        return _incomplete(log, "There is no total energy.")
    if step.task == "optimise":
        found = report.geometry.last
        complete = found is not None and len(found.atoms) == len(step.params.get("atoms") or found.atoms)
        return None if complete and report.optimisation.converged else _incomplete(log, "There is no final geometry.")
    atoms = [str(atom).capitalize() for atom in step.params.get("atoms") or ()]
    values = report.shieldings.complete(every_task=True)
    wanted = _nuclei(step) or list(range(1, 1 + (len(atoms) or len(values))))
    elements = [atoms[number - 1] for number in wanted] if atoms else [value["element"] for value in values]
    if values and [value["element"] for value in values] == elements and len(values) == len(wanted):
        return None
    return _incomplete(log, f"{len(wanted)} shieldings were asked for, {len(values)} finite ones of them were printed.")


def _nuclei(step: Step) -> list[int]:
    return sorted({int(atom) for atom in step.params.get("nuclei") or ()})


def _shieldings(step: Step, report: Report) -> list[dict[str, Any]]:
    """The shieldings under the step's atom numbers: for chosen nuclei, so for each batch, NWChem counts from 1."""
    values = report.shieldings.complete(every_task=True)
    nuclei = _nuclei(step) or range(1, len(values) + 1)
    return [{**value, "atom": atom} for value, atom in zip(values, nuclei, strict=True)]


def _incomplete(log: Path, what: str) -> Finding:
    evidence = CATALOGUE.last_line(log) or Evidence("the log is empty", log.name)
    return Finding("truncated_output", "transient", evidence, f"{what} Retry; if it happens again, read the log.")


def _success(step: Step, directory: Path, log: Path, report: Report, provenance: dict[str, Any]) -> Outcome:
    result = _partial(report, provenance)
    if report.shieldings.values:
        result["shieldings"] = _shieldings(step, report) if step.task == "shielding" else report.shieldings.complete()
    geometry = step.task != "shielding" and _write_geometry(step, directory, report)
    if step.task == "deck":
        names = sorted(path.name for path in directory.iterdir() if path != log and _kept(path))
    else:
        orbitals = (f"{molecule.PREFIX}.movecs",) if step.task == "optimise" else ()
        names = [name for name in (molecule.DECK, *orbitals) if untrusted.is_file(directory / name)]
    publish = tuple(dict.fromkeys([*([_GEOMETRY] if geometry else []), *names]))
    result["files"] = list(publish)
    energy = report.energy.hartree
    return Outcome(
        "succeeded",
        "ok",
        result,
        summary=None if energy is None else f"{energy:.6f} hartree",
        publish=publish,
        promote=(_GEOMETRY,) if geometry and step.task == "deck" else (),
    )


def _partial(report: Report, provenance: dict[str, Any]) -> dict[str, Any]:
    """What is known of energies and steps, also of a run that failed; unknown values are left out."""
    optimisation = report.optimisation
    energy = report.energy.hartree if report.energy.hartree is not None else optimisation.hartree
    found = {"energy_hartree": energy, "steps": optimisation.steps, "provenance": provenance}
    return {name: value for name, value in found.items() if value is not None}


def _write_geometry(step: Step, directory: Path, report: Report) -> bool:
    if not report.optimisation.converged:
        return False
    atoms = step.params.get("atoms")
    geometry = restart.last_geometry(directory, tuple(atoms) if atoms else None) or report.geometry.last
    if geometry is None:
        return False
    comment = f"energy {report.energy.hartree} hartree" if report.energy.hartree is not None else "optimised"
    untrusted.write_text(directory / _GEOMETRY, geometry.as_xyz(comment))
    return True


def _stopped(exit: Exit, problem: Finding, log: Path, provenance: dict[str, Any]) -> Outcome:
    """qmrunner ended the run. A hang keeps the cause the log tells, such as shared memory that ran out
    or an abort whose ranks stayed behind."""
    reason = exit.stop_reason or "stopped"
    told = problem if reason == "hung" and problem.failure_class != "transient" else None
    hint = told or replace(problem, code="hung" if reason == "hung" else "terminated", failure_class="transient")
    last = CATALOGUE.last_line(log)
    return Outcome(
        state="stopped",
        code=hint.code,
        result={"provenance": provenance},
        failure_class=hint.failure_class,
        evidence=told.evidence if told else last,
        remedy=told.remedy if told else "Nothing to do: the step goes on from its checkpoint.",
        summary=f"NWChem was ended by qmrunner ({reason})",
    )


def _deck_text(step: Step, directory: Path) -> str | None:
    name = str(step.params.get("deck", molecule.DECK)) if step.task == "deck" else molecule.DECK
    try:
        return reader.decode(untrusted.read_bytes(directory / name))
    except OSError:
        return None


def _kept(path: Path) -> bool:
    if not untrusted.is_file(path) or path.name.endswith(_SCRATCH_ENDINGS):
        return False
    return not any(part in path.name for part in _SCRATCH_PARTS)
