"""Reads the energy of a task: for its own theory and state, at its reference geometry, with its name.

Units are hartree. Lines and their order are those of NWChem 7.0.2 (runs) and 7.2.3 (source).
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from qmrunner.engines.nwchem.input.asked import Asked

_NUMBER = r"(-?\d+\.\d+(?:[DE][-+]\d+)?)"
# `Total DFT energy =`, `Total MP2 energy`, `Total CCSD(T) energy:`, `Total PSPW energy   :`
_TOTAL = re.compile(rf"^\s*Total (\S+) energy\s*+[=:]?\s*+{_NUMBER}")
_CORRELATED = re.compile(rf"^\s*(\S+)\s+total energy / hartree\s*=\s*{_NUMBER}")
_CORRECTED = re.compile(rf"^\s*Corrected energy =\s*{_NUMBER}")
_TARGET = re.compile(r"^\s*Target (root|symmetry)\s*=\s*(\S+)")
_EXCITED = re.compile(rf"^\s*Excited state energy =\s*{_NUMBER}")
_MANIFOLD = re.compile(r"^\s*Root\s+\d+\s+(singlet|triplet)\b")
_EOM_SYMMETRY = re.compile(r"Excited-state calculation \(\s*(\S+)\s+symmetry\)")
_EOM_GROUND = re.compile(r"^\s*Ground-state symmetry is\s+(\S+)")
_EOM_ROOT = re.compile(r"^\s*Excited state root\s+(\d+)")
_EOM_ENERGY = re.compile(rf"^\s*Excitation energy / hartree\s*=\s*{_NUMBER}")
# Methods whose total energies are those of excited states.
_ON_EXCITED = ("CR-EOM", "EOM", "R-EOM")
_STEP = re.compile(rf"^@\s+(\d+)\s+{_NUMBER}")
_FIRST_SPRING = re.compile(r"^ adding spring #\s+1\s*$")
_SPRING = re.compile(r"^\s*spring length and energy\s*:\s*\S+\s+(-?\d*\.\d+(?:[DE][-+]\d+)?)\s*$")
_EVALUATION = re.compile(r"NWChem (Extensible Many-Electron Theory|TDDFT) Module")
_COARSE_GRID = "Error reading psi - bad grid"

# The names under which theories print their energy, if not the theory's own name in upper case.
_LABELS = {
    "scf": ("SCF",), "dft": ("DFT",), "sodft": ("SO-DFT",), "direct_mp2": ("MP2",), "semi_dir_mp2": ("MP2",),
    "rimp2": ("MP2", "RIMP2", "RI-MP2"), "rimp2_grad": ("MP2", "RIMP2", "RI-MP2"),
}  # fmt: skip
_NAMES = {"SCF": "HF"}
# Energies of a path's beads are not the energy of the task; a user's Python program may compute anything.
_WITHOUT = frozenset({"neb", "string"})
_NO_THEORY = frozenset({"python", "shell", "esp", "dplot", "nbo"})
_ITERATIVE = frozenset({"", "scf", "dft", "sodft"})
_STEPPING = frozenset({"optimize", "saddle", "mepgs"})
_FIRST = frozenset({"freq", "hessian", "raman", "vscf", "gradient"})
_ROUNDING = 0.51e-8
_MOST_BETWEEN_STEPS = 4096


@dataclass(frozen=True, slots=True)
class Energy:
    """An energy (hartree), its theory, and the excited state's root, symmetry and multiplicity, as far as printed."""

    hartree: float
    of: str
    root: int | None = None
    symmetry: str | None = None
    multiplicity: int | None = None


