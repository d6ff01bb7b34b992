"""Chemical elements by atomic number."""

from __future__ import annotations

import re

_HEAVY_HYDROGEN = {"D": 2, "T": 3}
# `C1`, `H_2`, `O_acc`, `Na+`, `H(iso=2)`: no letter follows the element. In other programs a colon, `@` or `>` marks a
# ghost or an embedded atom: such a word is not a plain atom.
_LABEL = re.compile(r"([A-Za-z]{1,2})(?:[\d_*'\"+.(/#-][^\s:@>?&]*)")
_MASS_FIRST = re.compile(r"(\d{1,3})([A-Za-z]{1,2})")
_MASS_WITHIN = re.compile(r"\([^(]{0,200}iso=(\d{1,3})", re.IGNORECASE)
_TABLE = """
H He
Li Be B C N O F Ne
Na Mg Al Si P S Cl Ar
K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe
Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn
Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
SYMBOLS: tuple[str, ...] = tuple(_TABLE.split())
NUMBERS: dict[str, int] = {symbol: number for number, symbol in enumerate(SYMBOLS, start=1)}


def canonical(word: str) -> str | None:
    """The symbol that `word` means (``CL`` and ``17`` mean ``Cl``), or None when it means no element."""
    if word.isascii() and word.isdigit():
        number = int(word[:4])
        return SYMBOLS[number - 1] if 1 <= number <= len(SYMBOLS) else None
    symbol = word[:1].upper() + word[1:].lower()
    return symbol if symbol in NUMBERS else None


def atom(word: str) -> tuple[str, int | None] | None:
    """The symbol that the first word of an atom's line means, and its mass number where it names an isotope; None when
    it means no element.

    ``D`` and ``T`` are hydrogen. A label is the element followed by something other than a letter: ``C1``, ``H_2``,
    ``O_acc``.
    """
    symbol = canonical(word)
    if symbol is not None:
        return symbol, None
    if hit := _MASS_FIRST.fullmatch(word):
        mass, symbol = int(hit[1]), canonical(hit[2])
        # `1C` numbers an atom, `13C` names an isotope.
        return None if symbol is None else (symbol, mass if NUMBERS[symbol] < mass <= 3 * NUMBERS[symbol] else None)
    hit = _LABEL.fullmatch(word)
    stem = hit[1] if hit else word
    if stem.upper() in _HEAVY_HYDROGEN:
        return "H", _HEAVY_HYDROGEN[stem.upper()]
    symbol = canonical(stem)
    if hit is None or symbol is None:
        return None
    named = _MASS_WITHIN.search(word)
    return symbol, int(named[1]) if named else None


def up_to(last: str) -> frozenset[str]:
    """The elements from hydrogen to `last`, both included."""
    return frozenset(SYMBOLS[: NUMBERS[last]])
