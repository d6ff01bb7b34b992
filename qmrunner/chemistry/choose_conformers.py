"""Selects the conformers to keep, with a reason for each dropped one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qmrunner.chemistry import average, duplicates, topology
from qmrunner.chemistry.molecule import Point
from qmrunner.model.units import KCAL_PER_HARTREE

# Two structures closer than this are the same conformer.
SAME_ANGSTROM = 0.2
_OTHER = "it became another molecule"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A structure that may be kept: energy in hartree, coordinates in angstrom."""

    id: str
    energy_hartree: float
    coordinates: tuple[Point, ...]


def choose(
    candidates: Sequence[Candidate],
    symbols: Sequence[str],
    bonds: Sequence[tuple[int, int]],
    *,
    window_kcal: float,
    most: int | None,
    temperature_k: float,
    refused: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """One row for each candidate, lowest energy first: `id`, `energy_hartree`, `relative_kcal_mol`, `weight`,
    `degeneracy`, `state` (``kept`` or ``dropped``) and `reason`.

    The reasons, in this order: its id is `refused` because of its bonds (see `reacted`); its energy is outside the
    window above the lowest; it is the same as a lower one; there are more than `most`. A mirror image is the same
    conformer of a molecule without stereocentres; it counts as `degeneracy` 2 in the weight. The result does not depend
    on the order of the candidates.
    """
    comparer = duplicates.Comparer(symbols, bonds, mirrors=not duplicates.has_stereocentres(symbols, bonds))
    # Rounded: the order of two equal conformers must not depend on the last digits of a restarted calculation.
    order = sorted(candidates, key=lambda candidate: (round(candidate.energy_hartree, 6), candidate.id))
    other = {name: f"{_OTHER}: {text}" for name, text in (refused or {}).items()}
    order = [
        *(candidate for candidate in order if candidate.id not in other),
        *(candidate for candidate in order if candidate.id in other),
    ]
    kept: list[Candidate] = []
    rows = []
    for candidate in order:
        above = (candidate.energy_hartree - order[0].energy_hartree) * KCAL_PER_HARTREE
        reason = other.get(candidate.id) or _why_not(candidate, above, kept, comparer, window_kcal, most)
        if reason is None:
            kept.append(candidate)
        rows.append(_row(candidate, above, reason, comparer))
    _weigh([row for row in rows if row["state"] == "kept"], temperature_k)
    return rows


def reacted(
    candidates: Sequence[Candidate],
    symbols: Sequence[str],
    bonds: Sequence[tuple[int, int]],
    unclear: Sequence[tuple[int, int]] = (),
) -> dict[str, str]:
    """The changes, by id, of candidates that became another molecule (see `topology`)."""
    found = {candidate.id: topology.compare(symbols, bonds, candidate.coordinates, unclear) for candidate in candidates}
    return {name: topology.described(change, symbols, bonds) for name, change in found.items() if change}


def _why_not(
    candidate: Candidate,
    above: float,
    kept: Sequence[Candidate],
    comparer: duplicates.Comparer,
    window: float,
    most: int | None,
) -> str | None:
    if above > window:
        return f"{above:.2f} kcal/mol above the lowest, outside the window of {window:g}"
    for other in kept:
        distance = comparer.distance(candidate.coordinates, other.coordinates)
        if distance < SAME_ANGSTROM:
            return f"the same as {other.id} (RMSD {distance:.3f} Å, limit {SAME_ANGSTROM:g})"
    if most is not None and len(kept) >= most:
        return f"more than the {most} lowest (--max-conformers)"
    return None


def _row(candidate: Candidate, above: float, reason: str | None, comparer: duplicates.Comparer) -> dict[str, Any]:
    twofold = comparer.mirrors and not comparer.is_own_mirror(candidate.coordinates, SAME_ANGSTROM)
    return {
        "id": candidate.id,
        "energy_hartree": candidate.energy_hartree,
        "relative_kcal_mol": round(above, 4),
        "weight": None,
        "degeneracy": 2 if twofold else 1,
        "state": "kept" if reason is None else "dropped",
        "reason": reason,
    }


def _weigh(rows: Sequence[dict[str, Any]], temperature_k: float) -> None:
    weights = average.boltzmann_weights(
        [row["energy_hartree"] for row in rows], temperature_k, [row["degeneracy"] for row in rows]
    )
    for row, weight in zip(rows, weights, strict=True):
        row["weight"] = float(weight)


def ensemble_xyz(
    rows: Sequence[Mapping[str, Any]], symbols: Sequence[str], coordinates: Mapping[str, Sequence[Point]]
) -> str:
    """The kept conformers as concatenated XYZ, in the order of `rows`; the comment has energy and weight."""
    from qmrunner.chemistry.xyz import write_xyz

    return "".join(
        write_xyz(
            symbols,
            coordinates[row["id"]],
            f"{row['energy_hartree']:.10f} {row['id']} weight {row['weight']:.6f} degeneracy {row['degeneracy']}",
        )
        for row in rows
        if row["state"] == "kept"
    )
