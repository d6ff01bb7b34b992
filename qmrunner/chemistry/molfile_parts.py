"""Parts of a MOL block that make another molecule of it, and that readers skip without a message."""

from __future__ import annotations

import re
from typing import Any

from qmrunner.chemistry.elements import NUMBERS
from qmrunner.errors import UsageError

# Abbreviations in labels: a drawing program writes `OMe` on a carbon, which is the only atom in the file.
_GROUPS = (
    "Boc", "Cbz", "Fmoc", "TBDMS", "TBS", "TMS", "TIPS", "EWG", "Alk", "Hal", "Me", "Et", "Pr", "Bu", "Ph", "Bn", "Bz",
    "Ac", "Ts", "Tf", "Ms", "Cy", "Ar", "Nu", "R", "X", "Q",
)  # fmt: skip
_PART = "|".join(sorted({*_GROUPS, *NUMBERS, "D", "T"}, key=len, reverse=True))
_CHEMICAL = re.compile(rf"(?:(?:i|t|n|s|sec|tert|iso)-?)?(?:(?:{_PART})(?:\d*[+-]?|')|[()=#-])+\d*")
_DESCRIPTOR = re.compile(r"\([RSEZrs]\)")
# Repeated units, monomers and copolymers; not abbreviations that are drawn in full, data and multiple groups.
_POLYMERS = frozenset({"SRU", "MON", "MER", "COP", "CRO", "MOD", "GRA", "ANY"})


def refuse(mol: Any, name: str) -> None:
    """Raise UsageError `invalid_structure` for a polymer, an attachment point, or a label that is another group than
    its atom. `mol` is the RDKit molecule of a MOL block as read."""
    from rdkit.Chem import GetMolSubstanceGroups

    for group in GetMolSubstanceGroups(mol):
        if group.GetProp("TYPE") in _POLYMERS:
            what = f"{name} is a polymer: it has a repeated unit or monomer"
            raise _refused(what, f"Sgroup {group.GetProp('TYPE')}", "draw one molecule, with its end groups")
    for atom in mol.GetAtoms():
        where = f"{name}: atom {atom.GetIdx() + 1} ({atom.GetSymbol()})"
        if atom.HasProp("molAttchpt"):
            remedy = "draw the group that is attached there, or remove the attachment point"
            raise _refused(f"{where} is an attachment point", f"ATTCHPT={atom.GetProp('molAttchpt')}", remedy)
        label = atom.GetProp("molFileAlias").strip() if atom.HasProp("molFileAlias") else ""
        if is_another_group(label, atom.GetSymbol()):
            remedy = "expand the labels in the editor that wrote the file, or correct them"
            raise _refused(f"{where} is labelled `{label[:20]}`, and labels are not read", label[:80], remedy)


def is_another_group(label: str, symbol: str) -> bool:
    """Whether a label is a group or element, but not that of an atom `symbol`, with or without hydrogens and a
    number."""
    own = re.escape(symbol)
    if re.fullmatch(rf"(?:{own}(?:H\d*)?|H\d*{own})(?:\d*[+-]?|\d*['a-z]?)", label) or _DESCRIPTOR.fullmatch(label):
        return False
    return _CHEMICAL.fullmatch(label) is not None


def _refused(message: str, evidence: str, remedy: str) -> UsageError:
    return UsageError("invalid_structure", message, evidence=evidence, remedy=remedy)
