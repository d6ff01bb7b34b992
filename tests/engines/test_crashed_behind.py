"""A crash behind a complete result is a success with a note; one before it is the failure that it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qmrunner.engines.crest.engine import Crest
from qmrunner.engines.nwchem import NWChem
from qmrunner.engines.xtb.engine import Xtb
from qmrunner.model.jobs import Exit, Outcome
from tests.engines import test_crest_recorded as crest
from tests.engines import test_nwchem_recorded as nwchem
from tests.engines import test_xtb_recorded as xtb
from tests.engines.support import FIXTURES, attempt, step

ENDS = [Exit(None, 11), Exit(139), Exit(None, 6), Exit(134), Exit(1), Exit(255), Exit(143, stop_reason="hung")]
BEHIND = "but only after the result was complete"


def succeeded(folders: list[Path]) -> list[Path]:
    return [one for one in folders if json.loads((one / "meta.json").read_text())["expected"]["outcome"] == "succeeded"]


def run_nwchem(folder: Path, tmp_path: Path, exit: Exit, lines: slice = slice(None)) -> Outcome:
    directory = tmp_path / "attempt"
    directory.mkdir()
    for deck in folder.glob("*.nw"):
        shutil.copyfile(deck, directory / deck.name)
    log = tmp_path / "step.1.log"
    kept = (folder / "stdout.txt").read_bytes().split(b"\n")[lines]
    log.write_bytes(
        b"\n".join(kept) + b"\nmpirun noticed that process rank 1 with PID 9 on node n exited on signal 11.\n"
    )
    return NWChem().interpret(step("nwchem", "deck", deck="input.nw"), directory, log, exit)


@pytest.mark.parametrize("exit", ENDS, ids=str)
def test_every_recorded_success_of_nwchem_stays_one(exit: Exit, tmp_path: Path) -> None:
    for folder in succeeded(nwchem.RECORDED):
        place = tmp_path / folder.name
        place.mkdir()
        got = run_nwchem(folder, place, exit)
        assert (got.state, got.code) == ("succeeded", "ok"), folder.name
        assert BEHIND in got.result["notes"][0]
        assert BEHIND in (got.summary or "")


@pytest.mark.parametrize("exit", [Exit(139), Exit(1), Exit(None, 11)], ids=str)
def test_a_run_of_nwchem_without_its_last_lines_is_none(exit: Exit, tmp_path: Path) -> None:
    for folder in succeeded(nwchem.RECORDED):
        place = tmp_path / folder.name
        place.mkdir()
        lines = (folder / "stdout.txt").read_text(errors="replace").split("\n")
        end = next(at for at, line in enumerate(lines) if "Total times  cpu:" in line)
        assert run_nwchem(folder, place, exit, slice(end)).state == "failed", folder.name


def test_a_full_disk_behind_the_last_line_is_no_success(tmp_path: Path) -> None:
    got = run_nwchem(FIXTURES / "nwchem" / "ok-energy-water-hf", tmp_path, Exit(139, disk_full=True))
    assert (got.state, got.code) == ("failed", "scratch_full")


def run_xtb(folder: Path, tmp_path: Path, exit: Exit, **changed: str) -> Outcome:
    case = xtb.load(folder)
    directory, log = attempt(folder, case.meta["files_after"], tmp_path)
    for name in changed:
        text = log.read_text()
        assert name.replace("_", " ") in text
        log.write_text(text.replace(name.replace("_", " "), changed[name]))
    log.write_text(
        log.read_text() + "\nProgram received signal SIGSEGV: Segmentation fault - invalid memory reference.\n"
    )
    return Xtb().interpret(step("xtb", "user", structure="input.xyz", args=case.args), directory, log, exit)


@pytest.mark.parametrize("exit", ENDS, ids=str)
def test_every_recorded_success_of_xtb_stays_one(exit: Exit, tmp_path: Path) -> None:
    for folder in succeeded(xtb.RECORDED):
        if folder.name in xtb.SEEN_FROM_OUTPUT:
            continue
        place = tmp_path / folder.name
        place.mkdir()
        got = run_xtb(folder, place, exit)
        assert got.state == "succeeded", (folder.name, got)
        assert BEHIND in got.result["notes"][0]


@pytest.mark.parametrize("changed", [{"normal_termination of xtb": "n"}, {"TOTAL_ENERGY": "T"}], ids=["end", "energy"])
def test_a_run_of_xtb_that_lacks_end_or_energy_is_none(changed: dict[str, Any], tmp_path: Path) -> None:
    folder = next(one for one in succeeded(xtb.RECORDED) if "opt" in one.name)
    assert run_xtb(folder, tmp_path, Exit(None, 11), **changed).state == "failed"


@pytest.mark.parametrize("name", ["ethanol", "ethanol-v2.12"])
def test_a_search_that_crashes_behind_its_ensemble_is_a_success(name: str, tmp_path: Path) -> None:
    _, directory, log = crest.recorded(name, tmp_path)
    got = Crest().interpret(step("crest", "conformers"), directory, log, Exit(None, 11))
    assert got.state == "succeeded"
    assert BEHIND in got.result["notes"][0]
    (directory / "crest_conformers.xyz").unlink()
    assert Crest().interpret(step("crest", "conformers"), directory, log, Exit(None, 11)).state == "failed"
