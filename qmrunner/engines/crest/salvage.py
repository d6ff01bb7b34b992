"""Salvaging an interrupted search: the next attempt uses the ensembles of its completed iterations.

Read in the sources of CREST 2.12 and 3.0.2. Within an iteration `crest_rotamers_N.xyz` holds structures that are
optimised only crudely, or are raw snapshots of dynamics; when the iteration is complete, its sorted ensemble is renamed
to `.cre_K.xyz` and its sorting log to `cregen_K.tmp`. After the last iteration CREST merges all `.cre_K.xyz` into
`crest_rotamers_N.xyz` and removes them. CREST's own merge is what a salvage does: all iterations in one file, sorted by
``--cregen``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from qmrunner import untrusted
from qmrunner.engines.crest.read import ENSEMBLE_BYTES, BrokenEnsembleError, Conformer, read_ensemble

MARKER = "salvage.json"
INPUT = "salvaged_iterations.xyz"
# A salvage that was killed is retried once; one that failed is not.
_TRIES = 2
_ITERATION = re.compile(r"\.cre_(\d+)\.xyz")
_SORTED = re.compile(r"crest_rotamers_(\d+)\.xyz")
_COMPLETED = re.compile(r"cregen_(\d+)\.tmp")
_UNIQUE = "crest_conformers.xyz"


@dataclass(frozen=True, slots=True)
class Marker:
    """The record of a salvaging attempt in its directory: `iterations` are those that were complete, and `merged`
    is whether CREST had merged them, so that its crossing may have added structures."""

    iterations: int
    structures: int
    tries: int = 1
    failed: bool = False
    merged: bool = False

    def text(self) -> str:
        return json.dumps(asdict(self)) + "\n"

    @property
    def spent(self) -> bool:
        """Whether it must not be retried."""
        return self.failed or self.tries >= _TRIES

    @property
    def sentence(self) -> str:
        """A sentence about the ensemble: its origin, and what is missing."""
        count = f"{self.iterations} metadynamics iteration{'s' if self.iterations != 1 else ''}"
        return (
            f"partial ensemble: the search was cut short, and its {count} completed by then ({self.structures} "
            f"structures) were sorted by crest --cregen; {self._lacks} is missing"
        )

    @property
    def _lacks(self) -> str:
        if self.merged:
            return "the final optimisation, and the crossing where it was not done by then,"
        return "what would have followed (further iterations, crossing, final optimisation)"


@dataclass(frozen=True, slots=True)
class Salvage:
    """Ensembles to resume from: one file for all, and the marker of the attempt that does."""

    text: str
    symbols: tuple[str, ...]
    marker: Marker
    source: str


def checkpoint_files(directory: Path) -> tuple[str, ...]:
    """Names of the ensembles in `directory` from which a later attempt can resume; after the merge also the logs that
    show how many iterations were complete; for a salvage, the ensembles that it sorted.
    """
    if read_marker(directory) is not None:
        return tuple(name for name in (MARKER, INPUT) if untrusted.is_file(directory / name))
    names = _completed(directory)[0]
    merged = bool(names) and not _ITERATION.fullmatch(names[0])
    return (*names, *_numbered(directory, _COMPLETED)) if merged else names


def read_marker(directory: Path) -> Marker | None:
    """The marker of an attempt that salvaged; None for a search."""
    try:
        return Marker(**untrusted.read_json(directory / MARKER))
    except (FileNotFoundError, untrusted.Refused, ValueError, TypeError):
        return None


def give_up(directory: Path, marker: Marker) -> None:
    """Prevent later attempts from salvaging again what failed in `directory`. Raises OSError."""
    spent = replace(marker, failed=True)
    untrusted.write_text(directory / MARKER, spent.text())


def find(previous: Path) -> Salvage | None:
    """The ensembles that can be salvaged from the attempt in `previous`; None when none is complete or salvaging was
    tried often enough."""
    marker = read_marker(previous)
    if marker is not None:
        found = None if marker.spent else _whole(previous, INPUT)
        if found is None:
            return None
        again = replace(marker, tries=marker.tries + 1)
        return Salvage(untrusted.read_text(previous / INPUT, ENSEMBLE_BYTES), found[0].symbols, again, INPUT)
    names, iterations, structures = _completed(previous)
    if not names:
        return None
    symbols = read_ensemble(previous / names[0])[0].symbols
    text = "".join(_ended(untrusted.read_text(previous / name, ENSEMBLE_BYTES)) for name in names)
    merged = not _ITERATION.fullmatch(names[0])
    return Salvage(text, symbols, Marker(iterations, structures, merged=merged), ", ".join(names))


def foreign_energy(conformers: Sequence[Conformer], directory: Path) -> float | None:
    """An energy (Hartree) among `conformers` that no salvaged structure has; CREST invents one when it rejects all."""
    known = {round(conformer.energy_hartree, 5) for conformer in read_ensemble(directory / INPUT)}
    near = {round(energy + step, 5) for energy in known for step in (-1e-5, 0.0, 1e-5)}
    return next(
        (conformer.energy_hartree for conformer in conformers if round(conformer.energy_hartree, 5) not in near), None
    )


def _completed(directory: Path) -> tuple[tuple[str, ...], int, int]:
    """Names of the files that together hold all completed iterations, how many those are, and their structures."""
    saved = _numbered(directory, _ITERATION)
    counted = len(_numbered(directory, _COMPLETED))
    if saved:
        whole = [(name, found) for name in saved if (found := _whole(directory, name))]
        alike = [(name, found) for name, found in whole if found[0].symbols == whole[0][1][0].symbols]
        names = tuple(name for name, _ in alike)
        lost = len(saved) - len(names)
        return names, max(len(saved), counted) - lost, sum(len(found) for _, found in alike)
    if not counted:
        return (), 0, 0  # in the first iteration: its structures are not fully optimised
    for name in (*reversed(_numbered(directory, _SORTED)), _UNIQUE):
        found = _whole(directory, name)
        # Snapshots of dynamics are appended to the sorted ensemble, and follow its highest energy out of order.
        if found and (energies := [conformer.energy_hartree for conformer in found]) == sorted(energies):
            return (name,), counted, len(found)
    return (), 0, 0


def _numbered(directory: Path, pattern: re.Pattern[str]) -> list[str]:
    """Names of the files that match `pattern`, by number."""
    hits = [(int(hit[1]), path) for path in directory.iterdir() if (hit := pattern.fullmatch(path.name))]
    return [path.name for _, path in sorted(hits) if untrusted.is_file(path)]


def _whole(directory: Path, name: str) -> tuple[Conformer, ...] | None:
    try:
        found = read_ensemble(directory / name)
    except BrokenEnsembleError:
        return None
    return found if all(conformer.symbols == found[0].symbols for conformer in found) else None


def _ended(text: str) -> str:
    return text.rstrip() + "\n"
