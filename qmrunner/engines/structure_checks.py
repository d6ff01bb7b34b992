"""Checks of a structure before an engine reads it: xTB never ends on an empty file and accepts impossible spins."""

from __future__ import annotations

from pathlib import Path

from qmrunner import untrusted
from qmrunner.chemistry.elements import NUMBERS
from qmrunner.chemistry.xyz import read_xyz
from qmrunner.errors import UsageError

# GFN methods keep f electrons in the core, so the given spin does not include them.
_F_ELEMENTS = frozenset(range(57, 72)) | frozenset(range(89, 104))


def check(path: Path, name: str, *, charge: int | None = None, unpaired: int | None = None) -> tuple[str, ...]:
    """Symbols of the first structure in `path`, in input order; empty for a format that is not XYZ.

    `name` is the file name shown to the user. `charge` and `unpaired` (electrons) are checked against the elements if
    both are given. Raises UsageError: `empty_file`, `charge_multiplicity` or a code of `read_xyz`.
    """
    text = _text(path, name)
    if not text.strip():
        raise UsageError(
            "empty_file", f"{name} is empty", evidence=f"{len(text)} bytes", remedy="write the structure into it"
        )
    if not name.lower().endswith(".xyz"):
        return ()
    symbols = read_xyz(text, name)[0].symbols
    check_electrons(name, symbols, charge, unpaired)
    return tuple(symbols)


def _text(path: Path, name: str) -> str:
    try:
        return untrusted.read_text(path)
    except OSError as error:
        raise UsageError(
            "input_missing", f"{name} cannot be read", evidence=str(error), remedy="submit the job with this file"
        ) from None


def check_electrons(name: str, symbols: tuple[str, ...], charge: int | None, unpaired: int | None) -> None:
    """Raise UsageError `charge_multiplicity` when the electrons do not fit charge and spin; not if the charge is
    unknown."""
    if charge is None:
        return
    numbers = [NUMBERS[symbol] for symbol in symbols]
    electrons = sum(numbers) - charge
    fits = electrons >= 0
    if unpaired is not None and not _F_ELEMENTS.intersection(numbers):
        fits = fits and 0 <= unpaired <= electrons and (electrons - unpaired) % 2 == 0
    if not fits:
        raise UsageError(
            "charge_multiplicity",
            f"{name}: charge {charge:+d} leaves {electrons} electrons, which does not fit {unpaired or 0} unpaired",
            evidence=f"{len(symbols)} atoms, charge {charge}, unpaired electrons {unpaired}",
            remedy="give a charge and multiplicity (unpaired electrons + 1) that fit the number of electrons",
        )