class EnergyReader:
    """Reads the lines of one task. For a task without a theory it accepts any energy."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        theory = asked.theory
        self._labels = _LABELS.get(theory, (theory.upper(),))
        if theory == "dft" and asked.dftmp2:
            self._labels = ("DFT+MP2",)
        self._correlated = asked.method is not None
        self._silent = asked.operation in _WITHOUT or theory in _NO_THEORY
        self._states = _States(asked)
        self._first: Energy | None = None
        self._last: Energy | None = None
        self._evaluations = 0
        self._since_step: deque[tuple[Energy, float]] = deque(maxlen=_MOST_BETWEEN_STEPS)
        self._step: Energy | None = None
        self._at_step: float | None = None
        self.steps: int | None = None

    def feed(self, line: str, number: int) -> None:
        """One line of the log and its number, from 1."""
        if line.startswith("@"):
            if match := _STEP.match(line):
                self._take_step(int(match[1]), float(match[2]))
        elif "spring" in line:
            self._take_spring(line)
        elif "energy" in line and (found := self._energy(line)) is not None:
            self._take(found)
        elif _COARSE_GRID in line:
            # Plane-wave runs first compute the reference on a coarser grid.
            self._first = None
        elif " Module" in line and _EVALUATION.search(line):
            self._evaluations += 1
        else:
            self._states.feed(line)

    @property
    def found(self) -> Energy | None:
        """The task's energy; None if the task prints none."""
        if self._silent:
            return None
        if self._step is not None and (self._asked.operation in _STEPPING or not self._asked.theory):
            return self._step
        if self._asked.operation in _FIRST and not self._asked.bsse:
            return self._first
        return self._last

    @property
    def iterates(self) -> bool:
        """Whether the energy of the SCF iterations is this task's energy."""
        asked = self._asked
        if asked.theory not in _ITERATIVE or asked.dftmp2 or asked.bsse or self._silent:
            return False
        return asked.operation not in _FIRST or self._first is None

    @property
    def name(self) -> str:
        """The name of such an energy when none was printed."""
        asked = self._asked
        # NWChem 7.0.2 computes CCSD where the deck asks for CC2, and prints CCSD as the method.
        method = "CCSD" if asked.method == "CC2" else asked.method
        if asked.bsse:
            return "counterpoise-corrected"
        if asked.root is not None:
            return f"{asked.ions}EOM-{method} root {asked.root}" if method else f"TDDFT root {asked.root}"
        return method or self._name(self._labels[0])

    def _take(self, found: Energy) -> None:
        # These modules compute several energies before the one that counts, and print all of them.
        if self._first is None or self._evaluations == 1:
            self._first = found
        self._last = found
        self._since_step.append((found, 0.0))

    def _take_spring(self, line: str) -> None:
        """The energy of restraints at the geometry of the last energy, which the optimiser adds to it."""
        if not self._since_step:
            return
        energy, restraint = self._since_step[-1]
        if _FIRST_SPRING.match(line):
            self._since_step[-1] = energy, 0.0
        elif match := _SPRING.match(line):
            self._since_step[-1] = energy, restraint + _float(match[1])

    def _take_step(self, step: int, hartree: float) -> None:
        self.steps = step
        exact = next(
            (
                energy
                for energy, restraint in reversed(self._since_step)
                if abs(energy.hartree + restraint - hartree) < _ROUNDING
            ),
            None,
        )
        self._since_step.clear()
        # The summary repeats the line of the last step.
        if exact is not None:
            self._step = exact
        elif self._step is None or self._at_step != hartree:
            self._step = Energy(hartree, self._last.of if self._last else self.name)
        self._at_step = hartree

    def _energy(self, line: str) -> Energy | None:
        if match := _CORRECTED.match(line):
            return Energy(float(match[1]), "counterpoise-corrected")
        if self._asked.bsse:
            return None  # the monomers' energies are printed in the same words
        anything = not self._asked.theory
        if self._asked.theory == "tddft" or (anything and "Excited" in line):
            match = _EXCITED.match(line)
            return self._states.excited(float(match[1])) if match else None
        if self._correlated or (anything and "hartree" in line):
            return self._states.correlated(line)
        match = _TOTAL.match(line)
        if match is None or not (anything or match[1] in self._labels):
            return None
        return Energy(_float(match[2]), self._name(match[1]))

    def _name(self, label: str) -> str:
        if label in ("DFT", "SO-DFT", "DFT+MP2"):
            return self._asked.functional or label
        return "RI-MP2" if self._asked.theory.startswith("rimp2") else _NAMES.get(label, label)


class _States:
    """The state that the energies belong to, of linear response and of coupled cluster."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._root = 1
        self._symmetry: str | None = None
        self._multiplicity: int | None = None
        self._ground: Energy | None = None
        self._ground_symmetry: str | None = None
        self._eom_symmetry: str | None = None
        self._eom_roots: list[int] = []
        self._corrected = 0

    def feed(self, line: str) -> None:
        if match := _TARGET.match(line):
            if match[1] == "root" and match[2].isascii() and match[2].isdigit():
                self._root = int(match[2])
            elif match[1] == "symmetry":
                self._symmetry = None if match[2] == "none" else match[2]
        elif match := _MANIFOLD.match(line):
            self._multiplicity = {"singlet": 1, "triplet": 3}[match[1]]
        elif match := _EOM_SYMMETRY.search(line):
            self._eom_symmetry = match[1]
        elif match := _EOM_GROUND.match(line):
            self._ground_symmetry = match[1]
        elif match := _EOM_ROOT.match(line):
            if self._corrected:
                self._eom_roots, self._corrected = [], 0
            self._eom_roots.append(int(match[1]))

    def excited(self, hartree: float) -> Energy:
        return Energy(hartree, f"TDDFT root {self._root}", self._root, self._symmetry, self._multiplicity)

    def correlated(self, line: str) -> Energy | None:
        """The total energy of a method, or of the target root of the equation of motion on top of it."""
        if match := _CORRELATED.match(line):
            if match[1].startswith(_ON_EXCITED):
                return self._of_root(match[1], float(match[2]))
            self._ground = Energy(float(match[2]), match[1])
            return None if self._asked.root is not None else self._ground
        match = _EOM_ENERGY.match(line)
        root = self._eom_roots[-1] if self._eom_roots else None
        if match is None or self._ground is None or root is None or not self._is_target(root):
            return None
        name = f"{self._asked.ions}EOM-{self._ground.of} root {root}"
        return Energy(self._ground.hartree + float(match[1]), name, root, self._eom_symmetry)

    def _of_root(self, method: str, hartree: float) -> Energy | None:
        """The total energy of a correction to the roots, which come in the order in which they were listed."""
        self._corrected += 1
        listed = self._eom_roots[self._corrected - 1 : self._corrected]
        if not listed or not self._is_target(listed[0]):
            return None
        return Energy(hartree, f"{method} root {listed[0]}", listed[0], self._eom_symmetry)

    def _is_target(self, root: int) -> bool:
        # Without a symmetry the target state has the ground state's symmetry.
        wanted = self._asked.symmetry or self._ground_symmetry
        return root == self._asked.root and (wanted is None or self._eom_symmetry in (None, wanted))


def _float(text: str) -> float:
    return float(text.replace("D", "E"))
