"""The outcome of an attempt: success only with exit 0, the end marks and a complete, finite result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from qmrunner import untrusted
from qmrunner.engines import failures, qcschema, qcschema_result, result_files, same_molecule
from qmrunner.engines.nwchem import kept_orbitals, restart
from qmrunner.engines.nwchem import qcschema as nwchem_qcschema
from qmrunner.engines.nwchem.input import deck_rewrite, generated_deck, remarks
from qmrunner.engines.nwchem.output import errquit, response, together, unconverged
from qmrunner.engines.nwchem.output.numbers import MOST_ATOMS
from qmrunner.engines.nwchem.output.tasks import Record
from qmrunner.engines.nwchem.read import Report
from qmrunner.engines.nwchem.run import Run, read_run
from qmrunner.engines.signatures import Catalogue, Finding, load
from qmrunner.model.jobs import Evidence, Exit, Outcome, Step

# Codes of runs ended from outside or as planned: not failures, because the calculation resumes from its checkpoint.
_STOPPED = frozenset({"time_limit_reached", "terminated", "interrupted", "timed_out", "hung"})
# Messages of NWChem before an abort that may not occur again.
_OWN_WAY = frozenset({"time_limit_reached", "memory_corrupt"})
# Causes that let no rank start: before an abort, their messages were warnings.
_BEFORE = frozenset({"launcher_failed", "mpi_network"})
# Codes of failures that may have a cause in the deck, before the abort or crash.
_UNEXPLAINED = frozenset({"crashed", "memory_corrupt", "memory_exhausted", "aborted", "input_error", "unknown"})
_GEOMETRY = "geometry.xyz"
# Files that are not published; all others are. Nothing resumes from an ended run, so databases, integrals, grids,
# amplitudes and solutions of equations have no further use.
_SCRATCH = (
    "*.db", "*.zmat", "*.p", "*.c", "*.b", "*.b^-1", "*.cfock", "*.cphf_rhs*", "*.cphf_sol*", "*.shieldcphf",
    "*.gridpts.*", "*.aoints.*", "*.moints.*", "*.halfints*", "*.ccsdints.*", "*.t2", "*.trials", "*.ramanpol_*",
    "*.raman_[0-9]*", "*lkain*", f"*{restart.MARKER}*",
)  # fmt: skip


@cache
def catalogue() -> Catalogue:
    """The signatures of this engine. Read on first use: a submission needs none, and they take 20 ms."""
    return load(Path(__file__).with_name("signatures.toml"))


def interpret(step: Step, directory: Path, log: Path, exit: Exit) -> Outcome:
    """The outcome of an attempt whose process tree has ended. A run that was complete before a stop reached it is a
    success."""
    run = read_run(step, directory, log)
    if exit.ok and not exit.disk_full:
        problem = _problem(run, exit)
        if problem is None:
            return _success(run)
    else:
        if _complete(run, exit):
            return failures.crashed_behind(_success(run), exit)
        problem = _told(run, exit) or catalogue().unknown(log, exit)
    if exit.stop_reason is not None:
        return _stopped(exit, problem, run)
    state: Literal["stopped", "failed"] = "stopped" if problem.code in _STOPPED else "failed"
    return Outcome(
        state=state,
        code=problem.code,
        result=_partial(run),
        failure_class=problem.failure_class,
        evidence=problem.evidence,
        remedy=problem.remedy,
        summary=f"NWChem {state}: {problem.evidence.text.strip()}",
    )


def _complete(run: Run, exit: Exit) -> bool:
    """Whether a run that ended badly had printed all requested results and its end marks before."""
    if not run.report.marks.ended or run.report.abort.found is not None or exit.disk_full:
        return False
    return _problem(run, replace(exit, returncode=0, signal=None)) is None


def _told(run: Run, exit: Exit) -> Finding | None:
    """Why a run failed: the matching signature, else NWChem's own abort.

    After an abort, signals and messages of the launcher only report how the other ranks ended; and the exit status is
    the abort's value: 911 looks like SIGTERM (143), 127 like a missing program.
    """
    found = _said(run, exit)
    # If atoms coincide, NWChem counts the electrons of the atoms that it kept.
    if found is not None and found.code == "charge_multiplicity":
        return _atoms_lost(run) or found
    if found is not None and found.code in _UNEXPLAINED and run.records:
        return run.report.orbitals.refused(run.records[-1].asked, found.evidence) or found
    return found


def _said(run: Run, exit: Exit) -> Finding | None:
    abort, step = run.report.abort.found, run.step
    if abort is None:
        return catalogue().classify(run.log, exit, run.titles)
    ended = exit if exit.oom_kills else replace(exit, returncode=None, signal=None)
    found = catalogue().classify(run.log, ended, run.titles)
    if found is None or found.code in _BEFORE or (found.failure_class == "transient" and found.code not in _OWN_WAY):
        found = _aborted(run, abort)
    elif found.code == "optimization_not_converged" and run.records and run.records[-1].problem is not None:
        found = run.records[-1].problem  # a reaction path ends in the same words
    found = errquit.without_a_line(found, abort)
    if step.task != "deck" or abort.input_line is None:
        return found
    file = step.inputs.get(abort.included or str(step.params.get("deck")))
    at = replace(found.evidence, input_file=file, input_line=abort.input_line[0]) if file else found.evidence
    return replace(found, evidence=at)


def _aborted(run: Run, abort: errquit.Abort) -> Finding:
    """For a task that did not converge NWChem only prints that it failed, some lines after the line with the reason."""
    last = run.records[-1] if run.records else None
    if last is not None and last.problem is not None:
        return last.problem
    if last is not None and unconverged.FAILED.match(abort.message) and abort.category == "convergence":
        return unconverged.silent(last.asked, abort.evidence)
    return errquit.finding(abort)


def _problem(run: Run, exit: Exit) -> Finding | None:
    """Why a run with exit status 0 is not a success, or None."""
    if not run.report.marks.ended or not _done(run):
        return _told(run, exit) or _incomplete(run.log, "The run did not reach its end.")
    failed = next((record.problem for record in run.records if record.problem is not None), None)
    if failed is not None:
        return failed
    if run.report.optimisation.started and not run.report.optimisation.converged:
        return _told(run, exit) or _incomplete(run.log, "The optimisation did not converge.")
    return _atoms_lost(run) or _result_missing(run)


def _done(run: Run) -> bool:
    """Whether every task was completed: by the printed task times if the print level allows them, else by the
    database."""
    if run.report.tasks.timed >= (sum(task.timed for task in run.asked) if run.asked else 1):
        return True
    database = run.database
    return bool(run.asked and database and database.succeeded and database.title == run.asked[-1].title)


def _atoms_lost(run: Run) -> Finding | None:
    expected, found = deck_rewrite.atoms_in_deck(run.text) if run.text else None, run.report.tasks.first_geometry
    if expected is None or found is None or found[0] >= expected:
        return None
    remedy = f"The deck has {expected} atoms, NWChem kept {found[0]}: two atoms coincide. Correct the coordinates."
    return Finding("geometry_bad", "permanent", found[1], remedy)


def _result_missing(run: Run) -> Finding | None:
    step, report, log = run.step, run.report, run.log
    if step.task == "deck":
        return None
    if run.computed is None:
        return _incomplete(log, "There is no total energy.")
    if step.task == "optimise":
        found = run.computed.geometry
        complete = found is not None and len(found.atoms) == len(step.params.get("atoms") or found.atoms)
        return None if complete and report.optimisation.converged else _incomplete(log, "There is no final geometry.")
    atoms = [str(atom).capitalize() for atom in step.params.get("atoms") or ()]
    values = report.shieldings.complete(every_task=True)
    wanted = _nuclei(step) or list(range(1, 1 + (len(atoms) or len(values))))
    elements = [atoms[number - 1] for number in wanted] if atoms else [value["element"] for value in values]
    if values and [value["element"] for value in values] == elements and len(values) == len(wanted):
        return None
    return _incomplete(log, f"{len(wanted)} shieldings were requested, {len(values)} finite ones of them were printed.")


def _nuclei(step: Step) -> list[int]:
    return sorted({int(atom) for atom in step.params.get("nuclei") or ()})


def _shieldings(step: Step, report: Report) -> list[dict[str, Any]]:
    """The shieldings with the step's atom numbers: for chosen nuclei, and so for each batch, NWChem counts from 1."""
    values = report.shieldings.complete(every_task=True)
    nuclei = _nuclei(step) or range(1, len(values) + 1)
    return [{**value, "atom": atom} for value, atom in zip(values, nuclei, strict=True)]


