"""The NWChem engine: three tasks (``deck``, ``optimise``, ``shielding``) behind the engine protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmrunner import untrusted
from qmrunner.engines.base import Context, Installed, Which
from qmrunner.engines.input_check import Finding
from qmrunner.engines.nwchem import hessian, input_check, launch, remedies, resources, restart
from qmrunner.engines.nwchem.input import deck_resume, deck_rewrite, generated_deck, memory_line, reader
from qmrunner.errors import QmrunnerError, UsageError
from qmrunner.model.jobs import Command, Demand, Exit, Grant, Outcome, Step
from qmrunner.model.remedies import Remedy

if TYPE_CHECKING:
    from qmrunner.engines.nwchem.progress import NWChemReader

TASKS = ("deck", "optimise", "shielding")
_OF_THE_GEOMETRY = ("noautoz", "noautosym")  # remedies that change the geometry block, which a resumed deck has not
_TMP_KEEP = "tmp/.keep"


class NWChem:
    """See `engines.base.Engine`.

    Params of ``optimise`` and ``shielding``: `atoms` (element symbols in order), `charge` (0), `multiplicity` (1),
    `functional` ("b3lyp"), `basis` ("6-31G*"), `cosmo` (NWChem solvent keyword or None), `max_iterations` (100),
    `coordinates` ("auto" or "cartesian"), `nuclei` (atom numbers from 1; default all). Inputs: `geometry` (xyz), or
    `start` where that is missing, and inputs that only save time: `hessian` (xTB's, for ``optimise``), `vectors`
    (orbitals at this geometry in this basis, for ``shielding``). Params of ``deck``: `deck` (its name among the inputs)
    and `memory_mib_per_rank`, which its memory line requests, if it has one. `remedies` lists the params that remedies
    set.
    """

    name = "nwchem"

    def locate(self, configured: Mapping[str, str | None], which: Which) -> Installed:
        """Find NWChem and the launcher of its MPI."""
        return launch.locate(configured, which)

    def probe_argv(self, found: Installed) -> Sequence[tuple[str, ...]]:
        """Three commands that report version and MPI family without a calculation."""
        return launch.probe_argv(found)

    def read_probe(self, found: Installed, outputs: Sequence[str]) -> Installed:
        """Version, flavours, and `problem` when launcher and binary do not belong together."""
        return launch.read_probe(found, outputs)

    def demand(self, task: str, params: Mapping[str, Any]) -> Demand:
        """The reservation by rule; needs `atoms` and `basis` for a molecule."""
        if task == "deck":
            return resources.demand_of_deck(params.get("memory_mib_per_rank"))
        basis, cosmo = str(params.get("basis", "6-31G*")), params.get("cosmo") is not None
        return resources.demand_of_molecule(task, params["atoms"], basis, cosmo)

    def prepare(self, step: Step, context: Context) -> Command:
        """The attempt's command. Raises QmrunnerError when an input is missing or NWChem cannot be started."""
        # Loaded before the run, not by a submission, and not after an upgrade of the package during the run.
        import qmrunner.engines.nwchem.interpret  # noqa: F401

        ranks = _ranks(step, context)
        started = launch.launch(context.installed, ranks, bool(step.params.get("oversubscribe")))
        work = _deck_work(step, context, ranks) if step.task == "deck" else _molecule_work(step, context, ranks)
        return Command(
            argv=(*started.argv, work.argv[0]),
            env=self.environment(context),
            files={**work.files, _TMP_KEEP: ""},
            copies=work.copies,
            notes=(*started.notes, *work.notes),
            reach=launch.reach(context.installed),
        )

    def findings(self, step: Step, files: Mapping[str, bytes], *, strict: bool) -> Sequence[Finding]:
        """Parts of a user's deck, and of the files next to it, that would leave the folder or start a program."""
        return input_check.findings(str(step.params["deck"]), files, strict=strict) if step.task == "deck" else ()

    def environment(self, context: Context) -> dict[str, str]:
        """One thread per rank, the launcher's options for its flavour, and session files inside the attempt's
        directory."""
        return launch.environment(context.installed, context.directory.resolve() / "tmp")

    def reader(self, step: Step, directory: Path | None = None) -> NWChemReader:
        """A new reader of the output; the deck in `directory` determines the theory of each task's energy."""
        from qmrunner.engines.nwchem.progress import NWChemReader
        from qmrunner.engines.nwchem.run import deck_of

        if directory is None:
            return NWChemReader(known_work=step.task != "deck")
        deck = deck_of(step, directory)
        return NWChemReader(known_work=step.task != "deck", asked=deck.tasks, titles=deck.titles)

    def checkpoint(self, directory: Path) -> tuple[str, ...]:
        """Database, orbitals, Hessian, response solution, newest geometry, as far as they exist; empty without
        orbitals."""
        return restart.checkpoint_files(directory)

    def interpret(self, step: Step, directory: Path, log: Path, exit: Exit) -> Outcome:
        """The outcome of the attempt; writes ``geometry.xyz`` into `directory` when there is an optimised geometry."""
        from qmrunner.engines.nwchem import interpret

        return interpret.interpret(step, directory, log, exit)

    def remedies(self, task: str) -> Sequence[Remedy]:
        """The remedies, best first."""
        return remedies.of_task(task)


def _ranks(step: Step, context: Context) -> int:
    """MPI ranks: one per granted core as far as the memory goes; a progress rank counts as one."""
    grant = context.grant
    if step.task == "deck":
        asked = memory_line.asked(_deck_text(step, context)[1], _beside(context))
        per_rank = resources.BASE_MIB_PER_RANK + (asked.total_mib if asked else resources.LOCAL_MIB_PER_RANK)
        ranks = max(1, min(grant.cores, (grant.memory_mib - resources.LAUNCHER_MIB) // per_rank))
    else:
        ranks = resources.ranks_that_fit(grant.cores, grant.memory_mib, _arenas(step))
    if not context.installed.facts.get("progress_rank"):
        return ranks
    if grant.cores < 2:
        raise QmrunnerError(
            "slots_exhausted",
            "This NWChem (MPI-PR) spends one rank on communication and cannot run on one core.",
            remedy="Give its steps at least two cores, or install an NWChem built without MPI-PR.",
        )
    return max(2, ranks)


def _arenas(step: Step) -> resources.Arenas:
    """The resources that qmrunner's own deck for this step needs."""
    method = generated_deck.Method.from_params(step.params)
    return resources.arenas(step.task, step.params.get("atoms") or (), method.basis, method.cosmo is not None)


def _deck_text(step: Step, context: Context) -> tuple[str, str]:
    name = str(step.params["deck"])
    path = context.inputs.get(name)
    if path is None or not path.is_file():
        raise QmrunnerError("input_missing", f"The deck {name} is not among the inputs.")
    return name, reader.decode(untrusted.read_bytes(path))


def _beside(context: Context) -> memory_line.Beside:
    """The files that a deck may include."""

    def content(name: str) -> bytes | None:
        path = context.inputs.get(name)
        return untrusted.read_bytes(path) if path is not None and path.is_file() else None

    return content


def _deck_work(step: Step, context: Context, ranks: int) -> Command:
    name, text = _deck_text(step, context)
    for other in context.inputs:
        if other in (".", "..") or "/" in other or "\0" in other:
            raise UsageError("input_error", f"{other!r} cannot be the name of an input file.")
    beside = _beside(context)
    asked = deck_rewrite.check_deck(text, beside)
    able = deck_resume.can_resume(text) and not any(step.params.get(name) for name in _OF_THE_GEOMETRY)
    point, first = restart.resume_deck(context.previous) if able else (restart.FRESH, ())
    rewritten = deck_rewrite.rewrite(text, ranks, context.grant.memory_mib, step.params, beside, first)
    notes = [*rewritten.notes]
    if asked is not None:
        each = f"{asked.total_mib} MiB for each of {ranks} rank{'s' if ranks > 1 else ''}, as the deck requests"
        notes.append(f"memory: {each}; reserved {context.grant.memory_mib} MiB in all")
        if ranks < context.grant.cores:
            notes.append(f"ranks: {ranks}, because the memory for {context.grant.cores} is not granted")
    if able:
        notes += _resume_notes(point, context.previous)
    elif context.previous is not None:
        notes.append(
            "resume: a user's deck starts from the beginning unless its first task optimises its only geometry, and no"
            " settings follow"
        )
    files = {name: rewritten.text, **rewritten.beside, **({restart.MARKER: point.marker} if able else {})}
    copies = {other: path for other, path in context.inputs.items() if other not in files} | point.copies
    return Command(argv=(name,), files=files, copies=copies, notes=tuple(notes))


def _molecule_work(step: Step, context: Context, ranks: int) -> Command:
    if step.task not in TASKS:
        raise UsageError(
            "input_error", f"NWChem has no task {step.task!r}.", remedy=f"Choose one of {', '.join(TASKS)}."
        )
    method = generated_deck.Method.from_params(step.params)
    source = context.inputs.get("geometry") or context.inputs.get("start")
    if source is None:
        raise QmrunnerError("input_missing", f"The step {step.name} has no geometry.")
    geometry = generated_deck.read_xyz(source, step.params.get("atoms"))
    cached = _cached_mib(step.task, context.grant, ranks, geometry, method)
    words = resources.cached_words(ranks, cached)
    need = resources.arenas(step.task, geometry.atoms, method.basis, method.cosmo is not None)
    directive = resources.memory_directive(
        ranks, context.grant.memory_mib, need, cached, step.params.get("memory_arena")
    )
    compose = _shielding if step.task == "shielding" else _optimisation
    # A remedy may have decided to resume from the step's own input, or from anything but orbitals.
    resume_from = step.params.get("resume_from")
    usable = replace(context, previous=None) if resume_from == "input" else context
    point, text, files, notes = compose(usable, resume_from is None, method, geometry, directive, words)
    if "geometry" not in context.inputs:
        notes = ("geometry: the input structure, because there is no better one", *notes)
    notes = (f"memory: `{directive}` per rank", f"integrals: {_INTEGRALS[bool(words)]}", *notes)
    return Command(
        argv=(generated_deck.DECK,),
        files={generated_deck.DECK: text, restart.MARKER: point.marker, **files},
        copies=point.copies,
        notes=(*notes, *_resume_notes(point, context.previous)),
    )


# The start of a task: the point from which it resumes, the deck, further files, and notes.
_Composed = tuple[restart.ResumePoint, str, dict[str, str], tuple[str, ...]]
_INTEGRALS = {
    True: "kept in memory, never on disk",
    False: "recomputed each time: too many to keep in memory, and a disk could fill up",
}


def _shielding(
    context: Context,
    orbitals: bool,
    method: generated_deck.Method,
    geometry: generated_deck.Geometry,
    memory: str,
    words: int,
) -> _Composed:
    point = restart.resume_shielding(context.previous if orbitals else None)
    notes: tuple[str, ...] = ()
    vectors = context.inputs.get("vectors") if orbitals else None
    if point is restart.FRESH and vectors is not None and restart.records_ok(vectors):
        # Measured (ethanol, 6-31G*): 3 SCF iterations instead of 9, shieldings equal within 0.0003 ppm.
        point = replace(point, copies={generated_deck.GUESS: vectors})
        notes = ("guess: orbitals of the optimisation, at this geometry and in this basis",)
    start = generated_deck.Start(
        guess=generated_deck.GUESS in point.copies, response=point.rung == "response", cached_words=words
    )
    return point, generated_deck.shielding_deck(method, geometry, memory, start), {}, notes


def _optimisation(
    context: Context,
    orbitals: bool,
    method: generated_deck.Method,
    geometry: generated_deck.Geometry,
    memory: str,
    words: int,
) -> _Composed:
    # A database keeps the internal coordinates with which it was made, but this step requests Cartesian ones.
    point = restart.resume_optimisation(context.previous, geometry.atoms, orbitals, database=not method.cartesian)
    if point.rung == "restart":
        return point, generated_deck.continue_deck(method, memory), {}, ()
    given = context.inputs.get("hessian")
    found = hessian.from_xtb(given, len(geometry.atoms)) if given is not None else None
    start = generated_deck.Start(
        guess=generated_deck.GUESS in point.copies, hessian=found is not None, cached_words=words
    )
    text = generated_deck.optimise_deck(method, point.geometry or geometry, memory, start)
    files = {hessian.FILE: found} if found is not None else {}
    return point, text, files, (f"hessian: {'of xTB' if found else 'NWChem guesses it'}",)


def _resume_notes(point: restart.ResumePoint, previous: Path | None) -> tuple[str, ...]:
    if point.source:
        return (f"resume: {point.rung} from {point.source} of the previous attempt",)
    return ("resume: nothing usable was left, started from the beginning",) if previous is not None else ()


def _cached_mib(
    task: str, grant: Grant, ranks: int, geometry: generated_deck.Geometry, method: generated_deck.Method
) -> int:
    """Memory for two-electron integrals, if the grant has enough."""
    wanted = resources.demand_of_molecule(task, geometry.atoms, method.basis, method.cosmo is not None).memory_mib(
        ranks
    )
    return resources.cached_integrals_mib(geometry.atoms, method.basis) if grant.memory_mib >= wanted else 0
