"""Elements of the tags that NWChem gives atoms: ``H_1``, ``O_acc``, ``hydrogen2`` and ghosts such as ``bqO``.

The rule is that of NWChem's geom_tag_to_element (geom.F), in its order.
"""

from __future__ import annotations

_NAMES_IN_ORDER = (
    "Hydrogen Helium Lithium Beryllium Boron Carbon Nitrogen Oxygen Fluorine Neon Sodium Magnesium Aluminium "
    "Silicon Phosphorus Sulphur Chlorine Argon Potassium Calcium Scandium Titanium Vanadium Chromium Manganese Iron "
    "Cobalt Nickel Copper Zinc Gallium Germanium Arsenic Selenium Bromine Krypton Rubidium Strontium Yttrium "
    "Zirconium Niobium Molybdenum Technetium Ruthenium Rhodium Palladium Silver Cadmium Indium Tin Antimony "
    "Tellurium Iodine Xenon Caesium Barium Lanthanum Cerium Praseodymium Neodymium Promethium Samarium Europium "
    "Gadolinium Terbium Dysprosium Holmium Erbium Thulium Ytterbium Lutetium Hafnium Tantalum Tungsten Rhenium "
    "Osmium Iridium Platinum Gold Mercury Thallium Lead Bismuth Polonium Astatine Radon Francium Radium Actinium "
    "Thorium Protactinium Uranium Neptunium Plutonium Americium Curium Berkelium Californium Einsteinium Fermium "
    "Mendelevium Nobelium Lawrencium Rutherfordium Dubnium Seaborgium Bohrium Hassium Meitnerium"
)
_NAMES = _NAMES_IN_ORDER.split()
_SYMBOLS_IN_ORDER = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr "
    "Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir "
    "Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt"
)
_SYMBOLS = _SYMBOLS_IN_ORDER.split()
# The first element with this beginning wins, for example ruthenium before rutherfordium.
_BY_NAME = {n[:4].lower(): symbol for n, symbol in reversed([*zip(_NAMES, _SYMBOLS, strict=True)]) if len(n) > 3}
_BY_SYMBOL = {symbol.lower(): symbol for symbol in _SYMBOLS}


def is_ghost(tag: str) -> bool:
    """Whether a tag names a centre without an atom: ``bq…`` or ``x…``, except xenon."""
    start = tag.lower()[:2]
    return start == "bq" or (start[:1] == "x" and start != "xe")


def of_tag(tag: str) -> str | None:
    """The element symbol of an atom's tag; None for a ghost and for a tag without an element."""
    if is_ghost(tag):
        return None
    word = tag.lower()
    return _BY_NAME.get(word[:4]) or _BY_SYMBOL.get(word[:2]) or _BY_SYMBOL.get(word[:1])


def of_charge(charge: float) -> str | None:
    """The element of this nuclear charge; None when there is none."""
    number = round(charge)
    return _SYMBOLS[number - 1] if abs(charge - number) < 1e-6 and 0 < number <= len(_SYMBOLS) else None
