"""The files of an attempt, read once: its deck, its log and its run-time database."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qmrunner import untrusted
from qmrunner.engines.nwchem.input import asked, generated_deck, reader
from qmrunner.engines.nwchem.input.asked import Asked
from qmrunner.engines.nwchem.output import frozen, rtdb
from qmrunner.engines.nwchem.output.quantities import Quantities
from qmrunner.engines.nwchem.output.steps import OptimisationSteps
from qmrunner.engines.nwchem.output.tasks import Record, proven
from qmrunner.engines.nwchem.read import Reader, Report
from qmrunner.model.jobs import Step


@dataclass(frozen=True, slots=True)
class Run:
    """The files of an attempt, read once: its deck's tasks if the deck exists, and the outcome of each. `uncorrelated`
    are notes on tasks whose correlated method had no electrons to correlate; `restarted`: whether the deck begins with
    a database, whose settings are not known."""

    step: Step
    directory: Path
    log: Path
    report: Report
    text: str | None
    asked: tuple[Asked, ...]
    records: tuple[Record, ...]
    quantities: Quantities
    steps: OptimisationSteps | None
    database: rtdb.Database | None
    titles: frozenset[str]
    uncorrelated: tuple[str, ...] = ()
    restarted: bool = False

    @property
    def provenance(self) -> dict[str, Any]:
        return {"nwchem": self.report.header.provenance()}

    @property
    def computed(self) -> Record | None:
        """The last task that has an energy."""
        return next((record for record in reversed(self.records) if record.energy is not None), None)


@dataclass(frozen=True, slots=True)
class Deck:
    """The deck of an attempt as it runs: its text, its tasks, its geometry blocks with those of included files, and the
    lines on which NWChem prints its titles.

    If the file or one of its included files is missing, the tasks are unknown.
    """

    text: str | None
    tasks: tuple[Asked, ...]
    geometries: int | None
    titles: frozenset[str] = frozenset()
    restarted: bool = False


def deck_of(step: Step, directory: Path) -> Deck:
    """The deck in the attempt's directory."""
    name = str(step.params.get("deck", generated_deck.DECK)) if step.task == "deck" else generated_deck.DECK
    data = _file(directory, name)
    if data is None:
        return Deck(None, (), None)
    text, statements = reader.decode(data), asked.with_included(data, partial(_file, directory))
    if statements is None:
        return Deck(text, (), None)
    tasks = asked.of_deck(statements, _functional_before(step, directory, statements))
    titles = asked.printed_titles(statements)
    return Deck(text, tasks, asked.geometry_blocks(statements), titles, asked.restarts(statements))


def read_run(step: Step, directory: Path, log: Path) -> Run:
    run_deck = deck_of(step, directory)
    quantities = Quantities()
    wanted = "qcschema" in step.params and bool(run_deck.tasks) and run_deck.tasks[0].operation == "optimize"
    steps = OptimisationSteps(run_deck.tasks[0]) if wanted else None
    more: list[Reader] = [quantities] if step.task == "deck" else []
    report = Report(log, run_deck.tasks, *more, *([steps] if steps else []), titles=run_deck.titles)
    name = report.header.database
    database = rtdb.read(directory / name) if name else None
    proved = proven(report.tasks.records(), database, run_deck.geometries)
    named = [frozen.named(task, quantities.of(task, directory).get("energies_hartree", {})) for task in proved]
    return Run(
        step,
        directory,
        log,
        report,
        run_deck.text,
        run_deck.tasks,
        tuple(record for record, _ in named),
        quantities,
        steps,
        database,
        run_deck.titles,
        tuple(note for _, note in named if note is not None),
        run_deck.restarted,
    )


def _functional_before(step: Step, directory: Path, statements: tuple[reader.Statement, ...]) -> str | None:
    """The xc line of the database, which a restarted deck need not repeat."""
    if step.task != "deck":
        return generated_deck.Method.from_params(step.params).functional
    if not asked.restarts(statements):
        return None
    databases = [found for path in sorted(directory.glob("*.db")) if (found := rtdb.read(path)) is not None]
    return databases[0].functional if len(databases) == 1 else None


def _file(directory: Path, name: str) -> bytes | None:
    """A file of the attempt's directory; None if it is missing or outside."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        return None
    try:
        return untrusted.read_bytes(directory / path)
    except (OSError, ValueError):
        return None
