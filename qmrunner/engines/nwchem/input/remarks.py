"""Parts of a user's deck that had no effect although the run succeeded, as far as that is known."""

from __future__ import annotations

from qmrunner.engines.nwchem.input import user_deck

_MOST_NOTES = 10
# NWChem 7.0.2, seen in runs that succeeded.
_LEFT_OUT = (
    (
        "solvname_long:  unknown",
        "NWChem does not know the name after `solvent` in the cosmo block, and used the dielectric constant given"
        " there, or that of water",
    ),
    (
        "Indirect spin-spin coupling not calculated for",
        "NWChem computed no spin-spin couplings: it supports them only for closed shells in unrestricted orbitals"
        " (`scf; uhf; singlet; end`, or `odft` in the dft block)",
    ),
    (
        "spin multiplicity value not found; ignoring option",
        "NWChem could not read the number after `mult` in the dft block, and used a singlet",
    ),
)


class Remarks:
    """Messages of NWChem about input that it ignores before it continues."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def feed(self, line: str, number: int) -> None:
        note = next((note for printed, note in _LEFT_OUT if printed in line), None)
        if note is not None and note not in self.notes:
            self.notes.append(note)


def made_no_difference(text: str | None, remarks: Remarks) -> list[str]:
    """Notes: NWChem's messages, and the directives of the deck `text` after its last task."""
    # An included file may contain tasks.
    behind = user_deck.unused(text) if text is not None and not user_deck.includes_files(text) else ()
    notes = [f"line {line} of the deck comes after the last task, and has no effect: {what}" for line, what in behind]
    return [*remarks.notes, *notes[:_MOST_NOTES]]
