"""The kind of each carbon and hydrogen atom, from the bonds alone.

Shifts of one kind have similar errors (docs/explanation/science.md).
"""

from __future__ import annotations

from typing import Any

EXCHANGEABLE = "on N, O or S"
HEAVY_HALOGENS = "on heavy halogens"
KINDS = (
    "alkyl",
    "quaternary",
    "sp3 on N or O",
    "alkene",
    "C=N",
    "aromatic",
    "ketone or aldehyde",
    "acid derivative",
    "alkyne",
    "nitrile",
    "cumulated",
    "small ring",
    "on F",
    "on a heavy atom",
    HEAVY_HALOGENS,
    "ion",
    "other",
)
_SMALL_RINGS = (3, 4)
_NEON, _ARGON = 10, 18
_ORGANIC = frozenset({"H", "C", "N", "O"})


def kinds(mol: Any) -> dict[int, str]:
    """The kind of every carbon and hydrogen by its number from 1; `mol` has all hydrogens and bond orders.

    A hydrogen on carbon has the kind of its carbon; on N, O and S it is `EXCHANGEABLE`, elsewhere ``other``. All other
    atoms of a charged molecule have the kind ``ion``. `HEAVY_HALOGENS`: on bromine, selenium, a transition
    metal or another element beyond argon, or on several chlorines.
    """
    charged = sum(atom.GetFormalCharge() for atom in mol.GetAtoms()) != 0
    carbons = {atom.GetIdx(): _carbon(atom) for atom in mol.GetAtoms() if atom.GetSymbol() == "C"}
    found = {}
    for atom in mol.GetAtoms():
        if atom.GetSymbol() in ("C", "H"):
            kind = carbons.get(atom.GetIdx()) or _hydrogen(atom, carbons)
            found[atom.GetIdx() + 1] = "ion" if charged and kind != EXCHANGEABLE else kind
    return found


def heavy_neighbours(mol: Any) -> list[str]:
    """What makes carbons `HEAVY_HALOGENS`: element symbols, and `several Cl`."""
    found: set[str] = set()
    for atom in mol.GetAtoms():
        around = [other.GetSymbol() for other in atom.GetNeighbors()] if atom.GetSymbol() == "C" else []
        found |= {other.GetSymbol() for other in atom.GetNeighbors() if around and other.GetAtomicNum() > _ARGON}
        found |= {"several Cl"} if around.count("Cl") > 1 else set()
    return sorted(found)


def _hydrogen(atom: Any, carbons: dict[int, str]) -> str:
    around = atom.GetNeighbors()
    if any(other.GetSymbol() in ("N", "O", "S") for other in around):
        return EXCHANGEABLE
    return next((carbons[other.GetIdx()] for other in around if other.GetIdx() in carbons), "other")


def _carbon(atom: Any) -> str:
    around = {other.GetSymbol() for other in atom.GetNeighbors()}
    if atom.GetFormalCharge() or atom.GetNumRadicalElectrons():
        return "other"
    heavy = [other for other in atom.GetNeighbors() if other.GetAtomicNum() > _NEON]
    if any(other.GetAtomicNum() > _ARGON for other in heavy) or sum(other.GetSymbol() == "Cl" for other in heavy) > 1:
        return HEAVY_HALOGENS
    if heavy:
        return "on a heavy atom"
    if not around <= _ORGANIC:
        return "on F" if around <= _ORGANIC | {"F"} else "other"
    rings = atom.GetOwningMol().GetRingInfo()
    if any(rings.IsAtomInRingOfSize(atom.GetIdx(), size) for size in _SMALL_RINGS):
        return "small ring"
    return _unsaturated(atom) or (
        "sp3 on N or O" if around & {"N", "O"} else "alkyl" if "H" in around else "quaternary"
    )


def _unsaturated(atom: Any) -> str | None:
    """The kind by its multiple bonds; None without any."""
    partners = [(bond.GetBondTypeAsDouble(), bond.GetOtherAtom(atom).GetSymbol()) for bond in atom.GetBonds()]
    triple = [symbol for order, symbol in partners if order == 3]
    double = [symbol for order, symbol in partners if order == 2]
    if triple:
        return {"C": "alkyne", "N": "nitrile"}.get(triple[0], "other")
    if len(double) > 1:
        return "cumulated"
    if double == ["O"]:
        beside = [symbol for order, symbol in partners if order < 2 and symbol in ("N", "O")]
        return "acid derivative" if beside else "ketone or aldehyde"
    if atom.GetIsAromatic():
        return "aromatic"
    return {"C": "alkene", "N": "C=N"}.get(double[0], "other") if double else None