def _incomplete(log: Path, what: str) -> Finding:
    evidence = catalogue().last_line(log) or Evidence("the log is empty", log.name)
    return Finding("truncated_output", "transient", evidence, f"{what} Retry; if it happens again, read the log.")


def _success(run: Run) -> Outcome:
    step, directory, report = run.step, run.directory, run.report
    result = _partial(run)
    if step.task == "shielding":
        result["shieldings"] = _shieldings(step, report)
    geometry = step.task != "shielding" and _write_geometry(run)
    as_schema = step.task == "deck" and _write_schema(run, result)
    if step.task == "optimise" and (other := same_molecule.refused(step.params, directory / _GEOMETRY, result)):
        return other
    if step.task == "deck":
        own = {run.log.name} if run.log.parent == directory else set()
        names, left_out = result_files.results(directory, own, _SCRATCH)
        undispersed = report.remarks.without_dispersion
        silent = (note for record in run.records for note in remarks.not_computed(record.asked, result, undispersed))
        made = remarks.made_no_difference(run.text, report.remarks)
        made += [*kept_orbitals.notes(run.records, report.remarks.kept, restarted=run.restarted), *run.uncorrelated]
        result["notes"] = [*result.get("notes", ()), *left_out, *made, *dict.fromkeys(silent)]
    else:
        orbitals = (f"{generated_deck.PREFIX}.movecs",) if step.task == "optimise" else ()
        names = tuple(name for name in (generated_deck.DECK, *orbitals) if untrusted.is_file(directory / name))
    promoted = {_GEOMETRY: geometry, qcschema.FILE: as_schema}
    publish = tuple(dict.fromkeys([*(name for name, there in promoted.items() if there), *names]))
    result["files"] = list(publish)
    computed = run.computed
    return Outcome(
        "succeeded",
        "ok",
        result,
        summary=None if computed is None else f"{computed.energy_hartree:.6f} hartree ({computed.energy_of})",
        publish=publish,
        promote=tuple(name for name, there in promoted.items() if there) if step.task == "deck" else (),
    )


