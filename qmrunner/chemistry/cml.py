"""Reader of Chemical Markup Language: one molecule with its atoms, bonds, charges and multiplicity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qmrunner.chemistry import cml_stereo
from qmrunner.chemistry.elements import atom
from qmrunner.chemistry.foreign_text import Frame
from qmrunner.chemistry.graphs import load_rdkit
from qmrunner.chemistry.molecule import check_range
from qmrunner.errors import UsageError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# RDKit wraps or raises its own errors beyond its C++ types, and draws thousands of atoms for minutes.
_MOST_DIGITS, _MOST_CHARGE, _MOST_FLAT = 6, 20, 1000
_ORDERS = {"1": "SINGLE", "s": "SINGLE", "2": "DOUBLE", "d": "DOUBLE", "3": "TRIPLE", "t": "TRIPLE", "a": "AROMATIC"}


def read(text: str, name: str) -> list[Frame] | tuple[str, int | None]:
    """The structure, or a MOL block and its multiplicity where the file has bonds. Coordinates are in ångström.

    Raises UsageError `unreadable_structure`, `unknown_element`, `several_structures`, `invalid_structure`.
    """
    molecule = _molecule(text, name)
    atoms = _rows(molecule, "atomArray", "atom", "atomID", name)
    if not atoms:
        raise _unreadable(name, "has no atoms", "an atomArray with atoms is needed")
    symbols = [_symbol(row, name) for row in atoms]
    ids = [row["id"] for row in atoms if "id" in row]
    if len(set(ids)) < len(ids):
        raise _unreadable(name, "has two atoms with one id", "give each atom its own id")
    charges = [_integer(row, "formalCharge", name) for row in atoms]
    whole = _integer(molecule.attrib, "formalCharge", name)
    charge = whole if all(value is None for value in charges) else sum(value or 0 for value in charges)
    if whole is not None and charge != whole:
        raise _unreadable(name, f"has charge {whole}, but its atoms add up to {charge}", "correct formalCharge")
    points = _points(atoms, ("x3", "y3", "z3"), name)
    bonds = _rows(molecule, "bondArray", "bond", "bondID", name)
    multiplicity = _integer(molecule.attrib, "spinMultiplicity", name)
    if bonds and (whole is None or whole == 0 or any(charges)):
        return _block(atoms, symbols, bonds, points, name), multiplicity
    if points is None:
        raise _unreadable(name, "has neither bonds nor three-dimensional coordinates", "export it with x3, y3, z3")
    isotopes = {n: mass for n, row in enumerate(atoms, 1) if (mass := _isotope(row, name))}
    return [Frame(tuple(symbols), points, charge, multiplicity, molecule.get("title", ""), isotopes)]


def _molecule(text: str, name: str) -> Element:
    import xml.etree.ElementTree as xml

    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise _unreadable(name, "has a document type, which is not read", "remove the line <!DOCTYPE …>")
    try:
        root = xml.fromstring(text)
    except (xml.ParseError, ValueError) as problem:
        raise _unreadable(name, f"is not XML: {problem}", "export the structure again") from None
    whole = [element for element in root.iter() if _local(element) == "molecule" and _child(element, "atomArray")]
    if not whole:
        raise _unreadable(name, "has no molecule with atoms", "an element <molecule> with an atomArray is needed")
    if len(whole) > 1:
        raise UsageError(
            "several_structures", f"{name} has {len(whole)} molecules", remedy="submit each in a separate file"
        )
    return whole[0]


def _local(element: Element) -> str:
    return str(element.tag).rsplit("}", 1)[-1]


def _child(element: Element, tag: str) -> list[Element]:
    return [child for child in element if _local(child) == tag]


_LISTS = (
    "x3", "y3", "z3", "formalCharge", "isotopeNumber", "isotope", "hydrogenCount", "atomRef1", "atomRef2", "order",
    "elementType",
)  # fmt: skip


def _rows(molecule: Element, array: str, tag: str, key: str, name: str) -> list[Mapping[str, str]]:
    """The attributes of each atom or bond: separate elements, or lists in the attributes of the array."""
    found: list[Mapping[str, str]] = []
    for group in _child(molecule, array):
        found += [_attributes(child, name) for child in _child(group, tag)]
        if not _child(group, tag) and (group.get("elementType") or group.get("atomRef1")):
            lists = {field: value.split() for field, value in group.attrib.items()}
            count = len(lists.get("elementType") or lists.get("atomRef1") or ())
            for field, words in lists.items():
                if len(words) != count and field in _LISTS:
                    raise _unreadable(name, f"has {len(words)} values of {field} for {count} in {array}", "correct it")
            lists = {field: words for field, words in lists.items() if len(words) == count}
            found += [{field: words[at] for field, words in lists.items()} for at in range(count)]
    names = {key: "id", "isotope": "isotopeNumber"}  # as Open Babel writes isotopes
    return [{names.get(field, field): value for field, value in row.items()} for row in found]


def _attributes(element: Element, name: str) -> dict[str, str]:
    """The attributes of an atom or bond, and its `bondStereo` or `atomParity` with the atoms they refer to."""
    found: dict[str, str] = dict(element.attrib)
    for child in element:
        if "builtin" in child.attrib:
            raise _unreadable(name, "is CML of version 1, which is not read", "export it as CML 2")
        if _local(child) in ("bondStereo", "atomParity"):
            found[_local(child)] = child.text or child.get("dictRef") or ""
            found["stereoRefs"] = child.get("atomRefs4") or ""
    return found


def _symbol(row: Mapping[str, str], name: str) -> str:
    word = row.get("elementType", "")
    known = atom(word)
    if known is None or not word.isalpha():
        raise UsageError(
            "unknown_element", f"{name}: {word!r} is not a chemical element", evidence=f"atom {row.get('id', '?')}",
            remedy="write the symbol of a real atom as elementType",
        )  # fmt: skip
    return known[0]


def _integer(fields: Mapping[str, str], key: str, name: str) -> int | None:
    value = fields.get(key)
    if value is None:
        return None
    try:
        found = int(value) if len(value) <= _MOST_DIGITS else None
    except ValueError:
        found = None
    if found is None or (key == "formalCharge" and "elementType" in fields and abs(found) > _MOST_CHARGE):
        raise _unreadable(name, f"has {key} {value[:20]!r}, which is no whole number of an atom", f"correct {key}")
    return found


def _isotope(row: Mapping[str, str], name: str) -> int | None:
    """The mass number of an atom, also of D and T."""
    named = atom(row["elementType"])
    mass = _integer(row, "isotopeNumber", name) or (named[1] if named else None)
    if mass is not None and not 0 < mass < 400:
        raise _unreadable(name, f"has isotopeNumber {mass}, which is no mass number", "correct isotopeNumber")
    return mass


def _points(
    atoms: Sequence[Mapping[str, str]], keys: tuple[str, ...], name: str
) -> list[tuple[float, float, float]] | None:
    having = [key in row for row in atoms for key in keys]
    if not any(having):
        return None
    if not all(having):
        raise _unreadable(name, "has atoms without x3, y3 and z3 beside atoms that have them", "export it again")
    try:
        points = [(float(row[keys[0]]), float(row[keys[1]]), float(row[keys[2]])) for row in atoms]
    except ValueError as problem:
        raise _unreadable(name, f"has a coordinate that is no number: {problem}", "export it again") from None
    check_range([point for point in points if all(map(math.isfinite, point))])
    return points


def _block(
    atoms: Sequence[Mapping[str, str]], symbols: Sequence[str], bonds: Sequence[Mapping[str, str]],
    points: Sequence[tuple[float, float, float]] | None, name: str,
) -> str:  # fmt: skip
    """The MOL block; flat, without a drawing, where the file has no three-dimensional coordinates."""
    chem = load_rdkit()
    from rdkit import rdBase
    from rdkit.Geometry import Point3D

    if points is None and len(atoms) > _MOST_FLAT:
        raise _unreadable(name, f"has {len(atoms)} atoms without coordinates", f"{_MOST_FLAT} are drawn at most")
    mol = chem.RWMol()
    for row, symbol in zip(atoms, symbols, strict=True):
        made = chem.Atom(symbol)
        made.SetFormalCharge(_integer(row, "formalCharge", name) or 0)
        made.SetIsotope(_isotope(row, name) or 0)
        made.SetNoImplicit(points is not None)
        mol.AddAtom(made)
    numbers = {row.get("id", str(at)): at for at, row in enumerate(atoms)}
    for row in bonds:
        _add_bond(chem, mol, row, numbers, name)
    if points is None:
        _fix_hydrogens(mol, atoms, name)
    else:
        conformer: Any = chem.Conformer(len(symbols))
        conformer.Set3D(True)
        for index, (x, y, z) in enumerate(points):
            conformer.SetAtomPosition(index, Point3D(x, y, z))
        mol.AddConformer(conformer)
    with rdBase.BlockLogs():
        problems = "; ".join(problem.Message() for problem in chem.DetectChemistryProblems(mol))
        if problems:
            raise UsageError(
                "invalid_structure", f"{name}: the bonds do not form a possible molecule", evidence=problems,
                remedy="correct valences and formal charges in the editor that wrote the file",
            )  # fmt: skip
        chem.SanitizeMol(mol)
        if points is None:
            cml_stereo.settle(mol, atoms, bonds, numbers)
        else:
            chem.AssignStereochemistryFrom3D(mol)
        return str(chem.MolToMolBlock(mol))


def _fix_hydrogens(mol: Any, atoms: Sequence[Mapping[str, str]], name: str) -> None:
    """Fix the number of hydrogens where the file counts them: those of its atoms are part of the count."""
    for made, row in zip(mol.GetAtoms(), atoms, strict=True):
        count = _integer(row, "hydrogenCount", name)
        if count is None:
            continue
        left = count - sum(other.GetAtomicNum() == 1 for other in made.GetNeighbors())
        if not 0 <= left <= _MOST_CHARGE:
            raise _unreadable(name, f"has hydrogenCount {count} beside other hydrogens", "correct hydrogenCount")
        made.SetNumExplicitHs(left)
        made.SetNoImplicit(True)


def _add_bond(chem: Any, mol: Any, row: Mapping[str, str], numbers: Mapping[str, int], name: str) -> None:
    ends = row.get("atomRefs2", f"{row.get('atomRef1', '')} {row.get('atomRef2', '')}").split()
    order = _ORDERS.get(row.get("order", "1").lower())
    if len(ends) != 2 or any(end not in numbers for end in ends) or ends[0] == ends[1] or order is None:
        raise _unreadable(name, f"has a bond that cannot be read: {dict(row)}"[:200], "correct atomRefs2 and order")
    try:
        mol.AddBond(numbers[ends[0]], numbers[ends[1]], getattr(chem.BondType, order))
    except RuntimeError:
        raise _unreadable(name, f"has a bond twice: {' '.join(ends)}", "remove one of them") from None
    if order == "AROMATIC":
        for end in ends:
            mol.GetAtomWithIdx(numbers[end]).SetIsAromatic(True)
        mol.GetBondBetweenAtoms(numbers[ends[0]], numbers[ends[1]]).SetIsAromatic(True)


def _unreadable(name: str, what: str, remedy: str) -> UsageError:
    return UsageError("unreadable_structure", f"{name} {what}", remedy=remedy)
