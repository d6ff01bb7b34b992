"""Tensors at the nuclei and of the electron spin in the output of one NWChem task. Checked against NWChem 7.0.2.

Atoms have the numbers of NWChem's centres, ghosts (`Bq`) among them.
"""

from __future__ import annotations

import re
from typing import Any

from qmrunner.engines.nwchem.output.numbers import MOST_ATOMS, number, numbers

# Each heads a section of the property module; the tensors of all of them are printed in the same words.
_SHIELDINGS, _COUPLINGS, _GSHIFT = "Chemical Shielding Tensors", "Hyperfine Tensor (in au)", "g-Shift Tensor (in ppm)"
_HEADINGS = (_SHIELDINGS, _COUPLINGS, _GSHIFT)
_ATOM = re.compile(r"Atom:\s+(\d+)\s+([A-Za-z]+)")
_TENSOR = re.compile(r"(isotropic|anisotropy)\s*=\s*(\S+)")
_CONTACT = re.compile(r"^\s*(\d+)\s+(\d+)-\s*([A-Za-z]+)\s+\S+\s+\S+\s+\S+\s+(\S+)\s+(\S+)\s+\S+\s*$")
_SITE = re.compile(r"^\s*(\d+)\s+(\d+)-\s*([A-Za-z]+)\s+\S+\s+\S+\s+\S+\s*$")
_TOTAL_COUPLING = re.compile(r"^\s*isotropic\s+A\(au\)\s+\S+\s+A\(MHz\)\s*(\S+)")
_POINT = re.compile(r"^\s*(\d+)\s+([A-Za-z]+)\s+\S+\s+\S+\s+\S+\s*$")
_SYMMETRY = "Use of symmetry is: on"
_COMPONENTS = ("xx", "yy", "zz", "xy", "xz", "yz")


def _section(line: str) -> str | None:
    return next((heading for heading in _HEADINGS if heading in line), None)


class Shieldings:
    """Shieldings (ppm) in the order printed: of the last task, and in `earlier` those of the tasks before it. A value
    that is not a finite number is left out.
    """

    def __init__(self) -> None:
        self.values: list[dict[str, Any]] = []
        self.earlier: list[dict[str, Any]] = []
        self._inside = False

    def feed(self, line: str, number_of_line: int = 0) -> None:
        """One line of output."""
        if "Tensor" in line and (heading := _section(line)) is not None:
            self._inside = heading == _SHIELDINGS
            if self._inside:
                self.earlier += self.values
                self.values = []
        elif not self._inside:
            return
        elif "Atom:" in line and (match := _ATOM.search(line)):
            self.values.append({"atom": int(match[1]), "element": match[2].capitalize()})
        elif "isotrop" in line and self.values and (match := _TENSOR.search(line)):
            value = number(match[2])
            if value is not None:
                self.values[-1][f"{match[1]}_ppm"] = value

    def complete(self, every_task: bool = False) -> list[dict[str, Any]]:
        """The atoms of the last task, or of every one, whose isotropic value was printed and is finite."""
        values = [*self.earlier, *self.values] if every_task else self.values
        return [value for value in values if "isotropic_ppm" in value]

    def found(self) -> dict[str, Any]:
        """Numbered as printed: from 1 also where nuclei were chosen."""
        whole = self.complete()
        return {"shieldings": whole} if whole and len(whole) <= MOST_ATOMS else {}