def _partial(run: Run) -> dict[str, Any]:
    """The known energies, tasks, steps and quantities, also of a failed run."""
    computed = run.computed
    by_task = _quantities(run)
    found = {
        "energy_hartree": computed.energy_hartree if computed else None,
        "energy_of": computed.energy_of if computed else None,
        "tasks": _tasks(run, by_task) if run.step.task == "deck" and run.asked else None,
        "steps": run.report.optimisation.steps,
        "provenance": run.provenance,
    }
    known = {name: value for name, value in found.items() if value is not None}
    if by_task:
        known |= together.of_tasks(run.records, by_task)
    if notes := [note for quantities in by_task for note in quantities.get("notes", ())]:
        known["notes"] = notes
    return known


def _quantities(run: Run) -> list[dict[str, Any]]:
    """The quantities of each task, in order; empty for qmrunner's own decks, whose results are read separately."""
    if run.step.task != "deck":
        return []
    return [_quantities_of(run, record) for record in run.records]


def _quantities_of(run: Run, record: Record) -> dict[str, Any]:
    if record.problem is not None and record.problem.code == "scf_not_converged":
        return {}  # of orbitals that are no solution
    found = _numbered(run.quantities.of(record, run.directory), record.asked.nuclei)
    if record.asked.theory != "tddft" or record.problem or record.energy is None or "excitations" in found:
        return found
    last = record is run.records[-1]
    return found | response.stored_excitations(run.database if last else None, record.asked.title)


