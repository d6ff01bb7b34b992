"""Water as an NWChem deck, the smallest that shows what a test asks about: a second or two of real work."""

from __future__ import annotations


def water(basis: str = "sto-3g", *, first: str = "", geometry: str = "units angstrom", dft: str = "") -> str:
    """A B3LYP energy, -75.31279 hartree in the standard basis. `first` is a line before all others, `geometry` what
    stands beside that word, `dft` a line of that block."""
    lines = [
        first,
        "start wat",
        f"geometry {geometry}",
        " O 0 0 0.117",
        " H 0 0.757 -0.471",
        " H 0 -0.757 -0.471",
        "end",
        "basis spherical",
        f" * library {basis}",
        "end",
        "dft",
        " xc b3lyp",
        dft and f" {dft}",
        "end",
        "task dft energy",
    ]
    return "".join(f"{line}\n" for line in lines if line)
