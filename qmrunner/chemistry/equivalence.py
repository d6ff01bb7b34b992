"""Finds the atoms of a computed ensemble that share a signal, the atoms without a signal, and the notes for users."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qmrunner.chemistry import stiff, task_molecule
from qmrunner.chemistry.exchange import Frame, Groups
from qmrunner.chemistry.scaling import NUCLEI
from qmrunner.chemistry.step_results import Conformer

RULE = (
    "atoms that a symmetry of the computed structure exchanges; single bonds rotate, rings flip and nitrogen inverts; "
    "stereocentres, double bonds and amides are fixed"
)
# The mass number that gives the signal; an atom with another isotope in the input gives none.
_SEEN = {"H": 1, "C": 13}
_ISOTOPES = {("H", 2): "deuterium", ("H", 3): "tritium"}
_PROTON_HOLDERS = frozenset({"N", "O", "S"})
_MOST_NAMED = 12


@dataclass(frozen=True, slots=True)
class Equivalence:
    """`groups` of atoms with one signal, `silent` atoms without any. `images`: for each conformer the atom that
    corresponds to each atom of the lowest conformer: a search may swap the two hydrogens of a CH2.
    """

    groups: Groups
    silent: frozenset[int]
    images: tuple[Mapping[int, int], ...]
    notes: tuple[str, ...]


def settle(task: Mapping[str, Any], conformers: Sequence[Conformer], lowest: Conformer) -> Equivalence:
    """The equivalent atoms of a `shifts` task; see the module."""
    symbols = list(task["symbols"])
    isotopes = {int(number): int(mass) for number, mass in task.get("isotopes") or ()}
    frame = Frame(symbols, [(int(a), int(b)) for a, b in task["bonds"]], isotopes)
    mol, _ = task_molecule.drawable({**task, "atoms": symbols}, lowest.coordinates)
    slow = stiff.slow(mol)
    shapes = [frame.shape(np.asarray(conformer.coordinates), slow) for conformer in conformers]
    chosen = shapes[next(at for at, conformer in enumerate(conformers) if conformer.id == lowest.id)]
    images = [frame.onto(chosen, shape) for shape in shapes]
    silent = _silent(symbols, isotopes)
    notes = list(_isotope_notes(symbols, isotopes, silent))
    known = [image for image in images if image is not None]
    if len(known) < len(images):
        same = {number: number for number in frame.around}
        notes.append(
            "the conformers are not one stereoisomer if double bonds and amides are fixed: atoms that are "
            "bonded alike are averaged, and signals of slowly exchanging forms appear as one"
        )
        return Equivalence(frame.classes(), silent, (same,) * len(images), tuple(notes))
    groups = frame.groups(chosen)
    if apart := _named(symbols, frame.classes(), groups, silent):
        notes.append(
            f"separate signals, although bonded alike: {apart}. No fast motion exchanges them: they are "
            "diastereotopic, or on the two sides of a double bond or of an amide"
        )
    turned = frame.groups(frame.shape(np.asarray(lowest.coordinates), [*slow, *stiff.between(mol)]))
    if doubtful := _named(symbols, groups, turned, silent):
        notes.append(
            "averaged over a bond that turns neither fast nor slowly (C-N of a carbamate, urea, amidine or enaminone, "
            f"or one that resonance makes half a double bond): {doubtful}. "
            "In the cold they may be measured apart"
        )
    if mobile := _joined(symbols, frame.classes(), _tautomers(symbols, frame.around, isotopes), silent):
        notes.append(
            f"apart here, and exchanged by a proton that moves between two like places: {mobile}. In solution it "
            "mostly moves fast (azoles, enols of diketones): the measured signal is then one, at the average"
        )
    return Equivalence(groups, silent, tuple(known), tuple(notes))


def _tautomers(
    symbols: Sequence[str], around: Mapping[int, Sequence[int]], isotopes: Mapping[int, int]
) -> Iterator[Groups]:
    """The classes of atoms without one proton on N, O or S, for each such atom: where it may go to another atom and
    leave the same molecule, that makes atoms alike which are not with it."""
    holders = {around[atom][0]: atom for atom in around if symbols[atom - 1] == "H" and len(around[atom]) == 1}
    for holder, proton in sorted(holders.items()):
        if symbols[holder - 1] in _PROTON_HOLDERS:
            bonds = [(a, b) for a, others in around.items() for b in others if a < b and proton not in (a, b)]
            yield Frame(symbols, bonds, isotopes).classes()


def _joined(symbols: Sequence[str], apart: Groups, wholes: Iterator[Groups], silent: Collection[int]) -> str:
    """The groups of `apart` that one of `wholes` makes one, each once."""
    part_of = {atom: part for part in apart for atom in part}
    texts: list[str] = []
    for whole in wholes:
        for group in whole:
            parts = list(dict.fromkeys(part_of[atom] for atom in group))
            if len(parts) > 1 and symbols[group[0] - 1] in NUCLEI and group[0] not in silent:
                texts.append(" and ".join(_label(symbols, part) for part in parts))
    return "; ".join(list(dict.fromkeys(texts))[:_MOST_NAMED])


def _silent(symbols: Sequence[str], isotopes: Mapping[int, int]) -> frozenset[int]:
    return frozenset(number for number, mass in isotopes.items() if mass != _SEEN.get(symbols[number - 1], mass))


def _isotope_notes(symbols: Sequence[str], isotopes: Mapping[int, int], silent: Collection[int]) -> Iterator[str]:
    for symbol, mass in sorted({(symbols[number - 1], isotopes[number]) for number in silent}):
        atoms = [number for number in sorted(silent) if (symbols[number - 1], isotopes[number]) == (symbol, mass)]
        what = _ISOTOPES.get((symbol, mass), f"{symbol}-{mass}")
        yield f"no {NUCLEI[symbol]} signal from {_label(symbols, atoms)}: {what}"
    if isotopes:
        yield "structure and shieldings are computed without isotopes: isotope shifts are not included"


def _named(symbols: Sequence[str], coarse: Groups, fine: Groups, silent: Collection[int]) -> str:
    """The groups of `coarse` that `fine` divides, hydrogens of one carbon as one."""
    part_of = {atom: part for part in fine for atom in part}
    texts = []
    for group in coarse:
        parts = list(dict.fromkeys(part_of[atom] for atom in group))
        if len(parts) > 1 and symbols[group[0] - 1] in NUCLEI and group[0] not in silent:
            texts.append(" and ".join(_label(symbols, part) for part in parts))
    more = f" and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    return "; ".join(texts[:_MOST_NAMED]) + more


def _label(symbols: Sequence[str], atoms: Sequence[int]) -> str:
    return ",".join(f"{symbols[number - 1]}{number}" for number in atoms)
