"""Reads NWChem's run-time database, which proves that a task was completed even if nothing was printed.

Facts of NWChem 7.0.2 (hdbm.c, rtdb_seq.c), little-endian: after the head ``hdbm v1.0`` and a zero byte come records of
three 32-bit integers (key size, value size, active), then key and value. Later records of a key replace earlier ones.
`task:` holds the last task only; coordinates are in bohr.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qmrunner import untrusted
from qmrunner.engines.nwchem.input.generated_deck import Geometry
from qmrunner.engines.nwchem.output import elements

BOHR_PER_ANGSTROM = 1.889725989  # NWChem's own
_HEAD = b"hdbm v1.0\0"
_BYTES = 256 << 20
_RECORD = struct.Struct("<iii")
_PREFIXES = {"ccsd(t)": "ccsd", "ccsd+t(ccsd)": "ccsd", "semi_dir_mp2": "mp2"}
_THEORIES = (
    "scf",
    "dft",
    "sodft",
    "mp2",
    "direct_mp2",
    "rimp2",
    "ccsd",
    "tce",
    "tddft",
    "mcscf",
    "pspw",
    "band",
    "paw",
)
_STATES = (b"tddft:singlet", b"tddft:triplet", b"dft:ipol")
_KEPT = (b"task:", b"geometry", b"dft:xc_spec", *_STATES, *(f"{theory}:energy".encode() for theory in _THEORIES))
_GEOMETRY = "geometry"


@dataclass(frozen=True, slots=True)
class Database:
    """The entries about the last task, the geometries and the functional, as bytes by their keys.

    `whole` is whether the file ends where its last record does.
    """

    values: dict[str, bytes]
    whole: bool

    @property
    def title(self) -> str:
        """Theory and operation of the last task: ``dft optimize``."""
        return f"{self._text('task:theory')} {self._text('task:operation')}".strip().lower()

    @property
    def succeeded(self) -> bool | None:
        """Whether the last energy, gradient or similar result of the last task converged, as NWChem recorded it."""
        value = self.values.get("task:status")
        return None if value is None else any(value)

    @property
    def energy_hartree(self) -> float | None:
        """The last energy of the last task, if it succeeded."""
        return self._energy("task:energy") if self.succeeded else None

    def energy_of(self, theory: str) -> float | None:
        """The last energy (hartree) of this theory."""
        return self._energy(f"{_PREFIXES.get(theory, theory)}:energy")

    @property
    def displaced(self) -> bool:
        """Whether the last task computed gradients: finite differences end at a displaced geometry."""
        return "task:gradient" in self.values

    def gradient(self, atoms: int) -> list[float] | None:
        """The gradient (hartree/bohr) of the last task, atom by atom; None without one of that many atoms."""
        data = self.values.get("task:gradient", b"")
        if len(data) != 24 * atoms:
            return None
        values = list(struct.unpack(f"<{3 * atoms}d", data))
        return values if all(map(math.isfinite, values)) else None

    @property
    def functional(self) -> str | None:
        """The xc line as it was given."""
        return self._text("dft:xc_spec") or None

    def excitations(self) -> tuple[list[float], int | None] | None:
        """Excitation energies (hartree) of the last TDDFT, and their multiplicity where the orbitals are restricted.

        Singlets are computed first, and triplets then replace them. Oscillator strengths are stored, too, but as 0
        where NWChem did not print them.
        """
        data = self.values.get("tddft:energy-all", b"")
        if not data or len(data) % 8:
            return None
        energies = [float(value) for (value,) in struct.iter_unpack("<d", data)]
        restricted = self._integer("dft:ipol") == 1
        multiplicity = 3 if self._integer("tddft:triplet") else 1 if self._integer("tddft:singlet") else None
        return (energies, multiplicity if restricted else None) if all(map(math.isfinite, energies)) else None

    def geometry(self) -> Geometry | None:
        """The geometry in force, in angstrom, without ghosts; None if it is missing, incomplete or periodic."""
        prefix = f"geometry:{self._text(_GEOMETRY) or _GEOMETRY}:"
        if any(self.values.get(f"{prefix}system type", b"")):
            return None  # in fractions of the lattice
        coordinates = self.values.get(f"{prefix}coords", b"")
        tags = self._text(f"{prefix}tags").split("\n")
        charges = self.values.get(f"{prefix}charges", b"")
        if not coordinates or len(coordinates) != 24 * len(tags) or len(charges) != 8 * len(tags):
            return None
        rows = struct.iter_unpack("<3d", coordinates)
        nuclear = struct.unpack(f"<{len(tags)}d", charges)
        return from_centres(
            [(tag, q, (x, y, z)) for tag, q, (x, y, z) in zip(tags, nuclear, rows, strict=True)], BOHR_PER_ANGSTROM
        )

    def _energy(self, key: str) -> float | None:
        value = self.values.get(key, b"")
        if len(value) != 8:
            return None
        (energy,) = struct.unpack("<d", value)
        return float(energy) if math.isfinite(energy) else None

    def _integer(self, key: str) -> int | None:
        value = self.values.get(key, b"")
        return int.from_bytes(value, "little") if value else None

    def _text(self, key: str) -> str:
        return self.values.get(key, b"").rstrip(b"\0\n ").decode("latin-1").strip()


Centre = tuple[str, float, tuple[float, float, float]]


def from_centres(centres: list[Centre], per_angstrom: float) -> Geometry | None:
    """The atoms among centres (tag, nuclear charge, coordinates), `per_angstrom` of whose units are one angstrom.

    None when a centre's element is unknown or a coordinate is not finite.
    """
    atoms: list[str] = []
    xyz: list[tuple[float, float, float]] = []
    for tag, charge, (x, y, z) in centres:
        if elements.is_ghost(tag):
            continue
        element = elements.of_tag(tag) or elements.of_charge(charge)
        if element is None or not all(map(math.isfinite, (x, y, z))):
            return None
        atoms.append(element)
        xyz.append((x / per_angstrom, y / per_angstrom, z / per_angstrom))
    return Geometry(tuple(atoms), tuple(xyz)) if atoms else None


def read(path: Path) -> Database | None:
    """The database in a file; None when the file is missing or not a database."""
    try:
        data = untrusted.read_bytes(path, _BYTES)
    except OSError:
        return None
    if not data.startswith(_HEAD):
        return None
    values: dict[str, bytes] = {}
    end = len(_HEAD)
    for key, value, active, after in _records(data):
        end = after
        if key.startswith(_KEPT):
            name = key.rstrip(b"\0").decode("latin-1")
            values.pop(name, None)
            if active:
                values[name] = value
    return Database(values, end == len(data))


def _records(data: bytes) -> Iterator[tuple[bytes, bytes, bool, int]]:
    """Key, value, whether it counts, and where the next record begins; up to the first incomplete record."""
    at = len(_HEAD)
    while at + _RECORD.size <= len(data):
        key_size, value_size, active = _RECORD.unpack_from(data, at)
        start = at + _RECORD.size
        end = start + key_size + value_size
        if key_size <= 0 or value_size < 0 or active not in (0, 1) or end > len(data):
            return
        yield data[start : start + key_size], data[start + key_size : end], bool(active), end
        at = end
