"""The corpus of decks: what each is for, the values read off its bare run, and how a result is compared."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmrunner.engines.nwchem import NWChem
from qmrunner.model.jobs import Exit, Outcome
from tests.engines.support import step

DECKS = Path(__file__).with_name("decks")
VERSIONS = ("7.0.2", "7.2.3")
# How far a value may be from the one in expected.toml, by the name it or the list it stands in has. A recording gives
# the printed digits; a run on another machine moves the last ones.
_PRINTED: dict[str, float] = {"frequencies_cm1": 0.02, "frequency_cm1": 0.02, "raman": 0.01, "anisotropic_au": 1e-4}
_RUN: dict[str, float] = {
    "energy_hartree": 2e-6,
    "frequencies_cm1": 1.0,
    "ir_intensities_km_mol": 0.2,
    "path_energies_hartree": 1e-4,
    "geometry": 5e-4,
    "excitations": 1e-3,
    "shieldings": 0.02,
}
_RUN_DEFAULT = 2e-3
_PRINTED_DEFAULT = 1e-5


@dataclass(frozen=True, slots=True)
class Deck:
    """One deck and what is expected of one version. `expected` is that of this version, differences laid over."""

    name: str
    version: str
    expected: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        return DECKS / self.name

    @property
    def output(self) -> Path:
        return self.folder / f"{self.version}.out"

    def step(self) -> Any:
        return step("nwchem", "deck", deck="input.nw")


def of_version(version: str, recorded: bool = True) -> list[Deck]:
    """Every deck, or every one whose output of that version is recorded."""
    decks = [_load(path.parent, version) for path in sorted(DECKS.glob("*/expected.toml"))]
    return [deck for deck in decks if not recorded or deck.output.exists()]


def _load(folder: Path, version: str) -> Deck:
    with (folder / "expected.toml").open("rb") as file:
        values = tomllib.load(file)
    differs = {known: values.pop(known, {}) for known in VERSIONS}
    expected = {**values, **differs[version]}
    quantities = {**values.get("quantities", {}), **differs[version].get("quantities", {})}
    return Deck(folder.name, version, {**expected, "quantities": quantities})


def verdict(deck: Deck, place: Path) -> tuple[Outcome, Path]:
    """The outcome of a recorded run and its attempt directory: the deck, the files it left, stdout and stderr."""
    directory = place / "attempt"
    directory.mkdir()
    for path in deck.folder.iterdir():
        if path.suffix not in {".out", ".err", ".toml"} and path.is_file():
            shutil.copyfile(path, directory / path.name)
    left = deck.folder / "left"
    for path in left.iterdir() if left.is_dir() else ():
        shutil.copyfile(path, directory / path.name)
    log = place / "step.1.log"
    log.write_bytes(deck.output.read_bytes() + (deck.folder / f"{deck.version}.err").read_bytes())
    exit = Exit(deck.expected["exit_code"][deck.version])
    return NWChem().interpret(deck.step(), directory, log, exit), directory


def differences(deck: Deck, outcome: Outcome, directory: Path, *, run: bool = False) -> list[str]:
    """Where an outcome is not as expected; empty when all is right. `run`: the values are those of a new run, where the
    run-time database exists and the last digits may differ."""
    expected = deck.expected
    state, wanted_class = expected["state"], expected.get("class")
    found = [f"{outcome.state} ({outcome.code}, {outcome.failure_class}): {outcome.evidence}"]
    if (outcome.state, outcome.failure_class) != (state, wanted_class):
        return [f"{state} ({wanted_class}) expected, {found[0]}"]
    if state != "succeeded":
        return []
    wrong: list[str] = []
    if expected.get("energy_printed", True) or run:
        wrong += compared("energy_hartree", expected.get("energy_hartree"), outcome.result.get("energy_hartree"), run)
        wrong += compared("energy_of", expected.get("energy_of"), outcome.result.get("energy_of"), run)
    if expected.get("geometry_printed", True):
        wrong += compared("geometry", expected.get("geometry"), _geometry(outcome, directory), run)
    for name, value in expected["quantities"].items():
        got = outcome.result.get(name)
        if name == "shieldings" and got is not None:
            got = [one.get("isotropic_ppm", one.get("isotropic")) for one in got]
        wrong += compared(name, value, got, run)
    return wrong


def _geometry(outcome: Outcome, directory: Path) -> list[list[Any]] | None:
    """Symbols and coordinates of the geometry.xyz that a run publishes, or None."""
    if "geometry.xyz" not in outcome.publish:
        return None
    rows = (directory / "geometry.xyz").read_text().splitlines()[2:]
    return [[row.split()[0], *(float(value) for value in row.split()[1:4])] for row in rows]


def compared(name: str, expected: Any, found: Any, run: bool = False) -> list[str]:
    """Where `found` is not `expected`. A table may hold more than is expected of it; a list may not."""
    return list(_compared(name, name, expected, found, run))


def _compared(path: str, name: str, expected: Any, found: Any, run: bool) -> Iterator[str]:
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            yield f"{path}: {found!r} for a table"
            return
        for key, value in expected.items():
            limited = key if key in _PRINTED or key in _RUN else name
            yield from _compared(f"{path}.{key}", limited, value, found.get(key), run)
    elif isinstance(expected, Sequence) and not isinstance(expected, str):
        if not isinstance(found, Sequence) or isinstance(found, str) or len(found) != len(expected):
            yield f"{path}: {found!r} instead of {len(expected)} values"
            return
        for number, (one, other) in enumerate(zip(expected, found, strict=True), start=1):
            yield from _compared(f"{path}[{number}]", name, one, other, run)
    elif isinstance(expected, float) and isinstance(found, (int, float)) and not isinstance(found, bool):
        limit = _RUN.get(name, _RUN_DEFAULT) if run else _PRINTED.get(name, _PRINTED_DEFAULT)
        if not abs(expected - found) <= limit:
            yield f"{path}: {found!r} instead of {expected!r}"
    elif expected != found:
        yield f"{path}: {found!r} instead of {expected!r}"
