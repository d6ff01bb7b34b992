"""RDKit molecules from SMILES and MOL blocks, with every hydrogen and in input order. RDKit is loaded when called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from qmrunner.chemistry import atom_numbers, molfile_parts
from qmrunner.chemistry.molecule import Molecule
from qmrunner.errors import NotReadyError, UsageError

# rdDetermineBonds tries bond orders one by one; beyond this it would take minutes for a SMILES that is only a label.
_BOND_ORDER_ATOMS = 60
_BOND_ORDER_TRIALS = 2000
# A record may begin with an empty line, its title: the pattern consumes only the end of this line.
_COMMA_ROW = re.compile(r"^(M  V30 +\d+ +\S+ ++)?( *+-?\d++,\d++){2}")
_WITHOUT_ORDER = frozenset({"ZERO", "UNSPECIFIED", "OTHER", "HYDROGEN", "IONIC"})
# Fields of a CXSMILES extension that change the molecule: radicals, coordinate and hydrogen bonds, attachment points,
# repeated units, ligand orders and links, query labels.
_CHANGES_MOLECULE = re.compile(r"\^\d|(^|,)(C|H|m|LN|RG|LO|Sg|SgH|u|s|rb):|\$[^$]*(_R\d|_AP|star|Q_e|[AMX]H?_p)[^$]*\$")
_CORRECT = (
    "check brackets, ring numbers and valences; put it in quotes for the shell; "
    "a file is recognised by its ending .xyz, .mol or .sdf"
)
_NO_NAMES = "names, formulas and CAS numbers are not looked up: give the SMILES, which PubChem and editors show"
_FORMULA = re.compile(r"(?:[A-Z][a-z]?\d{0,3}){2,20}")
_RECORD_END = re.compile(r"^\$\$\$\$.*\n?", re.MULTILINE)


def load_rdkit() -> Any:
    """The module rdkit.Chem. Raises NotReadyError `rdkit_missing` when it is not installed."""
    try:
        from rdkit import Chem
    except ImportError as error:
        raise NotReadyError(
            "rdkit_missing",
            "RDKit is not installed, and this input needs it",
            evidence=str(error),
            remedy="install the extra: pip install 'qmrunner[nmr]'",
        ) from None
    return Chem


def mol_from_smiles(smiles: str) -> Any:
    """The RDKit molecule of a SMILES: heavy atoms in the order written, then the hydrogens that were not.

    Raises UsageError `empty_smiles`, `number_too_large`, `invalid_smiles` (with RDKit's reason) or `unknown_element` (a
    wildcard).
    """
    chem = load_rdkit()
    words = smiles.split()
    if not words:
        raise UsageError("empty_smiles", "the SMILES is empty", remedy="give a SMILES such as CCO, or a file")
    _refuse_extension(words[1:])
    atom_numbers.check_smiles(words[0])
    from rdkit import rdBase

    with rdBase.BlockLogs():
        parameters = chem.SmilesParserParams()
        parameters.removeHs = False
        mol = chem.MolFromSmiles(words[0], parameters)
    if mol is None:
        raise UsageError(
            "invalid_smiles",
            f"{words[0]!r} is not a valid SMILES",
            evidence=_smiles_reason(chem, words[0]),
            remedy=_NO_NAMES if _is_a_name(words[0]) else _CORRECT,
        )
    _refuse_wildcards(mol, words[0])
    _refuse_bonds_without_order(mol, "invalid_smiles", words[0])
    return chem.AddHs(mol)


def _refuse_extension(words: Sequence[str]) -> None:
    """What follows a SMILES is a title, or an extension between bars (CXSMILES), of which stereo groups, coordinates
    and labels change nothing here."""
    text = " ".join(words)
    if text.startswith("|") and _CHANGES_MOLECULE.search(text.strip("|")):
        raise UsageError(
            "invalid_smiles",
            "the extension behind the SMILES changes the molecule, and it is not read",
            evidence=text[:80],
            remedy="write radicals and bonds into the SMILES itself, as in C[CH2], or submit a MOL file",
        )


def _is_a_name(word: str) -> bool:
    """Whether a word that is no SMILES looks like a name (`ethanol`), a sum formula (`C2H6O`) or a CAS number."""
    if re.fullmatch(r"\d{2,7}-\d\d-\d", word) or _is_a_formula(word):
        return True
    # Lower-case letters stand alone in a SMILES, but for aromatic atoms.
    return any(not set(run) <= set("bcnops") for run in re.findall(r"[a-z]{4,}", word))


def _is_a_formula(word: str) -> bool:
    """Whether a word looks like a sum formula, and not like a SMILES with an open ring (`C1CC`): it has hydrogen, which
    no SMILES has outside brackets, or each element once and no count of one."""
    if not _FORMULA.fullmatch(word):
        return False
    elements, counts = re.findall(r"[A-Z][a-z]?", word), re.findall(r"\d+", word)
    return bool(counts) and ("H" in elements or (len({*elements}) == len(elements) and "1" not in counts))


def _smiles_reason(chem: Any, smiles: str) -> str:
    from rdkit import rdBase

    with rdBase.CaptureErrorLog() as log:
        mol = chem.MolFromSmiles(smiles, sanitize=False)
    if mol is not None:
        with rdBase.BlockLogs():
            problems = chem.DetectChemistryProblems(mol)
        return "; ".join(problem.Message() for problem in problems) or "RDKit refuses it"
    # RDKit prints "[time] SMILES Parse Error: check for mistakes around position 4:" among other lines.
    position = re.search(r"around position \d+", log.messages)
    return f"mistake {position[0]}: {smiles}" if position else "the SMILES grammar does not allow it"


def _refuse_wildcards(mol: Any, where: str) -> None:
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() == 0:
            raise UsageError(
                "unknown_element",
                f"atom {atom.GetIdx() + 1} is a wildcard or query, not a chemical element",
                evidence=where,
                remedy="write a real atom in its place",
            )


def _refuse_bonds_without_order(mol: Any, code: str, where: str) -> None:
    """Such a bond counts nothing, and hydrogens would be added in its place."""
    for bond in mol.GetBonds():
        if str(bond.GetBondType()) in _WITHOUT_ORDER or bond.HasQuery():
            first, second = bond.GetBeginAtomIdx() + 1, bond.GetEndAtomIdx() + 1
            raise UsageError(
                code,
                f"{where}: the bond of atoms {first} and {second} has no definite order (zero, any, hydrogen bond)",
                evidence=f"atoms {first} and {second}",
                remedy="write single, double, triple, aromatic or dative bonds, or submit an XYZ file with --charge",
            )


def mols_from_molfile(text: str, name: str) -> tuple[Any, ...]:
    """The RDKit molecules of a MOL or SDF text: atoms in file order, then the hydrogens that the file left out.

    Added hydrogens get positions when the file is three-dimensional. Raises UsageError `empty_file`,
    `decimal_comma`, `number_too_large`, `unreadable_structure`, `invalid_structure` or `unknown_element`.
    """
    chem = load_rdkit()
    if not text.strip():
        raise UsageError("empty_file", f"{name} is empty", remedy="export the structure again as MOL or SDF")
    _refuse_decimal_commas(text, name)
    blocks = _RECORD_END.split(text.replace("\r\n", "\n"))
    return tuple(_mol_from_block(chem, block, name) for block in blocks if block.strip())


def _mol_from_block(chem: Any, block: str, name: str) -> Any:
    from rdkit import rdBase

    atom_numbers.check_block(block)
    with rdBase.BlockLogs():
        try:
            mol = chem.MolFromMolBlock(block, sanitize=False, removeHs=False, strictParsing=True)
        except RuntimeError:
            mol = None
        if mol is None or mol.GetNumAtoms() == 0:
            raise _unreadable(block, name)
        _refuse_wildcards(mol, name)
        _refuse_bonds_without_order(mol, "invalid_structure", name)
        molfile_parts.refuse(mol, name)
        problems = "; ".join(problem.Message() for problem in chem.DetectChemistryProblems(mol))
        if problems:
            raise UsageError(
                "invalid_structure",
                f"{name}: the bonds do not form a possible molecule",
                evidence=problems,
                remedy="correct valences and formal charges in the editor that wrote the file",
            )
        chem.SanitizeMol(mol)
        solid = mol.GetConformer().Is3D()
        if solid:
            chem.AssignStereochemistryFrom3D(mol)
        else:
            chem.AssignChiralTypesFromBondDirs(mol)
            chem.AssignStereochemistry(mol, cleanIt=True, force=True)
        return chem.AddHs(mol, addCoords=solid)


def _unreadable(block: str, name: str) -> UsageError:
    rows = block.split("\n")
    counts = rows[3].strip() if len(rows) > 3 else None
    return UsageError(
        "unreadable_structure",
        f"{name} is not a readable MOL or SDF block",
        evidence=block.strip()[:80] if counts is None else f"counts line: {counts!r}",
        remedy="export it again as MOL (V2000 or V3000); atom and bond counts must agree with the block",
    )


def _refuse_decimal_commas(text: str, name: str) -> None:
    """RDKit would misread such numbers without an error."""
    for number, row in enumerate(text.splitlines(), start=1):
        if _COMMA_ROW.match(row):
            raise UsageError(
                "decimal_comma",
                f"{name}: a decimal comma in line {number}",
                evidence=row.strip()[:80],
                remedy="write coordinates with a decimal point: 0.757, not 0,757",
            )


def molecule_from_mol(mol: Any, title: str = "") -> Molecule:
    """The `Molecule` of an RDKit molecule with all hydrogens; the multiplicity is 1."""
    chem = load_rdkit()
    solid = mol.GetNumConformers() > 0 and mol.GetConformer().Is3D()
    points = tuple((float(x), float(y), float(z)) for x, y, z in mol.GetConformer().GetPositions()) if solid else None
    from rdkit import rdBase

    with rdBase.BlockLogs():  # RDKit logs unbound hydrogen
        bare = chem.RemoveHs(mol)
    atoms = list(mol.GetAtoms())
    return Molecule(
        symbols=tuple(atom.GetSymbol() for atom in atoms),
        charge=chem.GetFormalCharge(mol),
        coordinates=points,
        smiles=chem.MolToSmiles(bare),
        bonds=_pairs(mol),
        radical_electrons=sum(atom.GetNumRadicalElectrons() for atom in atoms),
        title=title,
        isotopes=tuple((atom.GetIdx() + 1, atom.GetIsotope()) for atom in atoms if atom.GetIsotope()),
    )


def _pairs(mol: Any) -> tuple[tuple[int, int], ...]:
    ends = ((bond.GetBeginAtomIdx() + 1, bond.GetEndAtomIdx() + 1) for bond in mol.GetBonds())
    return tuple(sorted((min(a, b), max(a, b)) for a, b in ends))


def perceive_bonds(symbols: Sequence[str], coordinates: Sequence[Sequence[float]]) -> tuple[tuple[int, int], ...]:
    """The bonded atoms, from distances alone (RDKit connect-the-dots): pairs of atom numbers from 1."""
    load_rdkit()
    from rdkit.Chem import rdDetermineBonds

    mol = _bare_mol(symbols, coordinates)
    rdDetermineBonds.DetermineConnectivity(mol)
    return _pairs(mol)


def perceive_smiles(symbols: Sequence[str], coordinates: Sequence[Sequence[float]], charge: int) -> str | None:
    """The canonical SMILES of a structure in angstrom, or None when its bond orders are not clear."""
    chem = load_rdkit()
    from rdkit import rdBase
    from rdkit.Chem import rdDetermineBonds

    if len(symbols) > _BOND_ORDER_ATOMS:
        return None
    mol = _bare_mol(symbols, coordinates)
    with rdBase.BlockLogs():
        try:
            rdDetermineBonds.DetermineBonds(mol, charge=charge, maxIterations=_BOND_ORDER_TRIALS)
            return str(chem.MolToSmiles(chem.RemoveHs(mol)))
        except (ValueError, RuntimeError, TypeError):
            return None


def inchikey(smiles: str) -> str | None:
    """The standard InChIKey of a SMILES; None where InChI does not cover the molecule."""
    chem = load_rdkit()
    from rdkit import rdBase

    with rdBase.BlockLogs():
        mol = chem.MolFromSmiles(smiles)
        return None if mol is None else str(chem.MolToInchiKey(mol)) or None


def mol_from_points(symbols: Sequence[str], coordinates: Sequence[Sequence[float]], charge: int) -> Any:
    """The RDKit molecule of a structure in angstrom, with bond orders and stereochemistry from its geometry.

    Raises UsageError `bonds_unclear` when RDKit finds no bond orders that fit the charge.
    """
    chem = load_rdkit()
    from rdkit import rdBase
    from rdkit.Chem import rdDetermineBonds

    mol = _bare_mol(symbols, coordinates)
    with rdBase.BlockLogs():
        try:
            if len(symbols) > _BOND_ORDER_ATOMS:
                raise ValueError(f"more than {_BOND_ORDER_ATOMS} atoms")
            rdDetermineBonds.DetermineBonds(mol, charge=charge, maxIterations=_BOND_ORDER_TRIALS)
            chem.SanitizeMol(mol)
            chem.AssignStereochemistryFrom3D(mol)
        except (ValueError, RuntimeError, TypeError) as error:
            raise UsageError(
                "bonds_unclear",
                "the bond orders of this structure are not clear from its coordinates",
                evidence=" ".join(str(error).split())[:200],
                remedy="give a SMILES, or a MOL or SDF file with bonds; check --charge",
            ) from None
    return mol


def at_points(mol: Any, coordinates: Sequence[Sequence[float]]) -> Any:
    """A copy of an RDKit molecule with one conformer, at these coordinates in angstrom."""
    chem = load_rdkit()
    from rdkit.Geometry import Point3D

    copy = chem.Mol(mol)
    copy.RemoveAllConformers()
    conformer = chem.Conformer(copy.GetNumAtoms())
    conformer.Set3D(True)
    for index, (x, y, z) in enumerate(coordinates):
        conformer.SetAtomPosition(index, Point3D(float(x), float(y), float(z)))
    copy.AddConformer(conformer, assignId=True)
    return copy


def _bare_mol(symbols: Sequence[str], coordinates: Sequence[Sequence[float]]) -> Any:
    chem = load_rdkit()
    from rdkit.Geometry import Point3D

    mol = chem.RWMol()
    conformer = chem.Conformer(len(symbols))
    conformer.Set3D(True)
    for index, (symbol, (x, y, z)) in enumerate(zip(symbols, coordinates, strict=True)):
        atom = chem.Atom(symbol)
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
        conformer.SetAtomPosition(index, Point3D(float(x), float(y), float(z)))
    mol.AddConformer(conformer, assignId=True)
    return mol.GetMol()
