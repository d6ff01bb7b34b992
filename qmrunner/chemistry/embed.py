"""Three-dimensional start structures: RDKit ETKDGv3, refined with MMFF94, or UFF where MMFF94 lacks parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qmrunner.chemistry.graphs import load_rdkit
from qmrunner.errors import JobFailedError

# An arbitrary fixed number; recorded with the result, so that the same input gives the same structure.
SEED = 20230324
_MAX_FORCE_FIELD_ITERATIONS = 5000
_FEW = 4
# Random start coordinates or not; with RDKit's rules for straight triple bonds and flat rings or without. A ring of
# eight with a triple bond, or a strained one of double bonds, breaks the rules.
_KINDS = ((False, True), (True, True), (False, False))


@dataclass(frozen=True, slots=True)
class Embedded:
    """One conformer: coordinates in angstrom, atoms in molecule order; `energy_kcal_mol` only compares conformers."""

    coordinates: tuple[tuple[float, float, float], ...]
    energy_kcal_mol: float | None
    converged: bool


def embed(
    mol: Any, candidates: int, seed: int = SEED, say: Callable[[float, str], None] = lambda fraction, text: None
) -> tuple[str, tuple[Embedded, ...]]:
    """The name of the force field and up to `candidates` conformers, lowest energy first.

    `mol` is an RDKit molecule with all hydrogens. Raises JobFailedError `embed_failed` when no structure fits.
    """
    load_rdkit()
    from rdkit import rdBase

    with rdBase.BlockLogs():
        say(0.1, f"embedding {candidates} candidates")
        ids = _place(mol, candidates, seed)
        say(0.5, f"refining {len(ids)} structures")
        field, outcomes = _refine(mol)
    found = []
    for conformer, (failed, energy) in zip(ids, outcomes, strict=True):
        points = tuple((float(x), float(y), float(z)) for x, y, z in mol.GetConformer(conformer).GetPositions())
        found.append(Embedded(points, None if field == "none" else float(energy), failed == 0))
    # Stable sort: equal energies keep the order of embedding, so the same seed gives the same answer.
    found.sort(key=lambda structure: 0.0 if structure.energy_kcal_mol is None else round(structure.energy_kcal_mol, 6))
    return field, tuple(found)


def _place(mol: Any, candidates: int, seed: int) -> list[int]:
    from rdkit.Chem import rdDistGeom

    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed
    parameters.numThreads = 1
    # Try a few first: if none can be placed, hundreds of attempts would only take minutes to fail.
    for random, straight in _KINDS:
        parameters.useRandomCoords, parameters.useBasicKnowledge = random, straight
        few = list(rdDistGeom.EmbedMultipleConfs(mol, min(candidates, _FEW), parameters))
        if few:
            break
    ids = list(rdDistGeom.EmbedMultipleConfs(mol, candidates, parameters)) if few else []
    if not ids:
        raise JobFailedError(
            "embed_failed",
            "RDKit found no three-dimensional structure for this molecule",
            evidence=f"{min(candidates, _FEW)} attempts in each of three ways",
            remedy="check stereochemistry and ring strain, or submit a three-dimensional XYZ, MOL or SDF file",
        )
    return ids


def _refine(mol: Any) -> tuple[str, list[tuple[int, float]]]:
    from rdkit.Chem import rdForceFieldHelpers as fields

    if fields.MMFFHasAllMoleculeParams(mol):
        return "MMFF94", list(fields.MMFFOptimizeMoleculeConfs(mol, numThreads=1, maxIters=_MAX_FORCE_FIELD_ITERATIONS))
    if fields.UFFHasAllMoleculeParams(mol):
        return "UFF", list(fields.UFFOptimizeMoleculeConfs(mol, numThreads=1, maxIters=_MAX_FORCE_FIELD_ITERATIONS))
    return "none", [(0, 0.0)] * mol.GetNumConformers()
