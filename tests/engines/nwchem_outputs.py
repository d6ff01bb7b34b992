"""Outputs of NWChem put together line by line, as its print levels let it print them, and run-time databases."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from qmrunner.engines.nwchem import NWChem
from qmrunner.model.jobs import Exit, Outcome
from tests.engines.support import step

BANNER = f"{'NWChem Input Module':>51}\n{'-' * 19:>51}\n"
TIMES = " Task  times  cpu:        0.1s     wall:        1.6s\n"
HEADER = "    nwchem branch   = 7.0.2\n    data base       = ./x.db\n"
END = f"{'CITATION':>45}\n Total times  cpu:        0.2s     wall:        3.0s\n"
ENERGY = "         Total {} energy =    {:.12f}\n"
STEP = "@    {}     {:.8f} -1.0D-03  0.00265  0.00263  0.02362  0.05675      2.6\n"
TDDFT = (
    ENERGY.format("DFT", -2.0)
    + "  Root   1 singlet a2             0.146147115 a.u.                3.9769 eV\n"
    + "              Target root =      1\n          Target symmetry = a2\n"
    + "     Excited state energy =     -1.853852885000\n"
)
ORDER = ("none", "low", "medium", "high", "debug")


def log_of(tasks: Iterable[tuple[str, str]]) -> str:
    """A whole output. Each task is its print level and what it prints itself."""
    text = HEADER + BANNER
    for level, printed in tasks:
        text += printed
        text += TIMES if ORDER.index(level) >= ORDER.index("medium") else ""
        text += BANNER if level != "none" else ""
    return text + END


def judged(deck: str, log: str, place: Path, exit: Exit | None = None, database: bytes | None = None) -> Outcome:
    """What `interpret` makes of a deck, its output and its database."""
    directory = place / "attempt"
    directory.mkdir(exist_ok=True)
    (directory / "deck.nw").write_text(deck)
    if database is not None:
        (directory / "x.db").write_bytes(database)
    path = place / "step.1.log"
    path.write_text(log)
    return NWChem().interpret(step("nwchem", "deck", deck="deck.nw"), directory, path, exit or Exit(0))


def database(values: Mapping[str, bytes]) -> bytes:
    """A run-time database with these entries, and the information that NWChem keeps beside each."""
    data = b"hdbm v1.0\0"
    for name, value in values.items():
        for key, content in ((f"!rtdb!{name}", bytes(36)), (name, value)):
            raw = key.encode() + b"\0"
            data += struct.pack("<iii", len(raw), len(content), 1) + raw + content
    return data


def last_task(theory: str, operation: str, energy_hartree: float, **more: bytes) -> dict[str, bytes]:
    """The entries of a last task that succeeded."""
    return {
        "task:theory": f"{theory}\0".encode(),
        "task:operation": f"{operation}\0".encode(),
        "task:status": struct.pack("<q", 1),
        "task:energy": struct.pack("<d", energy_hartree),
        **more,
    }


def geometry(tags: list[str], charges: list[float], bohr: list[float], name: str = "geometry") -> dict[str, bytes]:
    """The entries of a geometry."""
    return {
        f"geometry:{name}:tags": "\n".join(tags).encode() + b"\0",
        f"geometry:{name}:charges": struct.pack(f"<{len(charges)}d", *charges),
        f"geometry:{name}:coords": struct.pack(f"<{len(bohr)}d", *bohr),
    }
