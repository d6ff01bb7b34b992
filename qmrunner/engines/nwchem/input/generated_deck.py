"""Decks that qmrunner writes itself: optimisation and shielding of one molecule."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmrunner import untrusted
from qmrunner.errors import QmrunnerError

PREFIX = "calc"
DECK = f"{PREFIX}.nw"
GUESS = "guess.movecs"
_WORD = re.compile(r"[A-Za-z0-9_.+\-*(),]+")
# Lines that remedies of the SCF add. NWChem 7.0.2 shifts levels only below hl_tol, and never with its default of 0.1.
_SCF_HELP = {
    "scf_damping": " convergence damp 70 ncydp 200 dampon 1000 dampoff 0.001",
    "scf_level_shift": " convergence lshift 0.5 ncysh 200 hl_tol 2.0",
    "scf_smearing": " smear 0.005",
}


@dataclass(frozen=True, slots=True)
class Geometry:
    """Atoms in order: element symbols and coordinates in angstrom."""

    atoms: tuple[str, ...]
    xyz: tuple[tuple[float, float, float], ...]

    def lines(self) -> list[str]:
        return [f" {a:<3}{x:16.8f}{y:16.8f}{z:16.8f}" for a, (x, y, z) in zip(self.atoms, self.xyz, strict=True)]

    def as_xyz(self, comment: str) -> str:
        """The geometry as an xyz file."""
        return "\n".join([str(len(self.atoms)), comment, *self.lines()]) + "\n"


@dataclass(frozen=True, slots=True)
class Start:
    """The start of a calculation in addition to its geometry, and its cache.

    `guess`: orbitals in the same basis are in ``guess.movecs``. `hessian`: a Cartesian Hessian is in ``calc.hess``.
    `response`: the response solution of an earlier attempt is in ``calc.shieldcphf``, so that only the final integrals
    are left to compute. `cached_words`: two-electron integrals that each rank may keep in memory (8 bytes each); 0
    recomputes them each time.
    """

    guess: bool = False
    hessian: bool = False
    response: bool = False
    cached_words: int = 0


FROM_NOTHING = Start()


@dataclass(frozen=True, slots=True)
class Method:
    """The method of a calculation, from a step's params. `cosmo` is NWChem's solvent keyword, None for the gas phase.

    `scf_help` are lines of the dft block that a remedy added, `at_once` the nuclei of one shielding task.
    """

    charge: int
    multiplicity: int
    functional: str
    basis: str
    cosmo: str | None
    max_iterations: int
    cartesian: bool
    nuclei: tuple[int, ...]
    scf_iterations: int = 100
    scf_help: tuple[str, ...] = ()
    tight: bool = False
    at_once: int | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Method:
        """Raises QmrunnerError (`input_error`) for a value that NWChem could not read as one word."""
        method = cls(
            charge=int(params.get("charge", 0)),
            multiplicity=int(params.get("multiplicity", 1)),
            functional=str(params.get("functional", "b3lyp")),
            basis=str(params.get("basis", "6-31G*")),
            cosmo=params.get("cosmo"),
            max_iterations=int(params.get("max_iterations", 100)),
            cartesian=params.get("coordinates", "auto") == "cartesian",
            nuclei=tuple(sorted({int(atom) for atom in params.get("nuclei") or ()})),
            scf_iterations=int(params.get("scf_iterations") or 100),
            scf_help=tuple(line for name, line in _SCF_HELP.items() if params.get(name)),
            tight=bool(params.get("scf_tight")),
            at_once=params.get("nuclei_at_once"),
        )
        for name, value in (("basis", method.basis), ("functional", method.functional), ("cosmo", method.cosmo)):
            if value is not None and not all(map(_WORD.fullmatch, str(value).split(" "))):
                raise QmrunnerError("input_error", f"{name} {value!r} cannot be written into an NWChem deck.")
        return method


def read_xyz(path: Path, expected: Sequence[str] | None = None) -> Geometry:
    """The first geometry of an xyz file (angstrom).

    Raises QmrunnerError: `input_missing`, `geometry_bad` when it is malformed, not finite, or its elements are not the
    `expected` ones in order.
    """
    try:
        lines = untrusted.read_text(path, errors="strict").splitlines()
    except FileNotFoundError as error:
        raise QmrunnerError("input_missing", f"The geometry file {path.name} does not exist.") from error
    try:
        rows = [line.split() for line in lines[2 : 2 + int(lines[0])]]
        geometry = Geometry(
            tuple(row[0].capitalize() for row in rows), tuple((float(r[1]), float(r[2]), float(r[3])) for r in rows)
        )
        complete = 0 < len(rows) == int(lines[0]) and all(math.isfinite(v) for xyz in geometry.xyz for v in xyz)
    except (ValueError, IndexError):
        complete = False
    if not complete:
        raise QmrunnerError(
            "geometry_bad", f"{path.name} is not a complete xyz file.", remedy="Check count and atom lines."
        )
    if expected and tuple(atom.capitalize() for atom in expected) != geometry.atoms:
        raise QmrunnerError(
            "geometry_bad",
            f"{path.name} does not have the step's atoms in their order.",
            evidence=f"{' '.join(geometry.atoms)} instead of {' '.join(expected)}",
        )
    return geometry


def optimise_deck(method: Method, geometry: Geometry, memory: str, start: Start = FROM_NOTHING) -> str:
    """The deck of a new optimisation."""
    return "\n".join(
        [
            *_head(method, geometry, memory, autoz=not method.cartesian),
            *_dft(method, start, tight=False),
            *_cosmo(method),
            *_driver(method, start.hessian),
            "task dft optimize",
            "",
        ]
    )


def continue_deck(method: Method, memory: str) -> str:
    """The deck of an optimisation that resumes from its run-time database, which has geometry, basis and method."""
    scf = ["dft", *_scf_lines(method), "end"] if method.scf_help or method.scf_iterations != 100 else []
    return "\n".join([f"restart {PREFIX}", memory, *scf, *_driver(method), "task dft optimize", ""])


def shielding_deck(method: Method, geometry: Geometry, memory: str, start: Start = FROM_NOTHING) -> str:
    """GIAO shieldings of all atoms, or of `method.nuclei`; `method.at_once` of them in each task. Later tasks of a deck
    use the response of the first.
    """
    return "\n".join(
        [
            *_head(method, geometry, memory, autoz=False),
            *_dft(method, start, tight=True),
            *_cosmo(method),
            f"set cphf:maxiter {method.max_iterations}",
            *_shielding_tasks(method, len(geometry.atoms), start.response),
            "",
        ]
    )


def _shielding_tasks(method: Method, atoms: int, skip_response: bool) -> list[str]:
    nuclei = method.nuclei or tuple(range(1, atoms + 1))
    size = method.at_once or len(nuclei)
    lines: list[str] = []
    for first in range(0, len(nuclei), size):
        part = nuclei[first : first + size]
        every = len(part) == atoms
        lines += ["property", " shielding" if every else f" shielding {len(part)} {' '.join(map(str, part))}", "end"]
        lines += ["set zora:skip_cphf_ev_shield T"] if skip_response or first else []
        lines.append("task dft property")
    return lines


def _head(method: Method, geometry: Geometry, memory: str, autoz: bool) -> list[str]:
    # nocenter and noautosym keep order and orientation, so that atom 5 of the input is atom 5 of the answer.
    coordinates = "" if autoz else " noautoz"
    return [
        f"start {PREFIX}",
        memory,
        f"charge {method.charge}",
        f"geometry units angstrom nocenter noautosym{coordinates}",
        *geometry.lines(),
        "end",
        "basis spherical noprint",
        f' * library "{method.basis}"',
        "end",
    ]


def _dft(method: Method, start: Start, tight: bool) -> list[str]:
    # The response needs well converged orbitals, and a resumed response needs the same orbitals to all printed digits.
    convergence = [" convergence energy 1d-8 density 1d-6"] if tight else []
    if method.tight:
        convergence = [" convergence energy 1d-9 density 1d-7", " tolerances tight"]
    vectors = f" vectors input {GUESS} output {PREFIX}.movecs" if start.guess else f" vectors output {PREFIX}.movecs"
    return [
        "dft",
        f" xc {method.functional}",
        f" mult {method.multiplicity}",
        # Never on disk: the size of a cache in scratch would have no limit.
        f" semidirect memsize {start.cached_words} filesize 0" if start.cached_words else " direct",
        *convergence,
        *_scf_lines(method),
        vectors,
        ' noprint "final vectors analysis" multipole',
        "end",
    ]


def _scf_lines(method: Method) -> list[str]:
    return [f" iterations {method.scf_iterations}", *method.scf_help]


def _cosmo(method: Method) -> list[str]:
    return ["cosmo", " do_gasphase false", f" solvent {method.cosmo}", "end"] if method.cosmo else []


def _driver(method: Method, hessian: bool = False) -> list[str]:
    start = [" inhess 2"] if hessian else []
    return ["driver", f" maxiter {method.max_iterations}", f" xyz {PREFIX}", *start, "end"]
