"""Recognises a correlated method that was to freeze more orbitals than there are, or all of them.

NWChem does not check the numbers of a `freeze` line: TCE then stops in the allocation of its tiles, as without memory,
or crashes; MP2 stops with a bad map of symmetries or crashes; CCSD stops in Global Arrays with a wrong dimension.
Where exactly all occupied or all virtual orbitals are frozen, TCE and MP2 end well with the energy of Hartree-Fock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from qmrunner.engines.nwchem.input.asked import Asked
from qmrunner.engines.nwchem.output.tasks import Record
from qmrunner.engines.signatures import Finding
from qmrunner.model.jobs import Evidence

# Printed by HF, and by TCE, which has spin orbitals.
_COUNT = re.compile(
    r"^\s+(closed shells|open shells|alpha electrons|beta *electrons|functions|Alpha electrons|Beta electrons"
    r"|Alpha orbitals|(?:Alpha|Beta) frozen (?:cores|virtuals))\s*[:=]\s*(\d{1,9})\s*$"
)
_REMEDY = (
    "The deck freezes {frozen} {kind} orbitals, and the molecule has {there} of them: give a smaller number in the"
    " `freeze` line of the {block} block, or `freeze atomic`."
)
_NO_CORRELATION = (
    "task {number}, `{title}`: {method} adds nothing to the energy of HF, because the `freeze` line of the {block}"
    " block leaves no electrons, or no orbitals, to correlate"
)
# TCE sums the same energy in another order: 3e-10 hartree were seen.
_SAME_HARTREE = 2e-9


def named(record: Record, levels: Mapping[str, float]) -> tuple[Record, str | None]:
    """A task whose frozen orbitals leave the energy of HF under the name of a correlated method: as HF, with a note.

    `levels` are the energies (hartree) of the task by level of theory.
    """
    energy, reference, asked = record.energy, levels.get("HF"), record.asked
    if energy is None or reference is None or not asked.freezes or energy.of == "HF" or energy.root is not None:
        return record, None
    if energy.of not in levels or abs(energy.hartree - reference) > _SAME_HARTREE:
        return record, None
    note = _NO_CORRELATION.format(number=record.number, title=asked.title, method=energy.of, block=asked.block)
    return replace(record, energy=replace(energy, of="HF")), note


class Orbitals:
    """Reads the numbers of orbitals that were printed last (a `read.Reader`)."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def feed(self, line: str, number: int) -> None:
        """One line of the log and its number, from 1."""
        if (":" in line or "=" in line) and (match := _COUNT.match(line)):
            if match[1] in ("functions", "Alpha electrons"):
                self._counts = {}  # each of them heads a list of another calculation
            self._counts[" ".join(match[1].lower().split())] = int(match[2])

    def refused(self, asked: Asked, evidence: Evidence) -> Finding | None:
        """The cause of an abort or a crash in this task if it froze too many orbitals; else None."""
        counts, (core, virtual) = self._counts, asked.frozen
        core = max(core, counts.get("alpha frozen cores", 0), counts.get("beta frozen cores", 0))
        virtual = max(virtual, counts.get("alpha frozen virtuals", 0), counts.get("beta frozen virtuals", 0))
        if asked.block is None or not (core or virtual):
            return None
        closed = counts.get("closed shells", counts.get("beta electrons"))
        functions = counts.get("functions", counts.get("alpha orbitals"))
        if closed is None or functions is None:
            return None
        highest = max(closed + counts.get("open shells", 0), counts.get("alpha electrons", 0))
        for frozen, kind, there in ((core, "core", closed), (virtual, "virtual", functions - highest)):
            if frozen >= max(there, 1):
                remedy = _REMEDY.format(frozen=frozen, kind=kind, there=there, block=asked.block)
                return Finding("input_error", "permanent", evidence, remedy)
        return None