class Hyperfine:
    """Hyperfine couplings of an open shell: the isotropic one and the principal values of the dipolar part (MHz)."""

    def __init__(self) -> None:
        self._atoms: dict[int, dict[str, Any]] = {}
        self._symmetric = self._inside = self._zora = self._wrong = self._total = False
        self._now: dict[str, Any] | None = None
        self._principal = False

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        if _SYMMETRY in line:
            self._symmetric = True
        elif "Hyperfine Interactions" in line:
            self._atoms, self._inside, self._zora, self._wrong = {}, True, False, False
        elif "Tensor" in line and (heading := _section(line)) is not None:
            self._inside = self._zora = heading == _COUPLINGS
            if self._inside:
                self._atoms, self._wrong = {}, self._symmetric
        elif not self._inside:
            return
        elif self._zora:
            self._relativistic(line)
        elif match := _CONTACT.match(line):
            self._contact(match)
        elif match := _SITE.match(line):
            self._now = self._atoms.get(int(match[1]))
        elif "Principal Comp. of -hf- tensor" in line:
            self._principal = True
        elif self._principal and (values := numbers(line.split())) and len(values) == 9:
            self._principal = False
            if self._now is not None:
                self._now["dipolar_mhz"] = values[3:6]

    def _contact(self, match: re.Match[str]) -> None:
        density, coupling = number(match[4]), number(match[5])
        if coupling is not None and len(self._atoms) < MOST_ATOMS:
            at = int(match[1])
            self._atoms[at] = {
                "atom": at, "element": match[3].capitalize(), "mass_number": int(match[2]),
                "isotropic_mhz": coupling, "spin_density_au": density,
            }  # fmt: skip

    def _relativistic(self, line: str) -> None:
        if match := _ATOM.search(line):
            self._now = {"atom": int(match[1]), "element": match[2].capitalize()}
        elif "Total hyperfine coupling tensor" in line:
            self._total = True
        elif self._total and (match := _TOTAL_COUPLING.match(line)):
            self._total = False
            value = number(match[1])
            if self._now is not None and value is not None and len(self._atoms) < MOST_ATOMS:
                self._now["isotropic_mhz"] = value
                self._atoms[self._now["atom"]] = self._now

    def found(self) -> dict[str, Any]:
        """`mass_number` is of the isotope that NWChem takes; with ZORA it does not print it, nor a spin density.

        Nothing of ZORA under symmetry, which is wrong (`remarks`).
        """
        if self._wrong:
            return {}
        return {"hyperfine_couplings": list(self._atoms.values())} if self._atoms else {}


class GShift:
    """The shift of the g tensor from the free electron's (ppm)."""

    def __init__(self) -> None:
        self._inside = self._principal = False
        self._isotropic: float | None = None
        self._components: list[float] | None = None

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        if "Tensor" in line and (heading := _section(line)) is not None:
            self._inside, self._principal = heading == _GSHIFT, False
        elif not self._inside:
            return
        elif match := _TENSOR.search(line):
            if match[1] == "isotropic":
                value = number(match[2])
                self._isotropic = None if value is None else _in_ppm(value)
        elif "Principal Components and Axis System" in line:
            self._principal = True
        elif self._principal and "." in line and len(line.split()) == 3:
            values = numbers(line.split())
            self._components = None if values is None else [_in_ppm(value) for value in values]
            self._principal = False

    def found(self) -> dict[str, Any]:
        """The isotropic shift and the principal values, the largest one first."""
        values = {"g_shift_ppm": self._isotropic, "g_shift_principal_ppm": self._components}
        return {name: value for name, value in values.items() if value is not None}


def _in_ppm(printed: float) -> float:
    """NWChem prints parts in a thousand under a heading of `ppm`: B3LYP's 12.9 of H2O+ is 12,900 ppm, and the unused
    format of hnd_gshift_zora.F has `ppt`."""
    return round(1000 * printed, 1)


class FieldGradients:
    """Electric field gradients at the nuclei (atomic units)."""

    def __init__(self) -> None:
        self._atoms: dict[int, dict[str, Any]] = {}
        self._next = ""
        self._symmetric = self._wrong = self._inside = False
        self._now: dict[str, Any] | None = None

    def feed(self, line: str) -> None:
        """One line of the task's output."""
        if _SYMMETRY in line:
            self._symmetric = True
        elif line.startswith("EFG-tot"):
            self._wrong, self._inside = self._wrong or self._symmetric, True
        elif "Electric field gradient" in line and "molecular frame" not in line:
            self._inside = True
        elif not self._inside:
            return
        elif "Electric field gradient in molecular frame" in line:
            self._next = "tensor"
        elif "Principal components (a.u.)" in line:
            self._next = "principal"
        elif not self._next and (match := _POINT.match(line)):
            self._now = {"atom": int(match[1]), "element": match[2].capitalize()}
        elif self._next and self._now is not None:
            self._values(line, self._now)

    def _values(self, line: str, now: dict[str, Any]) -> None:
        values = numbers(line.split())
        if not values:
            return
        if self._next == "tensor" and len(values) == 6:
            now["tensor_au"] = dict(zip(_COMPONENTS, values, strict=True))
        elif self._next == "principal" and len(values) == 4:
            now["principal_au"], now["asymmetry"] = values[:3], values[3]
            if len(self._atoms) < MOST_ATOMS or now["atom"] in self._atoms:
                self._atoms[now["atom"]] = now
        self._next = ""

    def found(self) -> dict[str, Any]:
        """One for each nucleus; principal values from the largest one on, as NWChem sorts them.

        Nothing of ZORA under symmetry, which is wrong (`remarks`).
        """
        if self._wrong:
            return {}
        return {"electric_field_gradients": list(self._atoms.values())} if self._atoms else {}