def _numbered(found: dict[str, Any], nuclei: Sequence[int]) -> dict[str, Any]:
    """With shieldings of chosen nuclei, which NWChem counts from 1, under the numbers of their centres."""
    values = found.get("shieldings", ())
    if any(value["atom"] > len(nuclei) for value in values):
        return found  # of all nuclei, or of a choice in a database that was restarted
    numbered = [{**value, "atom": nuclei[value["atom"] - 1]} for value in values]
    return found | ({"shieldings": numbered} if values else {})


def _tasks(run: Run, by_task: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outcome of each task, with its quantities if there are several tasks."""
    several = len(by_task) > 1
    return [record.as_dict() | (found if several else {}) for record, found in zip(run.records, by_task, strict=True)]


def _write_geometry(run: Run) -> bool:
    """The final geometry of the last task that moves atoms, in angstrom; the comment names the task."""
    moved = next((record for record in reversed(run.records) if record.geometry is not None), None)
    if moved is None:
        return False
    geometry, atoms = moved.geometry, run.step.params.get("atoms")
    if run.step.task != "deck":
        geometry = restart.last_geometry(run.directory, tuple(atoms) if atoms else None) or geometry
    if geometry is None:
        return False
    energy = "" if moved.energy is None else f": energy {moved.energy_hartree} hartree ({moved.energy_of})"
    comment = f"task {moved.number} of {len(run.records)}, {moved.asked.title or 'optimize'}{energy}"
    untrusted.write_text(run.directory / _GEOMETRY, geometry.as_xyz(comment))
    return True


def _write_schema(run: Run, result: dict[str, Any]) -> bool:
    """`qcschema.json` of the last task, at the geometry in force."""
    record = run.records[-1] if run.records else None
    setting = None if record is None else run.quantities.setting(record)
    geometry = None if run.database is None else run.database.geometry()
    if geometry is not None and len(geometry.atoms) <= MOST_ATOMS:
        result["atoms"] = list(geometry.atoms)
    if record is None or setting is None or geometry is None:
        return False
    fields = run.quantities.of(record, run.directory) | {"provenance": result["provenance"]}
    request = qcschema_result.request_of(run.directory, run.step.params)
    if request is None and "qcschema" in run.step.params:
        return False
    points = run.steps.points if run.steps is not None else ()
    text = nwchem_qcschema.document(record, setting, geometry, fields, run.directory, run.database, request, points)
    if text is not None:
        untrusted.write_text(run.directory / qcschema.FILE, text)
    return text is not None


def _stopped(exit: Exit, problem: Finding, run: Run) -> Outcome:
    """qmrunner ended the run. A hang keeps the cause from the log, such as shared memory that ran out
    or an abort whose ranks stayed behind."""
    reason = exit.stop_reason or "stopped"
    cause = problem if reason == "hung" and problem.failure_class != "transient" else None
    hint = cause or replace(problem, code="hung" if reason == "hung" else "terminated", failure_class="transient")
    last = catalogue().last_line(run.log)
    return Outcome(
        state="stopped",
        code=hint.code,
        result={"provenance": run.provenance},
        failure_class=hint.failure_class,
        evidence=cause.evidence if cause else last,
        remedy=cause.remedy if cause else "Nothing to do: the step resumes from its checkpoint.",
        summary=f"NWChem was ended by qmrunner ({reason})",
    )
