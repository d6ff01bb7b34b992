"""RDKit molecules for users of results: bonds as submitted, the kept conformers, and the shifts on the atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qmrunner.chemistry import graphs
from qmrunner.chemistry.xyz import write_xyz
from qmrunner.errors import UsageError

Points = Sequence[Sequence[float]]


def annotated(
    smiles: str | None,
    block: str | None,
    symbols: Sequence[str],
    charge: int,
    conformers: Mapping[str, Points],
    shifts: Sequence[Mapping[str, Any]],
) -> Any:
    """The molecule of a result, atom N of qmrunner at index N - 1, with every hydrogen.

    Bonds come from the SMILES as submitted, else from a MOL block, else from the first of `conformers` (coordinates in
    ångström by id). Each conformer has a text property `id`. Atoms have `shift_ppm`, `shielding_ppm`, `uncertainty_ppm`
    where known, and the shift as `atomNote`, which drawings show. Raises UsageError `bonds_unclear`.
    """
    chem = graphs.load_rdkit()
    if smiles is not None:
        mol = graphs.mol_from_smiles(smiles)
    elif block is not None:
        mol = chem.MolFromMolBlock(block, removeHs=False)
    else:
        mol = graphs.mol_from_points(symbols, next(iter(conformers.values())), charge)
    if [atom.GetSymbol() for atom in mol.GetAtoms()] != list(symbols):
        raise UsageError(
            "atoms_differ", "the atoms of the molecule are not those of the result", remedy="use `.atoms` or `.shifts`"
        )
    if conformers:
        mol = _placed(mol, conformers)
    for row in shifts:
        atom = mol.GetAtomWithIdx(row["atom"] - 1)
        for name in ("shift_ppm", "shielding_ppm", "uncertainty_ppm"):
            if row.get(name) is not None:
                atom.SetDoubleProp(name, float(row[name]))
        atom.SetProp("atomNote", f"{row['shift_ppm']:.{1 if row['nucleus'] == '13C' else 2}f}")
    return mol


def _placed(mol: Any, conformers: Mapping[str, Points]) -> Any:
    made = None
    for name, points in conformers.items():
        placed = graphs.at_points(mol, points)
        placed.GetConformer().SetProp("id", name)
        if made is None:
            made = placed
        else:
            made.AddConformer(placed.GetConformer(), assignId=True)
    return made


def mol_blocks(mol: Any) -> list[str]:
    """The MOL block of each three-dimensional conformer of a molecule, in its order of atoms; one if it has none."""
    chem = graphs.load_rdkit()
    placed = [conformer.GetId() for conformer in mol.GetConformers() if conformer.Is3D()]
    return [str(chem.MolToMolBlock(mol, confId=number)) for number in placed or [-1]]


def xyz_of(mol: Any) -> str:
    """XYZ of a molecule's first conformer, ångström. Raises UsageError `no_coordinates`, `hydrogens_missing`."""
    if not mol.GetNumConformers() or not mol.GetConformer().Is3D():
        raise UsageError(
            "no_coordinates", "this molecule has no three-dimensional conformer",
            remedy="embed it with RDKit's EmbedMolecule, after AddHs",
        )  # fmt: skip
    missing = [atom.GetIdx() + 1 for atom in mol.GetAtoms() if atom.GetTotalNumHs()]
    if missing:
        raise UsageError(
            "hydrogens_missing", f"{len(missing)} atoms of this molecule have hydrogens without coordinates",
            evidence=f"atoms {', '.join(map(str, missing[:8]))}", remedy="add them: Chem.AddHs(mol, addCoords=True)",
        )  # fmt: skip
    words = [f"{atom.GetIsotope() or ''}{atom.GetSymbol()}" for atom in mol.GetAtoms()]
    return write_xyz(words, mol.GetConformer().GetPositions().tolist())
