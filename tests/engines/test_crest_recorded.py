"""Every recorded CREST run gets the verdict a person would give it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qmrunner.engines.crest.engine import Crest
from qmrunner.model.jobs import Exit
from tests.engines.support import FIXTURES, attempt, exit_of, step

RUNS = sorted(path.parent for path in (FIXTURES / "crest").rglob("run.json"))
VERDICTS = {
    "butanol": ("succeeded", "ok"),
    "ethanol": ("succeeded", "ok"),
    "ethanol-cation": ("succeeded", "ok"),
    "ethanol-legacy": ("succeeded", "ok"),
    "ethanol-mquick": ("succeeded", "ok"),
    "ethanol-v2.12": ("succeeded", "ok"),
    "hydrogen": ("succeeded", "ok"),
    "water": ("succeeded", "ok"),
    "atoms-overlap": ("failed", "geometry_bad"),
    "empty-xyz": ("failed", "input_error"),
    "missing-file": ("failed", "input_missing"),
    "sigint-ignored-legacy": ("failed", "mtd_failed"),
    "sigkill-partial-results": ("failed", "killed"),
    "sigterm": ("stopped", "terminated"),
    "topology-lost": ("failed", "geometry_bad"),
    "truncated-xyz": ("failed", "geometry_bad"),
    "unknown-element": ("failed", "geometry_bad"),
    "unknown-solvent": ("failed", "illegal_solvent"),
    "unknown-solvent-legacy": ("failed", "geometry_bad"),
    "unknown-solvent-stale-results": ("failed", "illegal_solvent"),
    "xtb-missing-legacy": ("failed", "engine_missing"),
    "xtb-missing-v2.12": ("failed", "engine_missing"),
}
LOWEST = {
    "butanol": (15, -17.73),
    "ethanol": (3, -11.40063242),
    "ethanol-mquick": (4, -11.40063),
    "hydrogen": (1, -0.98),
}


def recorded(name: str, target: Path) -> tuple[dict[str, Any], Path, Path]:
    folder = FIXTURES / "crest" / name
    run = json.loads((folder / "run.json").read_text())
    directory, log = attempt(folder, run["files_after"], target)
    return run, directory, log


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_a_recorded_search_gets_its_true_verdict(folder: Path, tmp_path: Path) -> None:
    run, directory, log = recorded(str(folder.relative_to(FIXTURES / "crest")), tmp_path)
    got = Crest().interpret(
        step("crest", "user", structure=run["argv"][1], args=run["argv"][2:]), directory, log, exit_of(run)
    )
    assert (got.state, got.code) == VERDICTS[folder.name], got
    if got.state == "succeeded":
        assert {"crest_conformers.xyz", "crest_best.xyz"} <= set(got.publish)
        assert ("crest.energies" in got.publish) is (folder / "crest.energies").exists()
    else:
        assert got.evidence is not None
        assert got.remedy
        assert got.failure_class


@pytest.mark.parametrize("name", LOWEST)
def test_a_search_reports_every_conformer_in_file_order_with_its_energy(name: str, tmp_path: Path) -> None:
    run, directory, log = recorded(name, tmp_path)
    got = Crest().interpret(step("crest", "conformers"), directory, log, exit_of(run))
    count, lowest = LOWEST[name]
    energies = [conformer["energy_hartree"] for conformer in got.result["conformers"]]
    assert len(energies) == count
    assert energies == sorted(energies)
    assert got.result["energy_hartree"] == energies[0] == pytest.approx(lowest, abs=0.01)
    assert got.promote == ()


def test_a_legacy_search_fails_for_the_reason_its_xtb_gave(tmp_path: Path) -> None:
    run, directory, log = recorded("failures/unknown-solvent-legacy", tmp_path)
    said = FIXTURES / "xtb-runs/failures/unknown-solvent/stdout.txt"
    (directory / "xtb.out").write_bytes(said.read_bytes())
    got = Crest().interpret(step("crest", "conformers"), directory, log, exit_of(run))
    assert (got.state, got.code) == ("failed", "illegal_solvent")
    assert got.evidence is not None
    assert got.evidence.file == "xtb.out"


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_an_ensemble_cut_by_a_full_disk_is_no_success(share: float, tmp_path: Path) -> None:
    run, directory, log = recorded("ethanol", tmp_path)
    path = directory / "crest_conformers.xyz"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    got = Crest().interpret(step("crest", "conformers"), directory, log, exit_of(run))
    assert (got.state, got.code) == ("failed", "truncated_output")


def test_an_ensemble_with_fewer_structures_than_the_log_states_is_no_success(tmp_path: Path) -> None:
    run, directory, log = recorded("ethanol", tmp_path)
    path = directory / "crest_conformers.xyz"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:22]))
    got = Crest().interpret(step("crest", "conformers"), directory, log, exit_of(run))
    assert (got.state, got.code) == ("failed", "truncated_output")


def test_an_ensemble_of_other_atoms_than_went_in_is_no_success(tmp_path: Path) -> None:
    run, directory, log = recorded("ethanol", tmp_path)
    ended = exit_of(run)
    right = step("crest", "conformers", atoms=list("CCOHHHHHH"))
    wrong = step("crest", "conformers", atoms=list("CCNHHHHHH"))
    assert Crest().interpret(right, directory, log, ended).state == "succeeded"
    assert Crest().interpret(wrong, directory, log, ended).code == "truncated_output"


def test_a_killed_search_does_not_pass_off_its_intermediate_ensemble_as_a_result(tmp_path: Path) -> None:
    run, directory, log = recorded("failures/sigkill-partial-results", tmp_path)
    assert (directory / "crest_conformers.xyz").stat().st_size > 0
    asked = step("crest", "conformers")
    assert Crest().interpret(asked, directory, log, exit_of(run)).state == "failed"
    assert Crest().interpret(asked, directory, log, Exit(0)).code == "truncated_output"


def test_a_single_point_in_an_unknown_solvent_is_no_success_although_it_ends_normally(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("STOP\n solvent: 'furan' is not parametrized\n CREST terminated normally.\n")
    asked = step("crest", "user", structure="a.xyz", args=["--sp", "--alpb", "furan"])
    assert Crest().interpret(asked, tmp_path, log, Exit(0)).code == "illegal_solvent"
