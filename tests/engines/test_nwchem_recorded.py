"""Every recorded NWChem run gets the verdict a person would give it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qmrunner.engines.nwchem import NWChem
from qmrunner.model.jobs import Outcome
from tests.engines.support import FIXTURES, exit_of, step

RECORDED = sorted(path.parent for path in (FIXTURES / "nwchem").glob("*/meta.json"))
# What was sent, and why, is known to qmrunner alone: these runs were ended by it.
STOP_REASONS = {
    "container-stopped": "drain",
    "mpirun-interrupted-scf": "drain",
    "mpirun-terminated-openmpi5": "drain",
    "mpirun-terminated-scf": "drain",
    "rank-stopped-hang": "hung",
    "rank-stopped-hang-openmpi5": "hung",
}
# qmrunner never sends SIGINT itself, so it calls each of its stops `terminated`.
OTHER_WORD = {"mpirun-interrupted-scf": "terminated"}


def meta_of(folder: Path) -> dict[str, Any]:
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    return meta


def verdict(folder: Path, tmp_path: Path, stop_reason: str | None = None, stderr_first: bool = False) -> Outcome:
    """The outcome of a recorded run, with stdout and stderr in one log as a guardian writes them."""
    meta = meta_of(folder)
    directory = tmp_path / "attempt"
    directory.mkdir()
    for deck in folder.glob("*.nw"):
        shutil.copyfile(deck, directory / deck.name)
    parts = [(folder / "stdout.txt").read_bytes(), (folder / "stderr.txt").read_bytes()]
    log = tmp_path / "step.1.log"
    log.write_bytes(b"".join(reversed(parts) if stderr_first else parts))
    oom_kills = int((meta.get("container") or {}).get("oom_killed", False))
    exit = exit_of(meta, oom_kills=oom_kills, stop_reason=stop_reason)
    return NWChem().interpret(step("nwchem", "deck", deck="input.nw"), directory, log, exit)


@pytest.mark.parametrize("folder", RECORDED, ids=lambda folder: folder.name)
@pytest.mark.parametrize("stderr_first", [False, True], ids=["stdout-first", "stderr-first"])
def test_a_recorded_run_gets_its_verdict_and_code(folder: Path, stderr_first: bool, tmp_path: Path) -> None:
    expected = meta_of(folder)["expected"]
    outcome = verdict(folder, tmp_path, STOP_REASONS.get(folder.name), stderr_first)
    wanted = "failed" if expected["outcome"] == "truncated" else expected["outcome"]
    code = OTHER_WORD.get(folder.name, expected["code"])
    assert (outcome.state, outcome.code) == (wanted, code), outcome.evidence


@pytest.mark.parametrize("folder", RECORDED, ids=lambda folder: folder.name)
def test_the_evidence_is_the_line_that_decides_with_its_place_in_the_log(folder: Path, tmp_path: Path) -> None:
    expected = meta_of(folder)["expected"]
    outcome = verdict(folder, tmp_path, STOP_REASONS.get(folder.name))
    if outcome.state == "succeeded":
        assert outcome.evidence is None
        return
    assert outcome.evidence is not None
    assert outcome.remedy
    if expected["evidence"] is None:
        return
    assert outcome.evidence.text == expected["evidence"]
    assert outcome.evidence.line is not None
    line = (tmp_path / "step.1.log").read_text(errors="replace").split("\n")[outcome.evidence.line - 1]
    assert line.rstrip() == outcome.evidence.text


@pytest.mark.parametrize("name", sorted(STOP_REASONS))
def test_a_run_ended_unseen_is_called_what_its_files_show(name: str, tmp_path: Path) -> None:
    outcome = verdict(FIXTURES / "nwchem" / name, tmp_path)
    expected = meta_of(FIXTURES / "nwchem" / name)["expected"]
    assert outcome.state == "failed"
    assert outcome.code == expected.get("fallback_code", "killed")
    assert outcome.failure_class == "transient"


def test_a_hang_because_of_too_little_shared_memory_names_the_cause_although_qmrunner_ended_it(tmp_path: Path) -> None:
    outcome = verdict(FIXTURES / "nwchem" / "container-shm-2m-nmr-hang", tmp_path, stop_reason="hung")
    assert (outcome.state, outcome.code, outcome.failure_class) == ("stopped", "shm_exhausted", "resource")


def test_a_run_that_was_complete_before_the_stop_reached_it_is_a_success(tmp_path: Path) -> None:
    outcome = verdict(FIXTURES / "nwchem" / "ok-energy-water-hf", tmp_path, stop_reason="drain")
    assert outcome.state == "succeeded"


def test_a_disk_that_filled_is_no_success_even_with_a_complete_text(tmp_path: Path) -> None:
    folder = FIXTURES / "nwchem" / "ok-energy-water-hf"
    log = tmp_path / "log"
    log.write_bytes((folder / "stdout.txt").read_bytes())
    exit = exit_of(meta_of(folder), disk_full=True)
    outcome = NWChem().interpret(step("nwchem", "deck", deck="input.nw"), folder, log, exit)
    assert (outcome.state, outcome.code) == ("failed", "scratch_full")


def test_a_success_reports_energy_shieldings_and_provenance(tmp_path: Path) -> None:
    outcome = verdict(FIXTURES / "nwchem" / "ok-nmr-ethanol-two-atoms", tmp_path)
    assert outcome.result["energy_hartree"] == pytest.approx(-154.8, abs=0.5)
    assert [value["isotropic_ppm"] for value in outcome.result["shieldings"]] == [169.4166, 132.9901]
    assert outcome.result["provenance"]["nwchem"]["version"] == "7.0.2"
    assert outcome.result["provenance"]["nwchem"]["ranks"] == 2
    assert outcome.result["provenance"]["nwchem"]["mpi"] == "openmpi"


def test_an_optimised_deck_publishes_its_last_geometry(tmp_path: Path) -> None:
    outcome = verdict(FIXTURES / "nwchem" / "ok-opt-water-cosmo", tmp_path)
    lines = (tmp_path / "attempt" / "geometry.xyz").read_text().splitlines()
    assert "geometry.xyz" in outcome.publish
    assert lines[0] == "3"
    assert lines[2].split() == ["O", "0.00000000", "0.00000000", "0.12805037"]


def test_shieldings_count_only_when_every_requested_atom_has_a_finite_one(tmp_path: Path) -> None:
    folder = FIXTURES / "nwchem" / "ok-nmr-water"
    text = (folder / "stdout.txt").read_text()
    asked = step("nwchem", "shielding", atoms=["O", "H", "H"])
    log = tmp_path / "log"
    results = []
    for changed in (
        text,
        text.replace("isotropic =", "isotropic = NaN #", 1),
        text.replace("Atom:    3", "Atxx:    3"),
    ):
        log.write_text(changed)
        results.append(NWChem().interpret(asked, tmp_path, log, exit_of(meta_of(folder))))
    assert [outcome.state for outcome in results] == ["succeeded", "failed", "failed"]
    assert [value["atom"] for value in results[0].result["shieldings"]] == [1, 2, 3]


def test_chosen_nuclei_keep_their_own_numbers_although_nwchem_counts_them_from_one(tmp_path: Path) -> None:
    folder = FIXTURES / "nwchem" / "ok-nmr-ethanol-two-atoms"
    log = tmp_path / "log"
    log.write_text((folder / "stdout.txt").read_text().replace("Atom:    2  C", "Atom:    2  H"))
    asked = step("nwchem", "shielding", atoms=list("CCOHHHHHH"), nuclei=[4, 1])
    outcome = NWChem().interpret(asked, tmp_path, log, exit_of(meta_of(folder)))
    assert [(value["atom"], value["element"]) for value in outcome.result["shieldings"]] == [(1, "C"), (4, "H")]
