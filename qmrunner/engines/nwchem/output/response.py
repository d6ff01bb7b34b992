"""Excited states, polarizabilities and couplings in the output of one NWChem task. Checked against NWChem 7.0.2."""

from __future__ import annotations

import re
from typing import Any

from qmrunner.engines.nwchem.output.numbers import EV_PER_HARTREE, number, numbers
from qmrunner.engines.nwchem.output.rtdb import Database

_ROOT = re.compile(r"^\s+Root\s+(\d+)\s++(singlet|triplet)?\s*+(\S+)\s+(-?\d+\.\d+) a\.u\.\s+(\S+) eV")
_STRENGTH = re.compile(r"^\s+(?:Dipole )?Oscillator Strength\s+(\S+)")
_EOM_SYMMETRY = re.compile(r"Excited-state calculation \(\s*(\S+)\s+symmetry\)")
_EOM_ROOT = re.compile(r"^ Excited state root\s+(\d+)")
_EOM_ENERGY = re.compile(r"^ Excitation energy / hartree\s+=\s+(\S+)")
_CORRECTED = re.compile(r"^\s*(CR-EOM\S+)\s+excitation energy \(eV\)\s+=\s+(\S+)")
_FREQUENCY = re.compile(r"^ Frequency\s+=\s+(\S+)\s+/ au")
_TENSOR = re.compile(r"^ ([XYZ])\s+(\S+)\s+(\S+)\s+(\S+)(?:\s|$)")
_MEAN = re.compile(r"^ (Isotropic|Anisotropic)\s+=\s+(\S+)")
_ROTATION = "Optical rotation tensor Beta"
_AVERAGE = re.compile(r"^ average:\s+(-?\d\S*) \+ I\s+\S+\s*$")
_PAIR = re.compile(r"^\s+Atom\s+(\d+):\s.* and Atom\s+(\d+):")
_COUPLING = re.compile(r"Isotropic Spin-Spin Coupling =\s+(\S+) Hz")
_MULTIPLICITY = {"singlet": 1, "triplet": 3}
_MOST_STATES = 1000
_MOST_TENSORS = 1000
# Groups within which roots are numbered: a multiplicity, or a symmetry (EOM-CC).
_Kind = int | str | None


class Excitations:
    """Vertical excitations of the last listing: of TDDFT and CIS, and of equation-of-motion coupled cluster."""

    def __init__(self) -> None:
        self._listings: dict[_Kind, list[dict[str, Any]]] = {}
        self._count = 0
        self._now: dict[str, Any] | None = None
        self._symmetry: str | None = None

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        if "Root" in line and (match := _ROOT.match(line)):
            multiplicity = _MULTIPLICITY.get(match[2])
            self._begin(int(match[1]), multiplicity, {"multiplicity": multiplicity, "symmetry": match[3]})
            self._energy(number(match[4]), number(match[5]))
        elif "Oscillator Strength" in line and self._now is not None and (match := _STRENGTH.match(line)):
            if self._now["oscillator_strength"] is None:
                self._now["oscillator_strength"] = number(match[1])
        elif "Excited-state calculation" in line and (match := _EOM_SYMMETRY.search(line)):
            self._symmetry = match[1]
        elif line.startswith(" Excit"):
            self._correlated(line)
        elif "CR-EOM" in line and (match := _CORRECTED.match(line)):
            self._correct(match[1], number(match[2]))

    def _correlated(self, line: str) -> None:
        if match := _EOM_ROOT.match(line):
            self._begin(int(match[1]), self._symmetry, {"multiplicity": None, "symmetry": self._symmetry})
        elif match := _EOM_ENERGY.match(line):
            value = number(match[1])
            self._energy(value, None if value is None else round(value * EV_PER_HARTREE, 6))

    def _correct(self, method: str, ev: float | None) -> None:
        """A correction to the next root of the symmetry that has none yet."""
        listing = self._listings.get(self._symmetry, [])
        state = next((state for state in listing if "corrected_energy_ev" not in state), None)
        if state is not None and ev is not None:
            state |= {"corrected_energy_ev": ev, "corrected_by": method}

    def _energy(self, hartree: float | None, ev: float | None) -> None:
        if self._now is not None:
            self._now["energy_hartree"], self._now["energy_ev"] = hartree, ev

    def _begin(self, root: int, kind: _Kind, of: dict[str, Any]) -> None:
        """A root that is listed already starts a new listing: after a step, or with its left-hand side."""
        self._now = None
        if kind not in self._listings and self._count >= _MOST_STATES:
            return
        listing = self._listings.setdefault(kind, [])
        while listing and listing[-1]["root"] >= root:
            listing.pop()
            self._count -= 1
        self._now = {"root": root, **of, "energy_hartree": None, "energy_ev": None, "oscillator_strength": None}
        if self._count < _MOST_STATES:
            listing.append(self._now)
            self._count += 1

    def found(self) -> dict[str, Any]:
        """In the order printed. The strength is that of the electric dipole; None if the transition is forbidden by
        spin."""
        states = [
            dict(state) for listing in self._listings.values() for state in listing if state["energy_ev"] is not None
        ]
        return {"excitations": states} if states else {}


