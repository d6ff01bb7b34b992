"""Energies along a path or in time, and of the levels of theory within one task. Checked against 7.0.2."""

from __future__ import annotations

import re
from typing import Any

from qmrunner.engines.nwchem.output.numbers import MOST_ATOMS, Table, number

_MOST_STEPS = 10_000
_QMD = {
    "Time elapsed (fs)": "time_fs",
    "Kin. energy (a.u.)": "kinetic_hartree",
    "Pot. energy (a.u.)": "potential_hartree",
    "Tot. energy (a.u.)": "total_hartree",
    "Current temp. (K)": "temperature_k",
}
_TOTAL = re.compile(r"^\s*Total (\S+) energy\s*+[=:]?\s*+(-?\d+\.\d+)\s*$")
_TCE = re.compile(r"^\s*(\S+)\s+total energy / hartree\s*=\s*(-?\d+\.\d+)")
# `&    1      -1.55383316  0.09962  0.19951`: number, energy, length of the step, length of the path.
_POINT = re.compile(r"^&\s+\d+\s+(-?\d+\.\d+)\s+\S+\s+\S+\s*$")
# `Reactants/Products overlap S(RP) :  1.00D+00`
_TRANSFER = re.compile(
    r"^\s*+(Electron Transfer Coupling Energy|Reactants/Products overlap) (?:\|V|S)\(RP\)\|?\s*+:?\s*+(-?\d\S*)"
)
_NAMES = {"SCF": "HF"}


class ReactionPath:
    """Energies (hartree) of the points of a reaction path (`mepgs`), from the saddle point on."""

    def __init__(self) -> None:
        self._energies: list[float] = []
        self.begun = False

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        if "IRC Optimization" in line:
            self.begun = True
        elif line.startswith("&") and (match := _POINT.match(line)) and len(self._energies) < MOST_ATOMS:
            value = number(match[1])
            self._energies += [] if value is None else [value]

    def found(self) -> dict[str, Any]:
        """See the class."""
        return {"path_energies_hartree": list(self._energies)} if self._energies else {}


class Path:
    """Energies (hartree) of the beads of the last path, from its start to its end (`neb`, `string`)."""

    def __init__(self) -> None:
        self._table = Table("Path Energy #", r"^\s*(?:neb|string):\s+\d+\s+(\S+)\s*$", most=MOST_ATOMS)

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        self._table.feed(line)

    def found(self) -> dict[str, Any]:
        """See the class."""
        energies = self._table.column(0)
        return {"path_energies_hartree": energies} if energies else {}


class Trajectory:
    """The steps of Born-Oppenheimer dynamics (`qmd`): energies in hartree, times in fs, temperatures in K."""

    def __init__(self) -> None:
        self._steps: list[dict[str, float]] = []

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        name, colon, rest = line.partition(":")
        key = _QMD.get(name.strip()) if colon else None
        if key is None or not rest.split():
            return
        value = number(rest.split()[-1])
        if key == "time_fs" and value is not None and len(self._steps) < _MOST_STEPS:
            self._steps.append({key: value})
        elif self._steps and value is not None:
            self._steps[-1].setdefault(key, value)

    def found(self) -> dict[str, Any]:
        """Its first 10,000 steps."""
        return {"trajectory": list(self._steps)} if self._steps else {}


class ElectronTransfer:
    """Coupling (hartree) and overlap of the two states of an electron transfer (`et`)."""

    def __init__(self) -> None:
        self._found: dict[str, float] = {}

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        match = _TRANSFER.match(line) if "|V(RP)|" in line or "S(RP)" in line else None
        if match is not None and (value := number(match[2])) is not None:
            name = "overlap" if match[1].startswith("Reactants") else "coupling_hartree"
            self._found[f"electron_transfer_{name}"] = value

    def found(self) -> dict[str, Any]:
        """See the class."""
        return dict(self._found)


class Levels:
    """Total energies (hartree) by level of theory, as a correlated method prints them."""

    def __init__(self) -> None:
        self._energies: dict[str, float] = {}

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        if "energy" in line and (match := _TOTAL.match(line) or _TCE.match(line)):
            value = number(match[2])
            if value is not None and len(self._energies) < MOST_ATOMS:
                name = _NAMES.get(match[1], match[1])
                self._energies.pop(name, None)  # its position is that of its last line
                self._energies[name] = value

    def found(self) -> dict[str, Any]:
        """Empty for a single level: that is the energy itself."""
        return {"energies_hartree": dict(self._energies)} if len(self._energies) > 1 else {}
