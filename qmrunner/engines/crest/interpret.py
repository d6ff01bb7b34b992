"""The outcome of a CREST attempt.

Success needs exit status 0, the end marker, a whole `crest_conformers.xyz` and no lost metadynamics run: none of them
is enough alone. CREST 3 exits 0 on an unknown solvent, and intermediate ensembles of killed runs look finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

from qmrunner import untrusted
from qmrunner.engines import failures, result_files, xtb
from qmrunner.engines.crest import flags, salvage
from qmrunner.engines.crest.read import BrokenEnsembleError, Conformer, Summary, read_ensemble, read_log
from qmrunner.engines.openmp import stack_limited
from qmrunner.engines.signatures import Catalogue, Finding, load
from qmrunner.engines.xtb import trace as xtb_trace
from qmrunner.model.jobs import Evidence, Exit, Outcome, Step

ENSEMBLE = "crest_conformers.xyz"
_BEST = "crest_best.xyz"
# Runs that search no conformers, and the files that they write; no entry: the files are not known.
_OTHER_RUNS: dict[str, tuple[str, ...]] = {
    "--sp": (),
    "--opt": ("crestopt.xyz",),
    "--optimize": ("crestopt.xyz",),
    "--ancopt": ("crestopt.xyz",),
    "--numhess": (),
    "--ohess": (),
    "--cregen": (),
    "--mdopt": ("crest_ensemble.xyz",),
    "--screen": ("crest_ensemble.xyz",),
    "--protonate": ("protonated.xyz",),
    "--deprotonate": ("deprotonated.xyz",),
    "--tautomerize": ("tautomers.xyz",),
    "--qcg": (),
    "--msreact": (),
    "--rmsd": (),
    "--testtopo": (),
    "--constrain": (),
    "--zsort": (),
    "--splitfile": (),
    "--dry": (),
}
_RESULTS = (
    ENSEMBLE, _BEST, "crest.energies", "crest_rotamers.xyz", "cre_members", "crest_ensemble.xyz",
    "crestopt.xyz", "protonated.xyz", "deprotonated.xyz", "tautomers.xyz", "crest_clustered.xyz", "crest.engrad",
    "numhess*", "*.sorted",
)  # fmt: skip
# Files of a user's run that are not published: snapshots, restart files, copies of the input. All others are.
_SCRATCH = (
    "crest.restart", "crest_rotamers_[0-9]*.xyz", "struc.xyz", "coord", "coord.original", "xtbrestart", "gfnff_topo",
    "gfnff_adjacency", "tmpcoord*",
)  # fmt: skip
# Searches whose result is more than an ensemble.
_NOT_SALVAGED = ("--entropy", "--entropic")
_CUT = "CREST exited 0 without finishing: check its last lines and the free space of scratch and logs."
_AFRESH = "The completed part could not be sorted: the next attempt (`qmrunner retry JOB`) searches from the beginning."
_FULL_SEARCH = "for the full search submit the job again: a partial ensemble is never reused"
_FULL = "The ensemble is incomplete: the scratch volume was probably full; free or enlarge it, then retry."


@cache
def catalogue() -> Catalogue:
    """The signatures of this engine. Read on first use: a submission needs none, and they take 20 ms."""
    return load(Path(__file__).with_name("signatures.toml"))


@cache
def _hidden() -> Catalogue:
    return failures.hidden(catalogue())


@cache
def _inner() -> Catalogue:
    return load(Path(xtb.__file__).with_name("signatures.toml"))


def searches(args: Sequence[str]) -> bool:
    """Whether a run with `args` is a search whose completed iterations form a usable ensemble."""
    words = {f"--{word.lstrip('-')}" for word in args if word.startswith("-")}
    return not words.intersection((*_OTHER_RUNS, *_NOT_SALVAGED))


def interpret(step: Step, args: Sequence[str], directory: Path, log: Path, exit: Exit) -> Outcome:
    """The outcome of an attempt that ran CREST with `args` in `directory`."""
    marker = salvage.read_marker(directory)
    outcome = _judged(step, args, directory, log, exit, salvaged=marker is not None)
    if marker is None:
        return outcome
    if outcome.state == "succeeded":
        partial = {
            **outcome.result,
            "partial": True,
            "iterations": marker.iterations,
            "notes": [marker.sentence, _FULL_SEARCH, *outcome.result.get("notes", ())],
        }
        return replace(outcome, result=partial, summary=marker.sentence.partition(":")[0])
    if outcome.state == "failed":
        with suppress(OSError):  # for example on a full disk: then the number of tries ends it
            salvage.give_up(directory, marker)
        return replace(outcome, failure_class="transient", remedy=_AFRESH)
    return outcome


def _judged(step: Step, args: Sequence[str], directory: Path, log: Path, exit: Exit, *, salvaged: bool) -> Outcome:
    summary = read_log(log)
    if not exit.ok:
        if summary.terminated_normally:
            calm = replace(exit, returncode=0, signal=None)
            outcome = _judged(step, args, directory, log, calm, salvaged=salvaged)
            if outcome.state == "succeeded":
                return failures.crashed_behind(outcome, exit)
        inner = _from_inner(directory, exit)
        return inner or failures.ended(catalogue(), log, exit, lambda found, log: stack_limited(found, exit))
    finding = (
        _hidden().classify(log, exit) or _unfinished(summary, log) or _lost_runs(directory) or _full(exit, directory)
    )
    conformers: tuple[Conformer, ...] = ()
    if finding is None:
        if salvaged:
            finding, conformers = _sorted(step, directory, summary)
        else:
            finding, conformers = _ensemble(step, args, directory, summary)
    if finding is None:
        return _succeeded(step, directory, summary, conformers, flags.not_taken(args, log))
    if exit.stop_reason is not None:
        return failures.stopped(exit.stop_reason, catalogue(), log)
    return failures.failed(finding)


def _from_inner(directory: Path, exit: Exit) -> Outcome | None:
    """The failure of the xTB that a legacy CREST called, from `xtb.out`: CREST itself only reports that it failed."""
    if exit.stop_reason is not None or exit.signal is not None:
        return None
    # Only the text can explain it: the exit status is CREST's.
    inner_log = directory / "xtb.out"
    known = _inner().classify(inner_log, replace(exit, returncode=None, disk_full=False, oom_kills=None))
    finding = xtb_trace.refine(known, inner_log)
    return failures.failed(finding) if finding is not None else None


def _unfinished(summary: Summary, log: Path) -> Finding | None:
    if summary.terminated_normally:
        return None
    last = catalogue().last_line(log) or Evidence("no output at all", log.name)
    text = f"`CREST terminated normally.` is missing; last line: {last.text.strip()}"
    return Finding("truncated_output", "resource", Evidence(text, log.name, last.line), _CUT)


def _lost_runs(directory: Path) -> Finding | None:
    """Legacy CREST continues without a failed metadynamics run, and keeps the files of that run in FAILED-MTD."""
    if not (directory / "FAILED-MTD").is_dir():
        return None
    remedy = "The ensemble lacks what this run would have found: retry; if it happens again, give a smaller --tstep."
    return Finding("mtd_failed", "transient", Evidence("a metadynamics run failed", "FAILED-MTD"), remedy)


def _full(exit: Exit, directory: Path) -> Finding | None:
    if not exit.disk_full:
        return None
    return failures.file_finding("scratch_full", directory, "the scratch volume was full during the run", _FULL)


def _ensemble(
    step: Step, args: Sequence[str], directory: Path, summary: Summary
) -> tuple[Finding | None, tuple[Conformer, ...]]:
    """The conformers, or why they are not a result. No conformers and no finding for runs that search none."""
    other = next((files for flag, files in _OTHER_RUNS.items() if flag in args), None)
    if other is not None:
        missing = [name for name in other if not _has_bytes(directory / name)]
        text = f"{', '.join(missing)} is missing or empty"
        return (failures.file_finding("scratch_full", directory, text, _FULL) if missing else None), ()
    path = directory / ENSEMBLE
    try:
        conformers = read_ensemble(path)
    except BrokenEnsembleError as error:
        return failures.file_finding("truncated_output", path, str(error), _FULL), ()
    problem = _contradiction(step, conformers, summary)
    if problem:
        return failures.file_finding("truncated_output", path, problem, _FULL), ()
    return None, conformers


def _sorted(step: Step, directory: Path, summary: Summary) -> tuple[Finding | None, tuple[Conformer, ...]]:
    """The conformers that ``--cregen`` wrote, or why they are not a result; afterwards `ENSEMBLE` and `_BEST` are
    there."""
    problem, place = "", directory / ENSEMBLE
    for name in (ENSEMBLE, "crest_ensemble.xyz", f"{salvage.INPUT}.sorted"):
        try:
            conformers = read_ensemble(directory / name)
        except BrokenEnsembleError as error:
            problem = problem or str(error)
            continue
        # The number of rotamers is not known here.
        claimed = summary if name != f"{salvage.INPUT}.sorted" else Summary()
        wrong = _contradiction(step, conformers, claimed)
        if wrong is None and (energy := salvage.foreign_energy(conformers, directory)) is not None:
            wrong = f"{name}: none of the structures that were sorted has the energy {energy}"
        if wrong is None:
            if name != ENSEMBLE:
                untrusted.copy(directory / name, place)
            if not _has_bytes(directory / _BEST):
                first = islice(untrusted.lines(place), 2 + len(conformers[0].symbols))
                untrusted.write_text(directory / _BEST, "".join(f"{line}\n" for line in first))
            return None, conformers
        problem = wrong
    return failures.file_finding("truncated_output", place, problem, _FULL), ()


def _contradiction(step: Step, conformers: tuple[Conformer, ...], summary: Summary) -> str | None:
    if summary.conformers is not None and summary.conformers != len(conformers):
        return f"{len(conformers)} structures in the file, {summary.conformers} conformers in the log"
    wanted = step.params.get("atoms")
    if isinstance(wanted, Sequence):
        symbols = [symbol.lower() for symbol in conformers[0].symbols]
        if symbols != [str(symbol).lower() for symbol in wanted]:
            return "the conformers hold other atoms than the input, or in another order"
    return None


def _succeeded(
    step: Step, directory: Path, summary: Summary, conformers: tuple[Conformer, ...], extra_notes: tuple[str, ...]
) -> Outcome:
    notes = list(extra_notes)
    if step.task == "user":
        files, left_out = result_files.results(directory, frozenset(step.inputs), _SCRATCH)
        notes += left_out
    else:
        found = {hit for pattern in _RESULTS for hit in directory.glob(pattern)}
        files = tuple(sorted(path.name for path in found if _has_bytes(path) and path.name not in step.inputs))
    energies = [conformer.energy_hartree for conformer in conformers]
    result = {
        "energy_hartree": min(energies, default=None),
        "conformers": [{"energy_hartree": energy} for energy in energies],
        "warnings": list(summary.warnings),
    } | ({"notes": notes} if notes else {})
    return Outcome("succeeded", "ok", result=result, publish=files, promote=files if step.task == "user" else ())


def _has_bytes(path: Path) -> bool:
    try:
        return untrusted.size(path) > 0
    except OSError:
        return False