def stored_excitations(database: Database | None, title: str) -> dict[str, Any]:
    """The excitations of a TDDFT task that printed none, from the database where it was the last task (`title`); else a
    note that they are missing."""
    stored = database.excitations() if database and database.succeeded and database.title == title else None
    if stored is None or title != "tddft energy":
        hidden = "a print level hides them, and NWChem stores those of the last task alone, if that computes an energy"
        return {"notes": [f"the excitations of `task {title}` are missing: {hidden}"]}
    energies, multiplicity = stored
    states = [
        {
            "root": root, "multiplicity": multiplicity, "symmetry": None, "energy_hartree": value,
            "energy_ev": round(value * EV_PER_HARTREE, 6), "oscillator_strength": None,
        }
        for root, value in enumerate(energies[:_MOST_STATES], 1)
    ]  # fmt: skip
    missing = "strengths and symmetries"
    missing += ", and the singlets if any were asked for," if multiplicity == _MULTIPLICITY["triplet"] else ""
    note = f"a print level hides the excitations: energies are those that NWChem stored, {missing} are missing"
    return {"excitations": states, "notes": [note]}


class Polarizabilities:
    """Dipole polarizabilities (atomic units, bohr³), in the order printed, of DFT, HF and coupled cluster; with the
    mean parameter β of optical rotation (atomic units) where NWChem computes it."""

    def __init__(self) -> None:
        self._all: list[dict[str, Any]] = []
        self._rotating = False

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        if "polarizability / au" in line:
            self._rotating = False
            if len(self._all) < _MOST_TENSORS:
                self._all.append({"tensor_au": []})
        elif self._rotating and (match := _AVERAGE.match(line)):
            if (beta := number(match[1])) is not None:
                self._all[-1]["optical_rotation_beta_au"] = beta
            self._rotating = False
        elif _ROTATION in line:
            self._rotating = bool(self._all)
        elif self._all and "anisotropic_au" not in (now := self._all[-1]):
            if match := _FREQUENCY.match(line):
                now["frequency_hartree"] = number(match[1])
            elif len(now["tensor_au"]) < 3 and (match := _TENSOR.match(line)):
                now["tensor_au"].append(numbers(match.groups()[1:]))
            elif match := _MEAN.match(line):
                now[f"{match[1].lower()}_au"] = number(match[2])

    def found(self) -> dict[str, Any]:
        """`polarizability_au` is the mean, if there is only one frequency."""
        whole = [tensor for tensor in self._all if None not in (*tensor["tensor_au"], tensor.get("isotropic_au"))]
        if not whole:
            return {}
        found: dict[str, Any] = {"polarizabilities": whole}
        return found | ({"polarizability_au": whole[0]["isotropic_au"]} if len(whole) == 1 else {})


class Couplings:
    """Indirect spin-spin couplings (Hz) between nuclei."""

    def __init__(self) -> None:
        self._pair: list[int] | None = None
        self._all: list[dict[str, Any]] = []

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        if "and Atom" in line and (match := _PAIR.match(line)):
            self._pair = [int(match[1]), int(match[2])]
        elif self._pair is not None and "Coupling" in line and (match := _COUPLING.search(line)):
            value = number(match[1])
            if value is not None and len(self._all) < _MOST_STATES:
                self._all.append({"atoms": self._pair, "coupling_hz": value})

    def found(self) -> dict[str, Any]:
        """One coupling for each requested pair."""
        return {"spin_spin_couplings": list(self._all)} if self._all else {}
