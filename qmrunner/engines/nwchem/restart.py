"""Finds the best point from which a new attempt can resume, among the files of an earlier attempt.

The ladder of an optimisation: run-time database with orbitals and Hessian; last geometry with orbitals; last geometry;
the step's own input. Snapshots are preferred to live files, which a kill may have truncated during a write, and every
file is checked before it is used. After two attempts in a row that resumed on a rung without progress the rung is
skipped, so that a file that only looks complete cannot block a step forever.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qmrunner import untrusted
from qmrunner.engines.nwchem.input.generated_deck import GUESS, PREFIX, Geometry, read_xyz
from qmrunner.engines.nwchem.output import rtdb
from qmrunner.errors import QmrunnerError

SNAPSHOTS = "checkpoint"  # next to the work folder
MARKER = "resumed.txt"
RESUME_XYZ = f"{PREFIX}-resume.xyz"
_RESPONSE = f"{PREFIX}.shieldcphf"
_MOST_RECORDS = 1_000_000  # orbitals of 10,000 functions have 20,000
_KEPT = ("db", "movecs", "drv.hess")
_TRIES_PER_RUNG = 2
_NUMBER = re.compile(r"(\d+)$")


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The point from which to resume. `rung`: ``restart``, ``geometry+vectors``, ``geometry``, ``response``,
    ``vectors`` or ``fresh``.

    `copies` maps names in the new attempt's directory to the files to copy.
    """

    rung: str
    copies: dict[str, Path]
    geometry: Geometry | None = None
    source: str | None = None
    tries: int = 1

    @property
    def marker(self) -> str:
        """The content of the new attempt's marker file: the rung and how often in a row it was tried."""
        return f"{self.rung} {self.tries}\n"


FRESH = ResumePoint("fresh", {})


def checkpoint_files(directory: Path) -> tuple[str, ...]:
    """Names of the files in `directory` from which a later attempt can resume; empty without orbitals."""
    prefix = _deck_prefix(directory)
    if prefix not in (None, PREFIX):
        names = [*(f"{prefix}.{ending}" for ending in _KEPT), MARKER]
        found = tuple(name for name in names if untrusted.is_file(directory / name))
        return found if f"{prefix}.movecs" in found and MARKER in found else ()
    movecs = directory / f"{PREFIX}.movecs"
    if not untrusted.is_file(movecs):
        return ()
    names = [f"{PREFIX}.{ending}" for ending in ("db", "movecs", "drv.hess", "shieldcphf")]
    xyz = _geometry_files(directory)
    names += [*(path.name for path in xyz[:1]), MARKER]
    return tuple(name for name in names if untrusted.is_file(directory / name))


def resume_optimisation(
    previous: Path | None, atoms: tuple[str, ...], orbitals: bool = True, database: bool = True
) -> ResumePoint:
    """The highest rung that `previous` offers for an optimisation of `atoms`; without `orbitals` only its last
    geometry, without `database` no restart from the database."""
    if previous is None:
        return FRESH
    spent = _spent(previous)
    places = list(_places(previous))
    for place in places:
        whole = database_ok(place / f"{PREFIX}.db") and records_ok(place / f"{PREFIX}.movecs")
        if whole and spent is None and orbitals and database:
            return _point("restart", _copies(place), None, place, previous)
    found = next(_geometries(places, atoms), None)
    if found is None:
        return FRESH
    path, geometry = found
    movecs = next((known for place in places if (known := _orbitals(place))), None) if orbitals else None
    copies = {RESUME_XYZ: path}
    if movecs is None or spent in ("geometry+vectors", "geometry"):
        return _point("geometry", copies, geometry, path, previous)
    return _point("geometry+vectors", copies | {GUESS: movecs}, geometry, path, previous)


def resume_shielding(previous: Path | None) -> ResumePoint:
    """The response solution with its orbitals, else converged or half converged orbitals, else nothing."""
    if previous is None or (spent := _spent(previous)) == "vectors":
        return FRESH
    places = [(place, movecs) for place in _places(previous) if (movecs := _orbitals(place))]
    for place, movecs in places:
        response = place / _RESPONSE
        if spent is None and records_ok(response):
            return _point("response", {GUESS: movecs, _RESPONSE: response}, None, place, previous)
    for place, movecs in places:
        return _point("vectors", {GUESS: movecs}, None, place, previous)
    return FRESH


def resume_deck(previous: Path | None) -> tuple[ResumePoint, tuple[str, ...]]:
    """The point from which a user's deck resumes, and the statements that it then begins with; none: it starts from the
    beginning."""
    if previous is None or _spent(previous) is not None:
        return FRESH, ()
    for place in _places(previous):
        prefix = _deck_prefix(place)
        if prefix and database_ok(place / f"{prefix}.db") and records_ok(place / f"{prefix}.movecs"):
            copies = {name: place / name for ending in _KEPT if (place / (name := f"{prefix}.{ending}")).is_file()}
            copies = {name: path for name, path in copies.items() if not name.endswith("hess") or records_ok(path)}
            return _point("restart", copies, None, place, previous), (f"restart {prefix}", *_undone(place, prefix))
    return FRESH, ()


