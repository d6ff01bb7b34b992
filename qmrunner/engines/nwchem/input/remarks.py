"""Parts of a user's deck that had no effect although the run succeeded, as far as that is known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qmrunner.engines.nwchem.input import deck_rewrite
from qmrunner.engines.nwchem.input.asked import Asked

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
        "Hyperfine Interactions not calculated for RHF",
        "NWChem computed no hyperfine couplings: there are none in a closed shell",
    ),
    (
        "spin multiplicity value not found; ignoring option",
        "NWChem could not read the number after `mult` in the dft block, and used a singlet",
    ),
)
# NWChem 7.0.2 forgets there that the density is symmetric (CH3: -249, 21 and 16 MHz for its three hydrogens, -71 for
# each with `noautosym`; HF: a field gradient without its axis). Shieldings and g shifts came out the same both ways.
_WRONG_UNDER_SYMMETRY = (("Hyperfine Tensor (in au)", "hyperfine couplings"), ("EFG-tot", "electric field gradients"))
_WITHOUT_SYMMETRY = (
    "{what} with ZORA are left out of the result: NWChem computes them wrongly where it uses the symmetry of the"
    " molecule. Write `geometry noautosym`, and run the deck again"
)
_NO_G_SHIFT = (
    "NWChem computed no g shift: it has them for open shells with ZORA only (`relativistic; zora on; end`), and prints"
    " nothing without it"
)
_OTHER_ROOT = (
    "the gradients of `task {title}` are those of root {gradient}, and its energy is that of root {energy}: give"
    " `target {gradient}` in the tddft block beside `root {gradient}` in its grad block"
)
_NO_DISPERSION = (
    "`{line}` in the dft block has no effect: NWChem printed no dispersion correction. It knows `disp vdw 1` to"
    " `4`, and the functionals of its manual"
)
# NWChem 7.0.2 computes the orbitals of a ZORA shielding on a grid of the symmetric part of the molecule, without the
# symmetry (HBr: 1.4e-3 hartree above the energy without symmetry, and a dipole beside the axis).
_UNSYMMETRIC = (
    "with ZORA the orbitals of this property task lost the symmetry of the molecule: its energy and dipole are off (by"
    " 1e-6 hartree in water, 1e-3 in HBr), and equivalent atoms differ (0.01 ppm). Write `geometry noautosym` for exact"
    " ones"
)
_KEPT = re.compile(r"^\s*The (SCF|DFT) is already converged\b")
_MOST_KEPT = 10_000
_DISPERSION = re.compile(r"^\s+Dispersion (Parameters|correction)\b")
_NO_CC2 = "NWChem computes CCSD where `cc2` is asked for (7.0.2: the same energies and excitations to the last digit)"


class Remarks:
    """NWChem's messages about input that it ignores before it continues, and quantities that it computes wrongly."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        # Lines on which a module reports that it computes no orbitals, because those of a task before are converged.
        self.kept: list[tuple[int, str]] = []
        self._dispersion: set[str] = set()
        self._symmetric = False
        self._group = ""

    def feed(self, line: str, number: int) -> None:
        if "Use of symmetry is:" in line:
            self._symmetric = "is: on" in line
        elif line.startswith(" Group name "):
            self._group = line.split()[-1]
        elif "Dispersion " in line and (match := _DISPERSION.search(line)):
            self._dispersion.add(match[1])
        elif "already converged" in line and (match := _KEPT.match(line)) and len(self.kept) < _MOST_KEPT:
            self.kept.append((number, match[1]))
        note = next((note for printed, note in _LEFT_OUT if printed in line), None)
        if note is None and self._symmetric:
            what = next((what for printed, what in _WRONG_UNDER_SYMMETRY if printed in line), None)
            note = None if what is None else _WITHOUT_SYMMETRY.format(what=what)
        if "Scalar ZORA NMR Shielding" in line and self._group not in ("", "C1"):
            note = _UNSYMMETRIC
        if note is not None and note not in self.notes:
            self.notes.append(note)

    @property
    def without_dispersion(self) -> bool:
        """Whether NWChem announced a dispersion correction, and printed none in the whole run."""
        return self._dispersion == {"Parameters"}


def not_computed(asked: Asked, found: Mapping[str, Any], without_dispersion: bool = False) -> list[str]:
    """Notes: what a task asked for, and NWChem leaves out or replaces without a word."""
    notes = [_NO_G_SHIFT] if "gshift" in asked.properties and "g_shift_ppm" not in found else []
    if asked.gradient_roots and (set(asked.gradient_roots) != {asked.root}):
        other = next(root for root in asked.gradient_roots if root != asked.root)
        notes.append(_OTHER_ROOT.format(title=asked.title, gradient=other, energy=asked.root))
    if asked.dispersion and without_dispersion:
        notes.append(_NO_DISPERSION.format(line=asked.dispersion))
    return [*notes, _NO_CC2] if asked.method == "CC2" and "CC2" not in found.get("energies_hartree", {}) else notes


def made_no_difference(text: str | None, remarks: Remarks) -> list[str]:
    """Notes: NWChem's messages, and the directives of the deck `text` after its last task."""
    # An included file may contain tasks.
    behind = deck_rewrite.unused(text) if text is not None and not deck_rewrite.includes_files(text) else ()
    notes = [f"line {line} of the deck comes after the last task, and has no effect: {what}" for line, what in behind]
    return [*remarks.notes, *notes[:_MOST_NOTES]]
