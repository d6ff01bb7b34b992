"""Remedies with the real programs: what fails is changed, runs again, and gives the answer of an undisturbed run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qmrunner.engines.nwchem import NWChem
from qmrunner.engines.xtb.engine import Xtb
from qmrunner.model.jobs import Evidence, Grant, Outcome, Step
from qmrunner.model.remedies import Adjusted, Failure, propose
from tests import decks
from tests.engines.remedied import CAPACITY, Course, carry, log_of
from tests.engines.support import FIXTURES, exit_of, step

WATER = "3\nwater\nO 0.0 0.0 0.2\nH 0.0 0.8 -0.471\nH 0.0 -0.757 -0.471\n"
PARAMS: dict[str, Any] = {"atoms": ["O", "H", "H"], "basis": "sto-3g", "cosmo": None}
ENERGY = -75.31279
CI = os.environ.get("CI") == "true"
HAVE_NWCHEM = any(shutil.which(name) for name in ("nwchem", "nwchem.openmpi"))
nwchem = pytest.mark.skipif(not HAVE_NWCHEM and not CI, reason="nwchem is not installed")
xtb = pytest.mark.skipif(shutil.which("xtb") is None and not CI, reason="xtb is not installed")
pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def water(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "in.xyz").write_text(WATER)
    return {"geometry": tmp_path / "in.xyz"}


def of_deck(text: str, folder: Path, params: Mapping[str, Any] | None = None, **more: Any) -> Course:
    (folder / "wat.nw").write_text(text)
    inputs = {"wat.nw": folder / "wat.nw"}
    asked = step("nwchem", "deck", **(params or {"deck": "wat.nw"}))
    return carry(NWChem(), asked, inputs, folder / "runs", **more)


def proposed(case: str, asked: Step, folder: Path) -> Adjusted:
    """What is made of `asked` after the recorded failure, on two cores."""
    recorded = FIXTURES / "nwchem" / case
    meta = json.loads((recorded / "meta.json").read_text())
    log = folder / "recorded.log"
    log.write_bytes((recorded / "stdout.txt").read_bytes() + (recorded / "stderr.txt").read_bytes())
    exit = exit_of(meta, oom_kills=int((meta.get("container") or {}).get("oom_killed", False)))
    outcome = NWChem().interpret(step("nwchem", "deck", deck="input.nw"), recorded, log, exit)
    failure = Failure(asked, outcome, Grant(2, asked.demand.memory_mib(2), 100, 100), CAPACITY)
    found = propose(failure, NWChem().remedies(asked.task), "neutral")
    assert found is not None, outcome
    return found


def shielding(water: dict[str, Path], folder: Path, **params: Any) -> Course:
    return carry(NWChem(), step("nwchem", "shielding", **(PARAMS | params)), water, folder)


def isotropic(course: Course) -> list[float]:
    assert course.outcome.state == "succeeded", course.outcome
    return [value["isotropic_ppm"] for value in course.outcome.result["shieldings"]]


@nwchem
def test_an_scf_out_of_iterations_gets_more_and_then_converges(water: dict[str, Path], tmp_path: Path) -> None:
    asked = step("nwchem", "optimise", scf_iterations=2, **PARAMS)
    course = carry(NWChem(), asked, water, tmp_path / "runs")
    assert course.outcome.state == "succeeded", course.outcome
    assert course.codes == ("scf_not_converged", "ok")
    assert course.remedies == ["scf-iterations"]


@nwchem
@pytest.mark.parametrize("help", ["scf_damping", "scf_level_shift"])
def test_damping_and_level_shift_lead_to_the_energy_of_a_plain_run(
    help: str, water: dict[str, Path], tmp_path: Path
) -> None:
    plain = carry(NWChem(), step("nwchem", "optimise", **PARAMS), water, tmp_path / "plain")
    asked = step("nwchem", "optimise", scf_iterations=300, **{help: True}, **PARAMS)
    helped = carry(NWChem(), asked, water, tmp_path / "helped")
    assert helped.outcome.result["energy_hartree"] == pytest.approx(plain.outcome.result["energy_hartree"], abs=1e-6)
    text = log_of(helped.last).read_text()
    assert ("Damping(70%)" if help == "scf_damping" else "ls=0.5") in text


@nwchem
@pytest.mark.ranks
def test_an_optimisation_out_of_steps_continues_from_its_last_geometry(water: dict[str, Path], tmp_path: Path) -> None:
    whole = carry(NWChem(), step("nwchem", "optimise", **PARAMS), water, tmp_path / "whole")
    asked = step("nwchem", "optimise", max_iterations=1, **PARAMS)
    course = carry(NWChem(), asked, water, tmp_path / "runs", cores=2)
    assert course.codes[0] == "optimization_not_converged"
    assert set(course.remedies) == {"more-steps"}
    assert course.outcome.state == "succeeded", course.outcome
    assert (course.last / "resumed.txt").read_text().startswith("restart")
    assert course.outcome.result["energy_hartree"] == pytest.approx(whole.outcome.result["energy_hartree"], abs=1e-6)


@nwchem
def test_a_response_out_of_iterations_gets_more_from_converged_orbitals(water: dict[str, Path], tmp_path: Path) -> None:
    plain = shielding(water, tmp_path / "plain")
    course = shielding(water, tmp_path / "runs", max_iterations=2)
    assert course.codes == ("cphf_not_converged", "ok")
    assert course.remedies == ["more-response"]
    assert (course.last / "resumed.txt").read_text() == "vectors 1\n"
    assert isotropic(course) == pytest.approx(isotropic(plain), abs=0.005)


@nwchem
def test_nuclei_in_batches_give_the_shieldings_of_one_run_and_solve_the_response_once(
    water: dict[str, Path], tmp_path: Path
) -> None:
    plain = shielding(water, tmp_path / "plain")
    batched = shielding(water, tmp_path / "batched", nuclei_at_once=1)
    assert isotropic(batched) == pytest.approx(isotropic(plain), abs=0.005)
    assert [value["atom"] for value in batched.outcome.result["shieldings"]] == [1, 2, 3]
    assert log_of(batched.last).read_text().count("iter   nsub   residual") == 1


@nwchem
def test_tighter_orbitals_give_the_same_shieldings(water: dict[str, Path], tmp_path: Path) -> None:
    plain = shielding(water, tmp_path / "plain")
    assert isotropic(shielding(water, tmp_path / "tight", scf_tight=True)) == pytest.approx(isotropic(plain), abs=0.01)


@nwchem
def test_a_database_that_only_looks_whole_is_given_up_for_the_last_geometry(
    water: dict[str, Path], tmp_path: Path
) -> None:
    asked = step("nwchem", "optimise", max_iterations=1, **PARAMS)
    first = carry(NWChem(), asked, water, tmp_path / "first", allow="off")
    previous = first.last
    data = bytearray((previous / "calc.db").read_bytes())
    # One flipped key: every record is whole, and the geometry that NWChem looks for is not there any more.
    place = data.index(b"\0geometry\0") if b"\0geometry\0" in data else data.index(b"geometry")
    data[place + 1] ^= 0x20
    (previous / "calc.db").write_bytes(bytes(data))
    course = carry(NWChem(), step("nwchem", "optimise", **PARAMS), water, tmp_path / "runs", previous=previous)
    assert course.codes == ("restart_db_corrupt", "ok"), course.outcome
    assert course.remedies == ["fresh-start"]
    assert (course.last / "resumed.txt").read_text() == "geometry 1\n"


@nwchem
def test_a_deck_out_of_scf_iterations_is_run_with_more(tmp_path: Path) -> None:
    course = of_deck(decks.water(dft="iterations 2"), tmp_path)
    assert course.codes == ("scf_not_converged", "ok")
    assert course.outcome.result["energy_hartree"] == pytest.approx(ENERGY, abs=1e-5)


@nwchem
def test_a_deck_out_of_optimisation_steps_is_run_with_more(tmp_path: Path) -> None:
    text = decks.water().replace("task dft energy", "driver\n maxiter 1\nend\ntask dft optimize")
    course = of_deck(text, tmp_path)
    assert course.codes == ("optimization_not_converged", "ok")
    assert course.remedies == ["more-steps"]


@nwchem
def test_a_deck_whose_memory_line_is_too_small_gets_what_its_grant_has(tmp_path: Path) -> None:
    course = of_deck(decks.water(first="memory heap 4 mb stack 4 mb global 4 mb"), tmp_path)
    assert course.codes[-1] == "ok"
    assert set(course.codes[:-1]) == {"memory_exhausted"}
    assert set(course.remedies) == {"more-memory"}
    assert course.outcome.result["energy_hartree"] == pytest.approx(ENERGY, abs=1e-5)


@nwchem
@pytest.mark.parametrize(
    ("case", "remedy", "said"),
    [
        ("scratch-full-integrals", "direct", "This is a Direct SCF calculation."),
        ("geometry-unknown-element", "noautoz", "geometry units angstrom noautoz"),
    ],
)
def test_a_recorded_failure_leads_to_a_deck_that_nwchem_runs(case: str, remedy: str, said: str, tmp_path: Path) -> None:
    found = proposed(case, step("nwchem", "deck", deck="wat.nw"), tmp_path)
    assert found.record["remedy"] == remedy
    course = of_deck(decks.water(), tmp_path, params=found.params)
    assert course.outcome.result["energy_hartree"] == pytest.approx(ENERGY, abs=1e-5)
    assert said in log_of(course.last).read_text() + (course.last / "wat.nw").read_text()


CO = "start co\ngeometry{options}\n C 0 0 0\n O 0 0 1.13\nend\nbasis\n * library sto-3g\nend\n"
FROZEN = "set geometry:actlist 2\ntask scf optimize\n"
EXCITED = "tddft\n nroots 1\n notriplet\nend\ntask tddft energy\n"
BENT = (
    "geometry autosym 0.5\n O 0 0 0.1\n H 0 0.96 -0.4\n H 0 -0.7 -0.75\nend\nbasis\n * library sto-3g\nend\ntask scf\n"
)


@nwchem
@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (CO.format(options=" noautosym") + FROZEN, "noautoz"),
        (CO.format(options=" noautosym") + "constraints\n fix atom 1\nend\ntask scf optimize\n", "noautoz"),
        (CO.format(options="") + EXCITED, "noautosym"),
        (CO.format(options="") + "tce\n ccsd\n nroots 1\nend\ntask tce energy\n", "noautosym"),
        (CO.format(options="") + "mcscf\n active 4\n actelec 4\n multiplicity 1\nend\ntask mcscf\n", "noautosym"),
        (BENT, "noautosym"),
    ],
    ids=["frozen by a list", "frozen by constraints", "tddft", "tce", "mcscf", "a group that is none"],
)
def test_what_fails_by_symmetry_or_internal_coordinates_runs_without_them(
    text: str, remedy: str, tmp_path: Path
) -> None:
    course = of_deck(text, tmp_path)
    assert (course.outcome.state, course.remedies) == ("succeeded", [remedy]), course.outcome
    assert course.codes[0] in ("geometry_bad", "input_error")


@nwchem
def test_symmetry_that_fails_is_left_out_and_the_deck_gives_the_same_energy(tmp_path: Path) -> None:
    text = "sym_center_map is inconsistent with requested accuracy"
    asked = step("nwchem", "deck", deck="wat.nw")
    outcome = Outcome("failed", "geometry_bad", failure_class="method", evidence=Evidence(text))
    found = propose(Failure(asked, outcome, Grant(2, 1000, 100, 100), CAPACITY), NWChem().remedies("deck"), "neutral")
    assert found is not None
    assert found.record["remedy"] == "noautosym"
    course = of_deck(decks.water(), tmp_path, params=found.params)
    assert "geometry units angstrom noautosym" in (course.last / "wat.nw").read_text()
    assert course.outcome.result["energy_hartree"] == pytest.approx(ENERGY, abs=1e-5)


@nwchem
def test_after_all_neutral_help_occupations_are_smeared_where_that_is_allowed(
    water: dict[str, Path], tmp_path: Path
) -> None:
    outcome = Outcome("failed", "scf_not_converged", failure_class="method", evidence=Evidence("no"))
    asked, ladder = step("nwchem", "optimise", **PARAMS), []
    while True:
        failure = Failure(asked, outcome, Grant(1, 1000, 100, 100), CAPACITY)
        found = propose(failure, NWChem().remedies("optimise"), "all")
        if found is None:
            break
        ladder.append(found.record["remedy"])
        asked = replace(asked, params=found.params)
    assert ladder == ["scf-iterations", "scf-damping", "scf-level-shift", "scf-smearing"]
    course = carry(NWChem(), step("nwchem", "optimise", scf_smearing=True, **PARAMS), water, tmp_path / "runs")
    assert course.outcome.state == "succeeded", course.outcome
    assert "Smearing applied" in log_of(course.last).read_text()


@nwchem
def test_after_an_out_of_memory_kill_one_rank_runs_with_the_memory_of_two(
    water: dict[str, Path], tmp_path: Path
) -> None:
    asked = step("nwchem", "optimise", **PARAMS)
    asked = replace(asked, demand=NWChem().demand("optimise", asked.params))
    found = proposed("container-oom-nmr-80m", asked, tmp_path)
    assert (found.record["remedy"], found.demand.cores_max) == ("fewer-ranks", 1)
    assert found.demand.memory_mib(1) == asked.demand.memory_mib(2)
    course = carry(NWChem(), asked, water, tmp_path / "runs", demand=found.demand)
    assert course.outcome.result["provenance"]["nwchem"]["ranks"] == 1


@nwchem
@pytest.mark.ranks
def test_a_launcher_without_slots_gets_the_option_to_oversubscribe(tmp_path: Path) -> None:
    launcher = tmp_path / "mpirun"
    # A site's wrapper that throws our environment away, around the real launcher with one slot.
    launcher.write_text(
        f"#!/bin/sh\nunset OMPI_MCA_rmaps_base_oversubscribe PRTE_MCA_rmaps_default_mapping_policy\n"
        f'if [ "$1" = --version ]; then exec {shutil.which("mpirun")} "$@"; fi\n'
        f'exec {shutil.which("mpirun")} -host localhost:1 "$@"\n'
    )
    launcher.chmod(0o755)
    course = of_deck(decks.water(), tmp_path, configured={"mpirun": str(launcher)}, cores=2)
    assert course.codes == ("slots_exhausted", "ok")
    assert course.remedies == ["oversubscribe"]
    assert course.outcome.result["provenance"]["nwchem"]["ranks"] == 2


def of_xtb(folder: Path, *args: str, **more: Any) -> Course:
    (folder / "mol.xyz").write_text(WATER)
    asked = step("xtb", "user", structure="mol.xyz", args=list(args), atoms=["O", "H", "H"])
    return carry(Xtb(), asked, {"mol.xyz": folder / "mol.xyz"}, folder / "runs", cores=2, **more)


def around_xtb(folder: Path, line: str) -> dict[str, str]:
    """The real xTB behind one line of shell that makes it fail under a condition."""
    path = folder / "xtb"
    path.write_text(f'#!/bin/sh\ncase "$*" in *--version*) ;; *) {line} ;; esac\nexec {shutil.which("xtb")} "$@"\n')
    path.chmod(0o755)
    return {"xtb": str(path)}


@xtb
def test_an_scc_out_of_iterations_gets_five_hundred(tmp_path: Path) -> None:
    course = of_xtb(tmp_path, "--gfn", "2", "--iterations", "2")
    assert course.codes == ("scf_not_converged", "ok"), course.outcome
    assert course.remedies == ["scc-iterations"]
    assert course.outcome.result["energy_hartree"] == pytest.approx(-5.069, abs=0.01)


@xtb
def test_a_geometry_out_of_cycles_gets_a_thousand(tmp_path: Path) -> None:
    course = of_xtb(tmp_path, "--opt", "tight", "--cycles", "1")
    assert course.codes == ("optimization_not_converged", "ok"), course.outcome
    assert course.remedies == ["more-cycles"]
    assert course.outcome.result["converged"]


@xtb
def test_an_electronic_temperature_that_alters_the_answer_is_only_raised_where_that_is_allowed(tmp_path: Path) -> None:
    text = "-1- scf: Self consistent charge iterator did not converge"
    configured = around_xtb(tmp_path, f'case "$*" in *--etemp*) ;; *) echo "{text}"; exit 1 ;; esac')
    (tmp_path / "safe").mkdir()
    safe = of_xtb(tmp_path / "safe", "--gfn", "2", configured=configured)
    assert (safe.outcome.code, safe.remedies) == ("scf_not_converged", ["scc-iterations"])
    course = of_xtb(tmp_path, "--gfn", "2", configured=configured, allow="all")
    assert course.outcome.state == "succeeded"
    assert course.remedies == ["scc-iterations", "scc-temperature"]
    assert [record["neutral"] for record in course.step.params["remedies"]] == [True, False]


@xtb
def test_threads_that_cannot_be_created_become_one(tmp_path: Path) -> None:
    # The real one prints this under `ulimit -v`, and sometimes hangs there instead.
    line = '[ "$OMP_NUM_THREADS" = 1,1 ] || { echo "libgomp: Thread creation failed: Resource unavailable"; exit 1; }'
    course = of_xtb(tmp_path, "--gfn", "2", "-P", "2", configured=around_xtb(tmp_path, line))
    assert course.codes == ("openmp_threads", "ok"), course.outcome
    assert course.remedies == ["fewer-threads"]


@xtb
def test_a_crash_because_of_too_little_stack_is_answered_with_a_bigger_one_and_then_with_fewer_threads(
    tmp_path: Path,
) -> None:
    line = '[ "$OMP_STACKSIZE/$OMP_NUM_THREADS" = 1024M/1,1 ] || kill -SEGV $$'
    course = of_xtb(tmp_path, "--gfn", "2", "-P", "2", configured=around_xtb(tmp_path, line))
    assert course.codes == ("openmp_stack", "openmp_stack", "ok"), course.outcome
    assert course.remedies == ["bigger-stack", "fewer-threads"]
