"""Notes on tasks whose energy belongs to settings before a change that NWChem did not notice (see `input.around`)."""

from __future__ import annotations

from collections.abc import Sequence

from qmrunner.engines.nwchem.input.asked import Asked
from qmrunner.engines.nwchem.output.tasks import MOVING, Record

_OF_DFT = frozenset({"dft", "tddft", "sodft"})
# Tasks that need no orbitals, or compute their own.
_WITHOUT = frozenset({"shell", "python", "esp", "dplot", "nbo", "md", "prepare", "pspw", "band", "paw"})
_NOTE = (
    "task {number}, `{title}`: NWChem took the orbitals of an earlier task for converged and computed no new ones, so"
    " {what} had no effect on its energy: put `{block}; end` before this task, and run the deck again"
)


_OF_DATABASE = (
    "task {number}, `{title}`: NWChem took the orbitals of the restarted database for converged and computed no new"
    " ones: if {what} was another in the run that left them, it had no effect on this energy. Put `{block}; end` before"
    " this task to be sure, and run the deck again"
)


def notes(records: Sequence[Record], kept: Sequence[tuple[int, str]], *, restarted: bool = False) -> list[str]:
    """A note for each such task. `kept`: lines of the log on which a module (SCF, DFT) reports converged orbitals.

    A `restarted` deck begins with orbitals whose settings are not known; their note is conditional.
    """
    found: list[str] = []
    changed: dict[str, dict[str, None]] = {"SCF": {}, "DFT": {}}
    computed: set[str] = set()
    for record in records:
        asked = record.asked
        for settings in changed.values():
            settings.update(dict.fromkeys(asked.changed))
        if asked.theory in _WITHOUT:
            continue
        same = {module for line, module in kept if record.first_line <= line <= record.last_line}
        # A task that moves atoms begins with the old orbitals and continues with new ones.
        for module in sorted(same) if asked.operation not in MOVING else ():
            if changed[module] and (restarted or module in computed):
                what = " and ".join(f"`{name}`" for name in changed[module])
                note = _NOTE if module in computed else _OF_DATABASE
                found.append(note.format(number=record.number, title=asked.title, what=what, block=module.lower()))
        for module in _modules(asked) - (same if asked.operation not in MOVING else set()):
            changed[module].clear()
            computed.add(module)
    return found


def _modules(asked: Asked) -> set[str]:
    if asked.theory == "tce":
        return {"SCF", "DFT"}  # its orbitals may come from either
    return {"DFT"} if asked.theory in _OF_DFT else {"SCF"}