def _undone(place: Path, prefix: str) -> list[str]:
    """Removes what numerical frequencies have in the database while they run: `geometry` names a displaced structure,
    and `geometry:actlist` the only atoms that may move. The optimised structure is still there."""
    found = rtdb.read(place / f"{prefix}.db")
    return [f"unset {key}" for key in ("geometry", "geometry:actlist") if found is not None and key in found.values]


def _deck_prefix(directory: Path) -> str | None:
    """The name of the run in `directory`, by its only run-time database; None without one, and with several."""
    found = [path.stem for path in directory.glob("*.db") if untrusted.is_file(path)]
    return found[0] if len(found) == 1 and re.fullmatch(r"[\w.+-]+", found[0]) else None


def last_geometry(directory: Path, atoms: tuple[str, ...] | None) -> Geometry | None:
    """The newest geometry that the driver wrote into `directory`, if it is complete and has these atoms."""
    for path in _geometry_files(directory):
        if path.name != RESUME_XYZ:
            return _readable(path, atoms)
    return None


def database_ok(path: Path) -> bool:
    """Whether a run-time database is complete by the rules of NWChem's loader, and contains a geometry."""
    found = rtdb.read(path)
    return found is not None and found.whole and "geometry:geometry:coords" in found.values


def records_ok(path: Path) -> bool:
    """Whether a Fortran unformatted file is complete: every record has the same length mark before and after it."""
    try:
        with untrusted.open_file(path) as stream:
            found = os.fstat(stream.fileno())
            size, at, records = found.st_size, 0, 0
            if untrusted.is_hollow(found):
                return False
            while at + 8 <= size and records < _MOST_RECORDS:
                records += 1
                (length,) = struct.unpack("<i", stream.read(4))
                if length < 0 or at + 8 + length > size:
                    return False
                stream.seek(at + 4 + length)
                if struct.unpack("<i", stream.read(4)) != (length,):
                    return False
                at += 8 + length
    except (OSError, struct.error):
        return False
    return at == size and size > 0


def _places(previous: Path) -> Iterator[Path]:
    """Directories to search, best first: snapshots from the newest to the oldest, then the attempt itself."""
    folder = previous.with_name(SNAPSHOTS)
    if folder.is_dir() and not folder.is_symlink():
        snapshots = [path for path in folder.iterdir() if path.is_dir() and _NUMBER.search(path.name)]
        yield from sorted(snapshots, key=_number_of, reverse=True)
    yield previous


def _number_of(path: Path) -> int:
    match = _NUMBER.search(path.stem if path.suffix == ".xyz" else path.name)
    return int(match[1]) if match else -1


def _geometry_files(directory: Path) -> list[Path]:
    return sorted(directory.glob(f"{PREFIX}-*.xyz"), key=_number_of, reverse=True)


def _geometries(places: list[Path], atoms: tuple[str, ...]) -> Iterator[tuple[Path, Geometry]]:
    # The attempt's own last xyz is at least as new as that of any snapshot, and is either complete or truncated.
    for place in reversed(places):
        for path in _geometry_files(place):
            geometry = _readable(path, atoms)
            if geometry is not None:
                yield path, geometry


def _readable(path: Path, atoms: tuple[str, ...] | None) -> Geometry | None:
    try:
        return read_xyz(path, atoms)
    except (QmrunnerError, OSError, UnicodeDecodeError):
        return None


def _stuck(previous: Path) -> tuple[str, int] | None:
    """The rung `previous` resumed on and its tries, if `previous` then neither finished a step nor left a snapshot."""
    try:
        rung, tries = untrusted.read_text(previous / MARKER, untrusted.RECORD_BYTES).split()
    except (OSError, ValueError):
        return None
    moved = any(_number_of(path) >= 0 for path in _geometry_files(previous)) or previous.with_name(SNAPSHOTS).is_dir()
    return None if moved or rung == FRESH.rung or not (tries.isascii() and tries.isdigit()) else (rung, int(tries))


def _spent(previous: Path) -> str | None:
    stuck = _stuck(previous)
    return stuck[0] if stuck and stuck[1] >= _TRIES_PER_RUNG else None


def _point(rung: str, copies: dict[str, Path], geometry: Geometry | None, source: Path, previous: Path) -> ResumePoint:
    stuck = _stuck(previous)
    tries = stuck[1] + 1 if stuck and stuck[0] == rung else 1
    name = str(source.relative_to(previous.parent)) if source != previous else "its live files"
    return ResumePoint(rung, copies, geometry, name, tries)


def _orbitals(place: Path) -> Path | None:
    return next((path for name in (f"{PREFIX}.movecs", GUESS) if records_ok(path := place / name)), None)


def _copies(place: Path) -> dict[str, Path]:
    names = {f"{PREFIX}.{ending}": place / f"{PREFIX}.{ending}" for ending in ("db", "movecs", "drv.hess")}
    copies = {name: path for name, path in names.items() if name.endswith((".db", ".movecs")) or records_ok(path)}
    geometry = next(iter(_geometry_files(place)), None)
    return copies | ({RESUME_XYZ: geometry} if geometry else {})
