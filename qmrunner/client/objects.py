"""What RDKit Mols and ASE Atoms carry beside elements and places: charge, unpaired electrons, isotopes, a lattice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qmrunner.client.packages import needed
from qmrunner.errors import UsageError

if TYPE_CHECKING:
    import ase

# Charges of populations seldom add up exactly.
_WHOLE = 0.05
# In u; other masses of hydrogen are those of a simulation.
_HEAVY_HYDROGEN = {2: 2.01410, 3: 3.01605}
_CHARGE = ("--chrg", "-chrg", "-c", "--charge")
_UNPAIRED = ("--uhf", "-uhf", "-u")


def is_atoms(given: object) -> bool:
    """Whether this is an Atoms of ASE."""
    return hasattr(given, "get_chemical_symbols")


def is_mol(given: object) -> bool:
    """Whether this is a Mol of RDKit."""
    return hasattr(given, "GetAtoms")


def electrons(given: Any) -> tuple[int | None, int | None]:
    """Charge and number of unpaired electrons of a Mol or Atoms; None where it has none.

    Those of Atoms are the sums of its initial charges and magnetic moments, or `charge` and `multiplicity` of its
    `info`, where ASE puts those of extended XYZ. Raises UsageError `bad_charge`, `charge_mismatch`.
    """
    if is_mol(given):
        each = list(given.GetAtoms())
        return sum(atom.GetFormalCharge() for atom in each), sum(atom.GetNumRadicalElectrons() for atom in each)
    charge = _sum(given, "initial_charges", "charge", given.info.get("charge"))
    multiplicity = given.info.get("multiplicity")
    unpaired = None if multiplicity is None else float(multiplicity) - 1
    moments = _sum(given, "initial_magmoms", "multiplicity", unpaired)
    return charge, None if moments is None else abs(moments)


def _sum(given: Any, array: str, key: str, stated: Any) -> int | None:
    """The sum of an array of `atoms`, else what its `info` states."""
    added = float(given.arrays[array].sum()) if given.has(array) else 0.0
    if abs(added - round(added)) > _WHOLE:
        raise UsageError(
            "bad_charge", f"the {array} of these atoms add up to {added:.3f}, which is no whole number",
            remedy=f"set atoms.info[{key!r}], and remove them: del atoms.arrays[{array!r}]",
        )  # fmt: skip
    if stated is None:
        return round(added) or None
    signs = (1, -1) if array == "initial_magmoms" else (1,)
    if not float(stated).is_integer() or (round(added) and round(added) not in [sign * int(stated) for sign in signs]):
        raise UsageError(
            "charge_mismatch", f"the {array} of these atoms add up to {added:g}, but info[{key!r}] is another number",
            evidence=repr(given.info[key])[:80], remedy="remove one of them",
        )  # fmt: skip
    return int(stated)


def atoms(
    symbols: Sequence[str], points: Sequence[Sequence[float]], isotopes: Mapping[int, int], charge: int | None,
    multiplicity: int | None,
) -> ase.Atoms:  # fmt: skip
    """Atoms with the masses of `isotopes` (mass numbers by atom number); `electrons` reads back what is in `info`."""
    with needed("ase"):
        import ase
    found = ase.Atoms(symbols=list(symbols), positions=points)
    if isotopes:
        masses = found.get_masses()
        for number, mass in isotopes.items():
            masses[number - 1] = _HEAVY_HYDROGEN.get(mass, float(mass))
        found.set_masses(masses)
    known = {"charge": charge, "multiplicity": multiplicity}
    found.info.update({key: value for key, value in known.items() if value is not None})
    return found


def xyz_of_atoms(given: Any) -> str:
    """Extended XYZ of Atoms, with charge, multiplicity, isotopes and lattice. Raises UsageError as `electrons`."""
    from qmrunner.chemistry.xyz import write_xyz

    charge, unpaired = electrons(given)
    words = ["Properties=species:S:1:pos:R:3"]
    words += [] if charge is None else [f"charge={charge}"]
    words += [] if unpaired is None else [f"multiplicity={unpaired + 1}"]
    if any(given.pbc):
        words.append('pbc="{}"'.format(" ".join("T" if flag else "F" for flag in given.pbc)))
    return write_xyz(_words(given), given.get_positions().tolist(), " ".join(words))


def plain_xyz(given: Any) -> str:
    """XYZ of Atoms, or of the first conformer of a Mol. Raises UsageError `periodic`, `no_coordinates`."""
    from qmrunner.chemistry.xyz import write_xyz

    if is_mol(given):
        from qmrunner.chemistry.annotated import xyz_of

        return xyz_of(given)
    if any(given.pbc):
        raise UsageError(
            "periodic", "these atoms are periodic, and an XYZ has no lattice",
            remedy="set atoms.pbc = False for a molecule; give a crystal as a file",
        )  # fmt: skip
    return write_xyz(_words(given), given.get_positions().tolist())


def flags(given: Any, args: Sequence[str]) -> list[str]:
    """The flags of xTB and CREST for the charge and the unpaired electrons of a Mol or Atoms.

    A flag that `args` has is the user's choice, as for an ion at the geometry of its neutral molecule.
    """
    more: list[str] = []
    for names, own in zip((_CHARGE, _UNPAIRED), electrons(given), strict=True):
        if own and not any(word in names for word in args):
            more += [names[0], str(own)]
    return more


def _words(given: Any) -> list[str]:
    """Symbols, of an isotope with its mass number in front: ASE states isotopes by masses."""
    symbols: list[str] = list(given.get_chemical_symbols())
    if not given.has("masses"):
        return symbols
    found = zip(symbols, given.get_masses().tolist(), strict=True)
    return [f"{mass}{symbol}" if (mass := _isotope(symbol, value)) else symbol for symbol, value in found]


def _isotope(symbol: str, mass: float) -> int | None:
    if symbol == "H":
        return next((number for number, exact in _HEAVY_HYDROGEN.items() if abs(mass - exact) < 0.005), None)
    from ase.data import atomic_masses, atomic_numbers

    number = round(mass)
    usual = round(float(atomic_masses[atomic_numbers[symbol]])) if symbol in atomic_numbers else number
    return number if number != usual and abs(mass - number) < 0.1 else None
