"""Chemical elements by atomic number."""

from __future__ import annotations

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


def up_to(last: str) -> frozenset[str]:
    """The elements from hydrogen to `last`, both included."""
    return frozenset(SYMBOLS[: NUMBERS[last]])
