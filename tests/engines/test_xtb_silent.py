"""What xTB does without a message is in the result: restraints, scans, assumed spins, several structures, stops."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmrunner.engines.xtb.engine import Xtb
from qmrunner.model.jobs import Exit, Outcome
from qmrunner.submission import job_kinds
from tests.engines.support import FIXTURES, step

# The lines of xTB 6.5.1 that decide, in their order.
LOG = """          :  # electrons                      {electrons}          :
          :  Hamiltonian                  GFN2-xTB          :
         :: total energy             {energy:.12f} Eh    ::
         :: add. restraining         {restraint:.12f} Eh    ::
          | TOTAL ENERGY             {energy:.12f} Eh   |
 * finished run on 2026/11/30 at 22:10:04.221
normal termination of xtb
"""
CRASH = "*** stack smashing detected ***: terminated\nProgram received signal SIGABRT: Process abort signal.\n"
CALLED = "          program call               : /usr/bin/xtb w.xyz {} --norestart -P 1\n"
ABORTED = "Program received signal SIGABRT: Process abort signal.\n"
GFN0 = "          |                 G F N 0 - x T B                 |\n"
LINEAR = "          :   linear (good luck)              true          :\n"
POINT = "2\n energy: {} xtb: 6.5.1\nH 0 0 0\nH 0 0 1\n"
SCAN = POINT.format(-8.963310411047) + POINT.format(-8.993650295492)
SPECTRUM = "$vibrational spectrum\n#  mode\n{}$end\n"


def judged(
    place: Path, log: str, *args: str, inputs: dict[str, str] | None = None, exit: Exit | None = None
) -> Outcome:
    (place / "xtb.log").write_text(log)
    wanted = step("xtb", "user", structure="a.xyz", args=list(args), inputs=inputs or {})
    return Xtb().interpret(wanted, place, place / "xtb.log", exit or Exit(0))


def log(electrons: int = 8, energy: float = -5.0, restraint: float = 0.0) -> str:
    return LOG.format(electrons=electrons, energy=energy, restraint=restraint)


def notes(outcome: Outcome, word: str) -> list[str]:
    assert outcome.state == "succeeded", outcome
    return [note for note in outcome.result["notes"] if word in note]


@pytest.mark.parametrize(("restraint", "there"), [(0.0, False), (1e-9, False), (0.446383252350, True), (-0.01, True)])
def test_the_energy_of_restraints_is_in_the_result(restraint: float, there: bool, tmp_path: Path) -> None:
    outcome = judged(tmp_path, log(restraint=restraint))
    assert outcome.result.get("restraint_energy_hartree") == (restraint if there else None)
    assert bool(notes(outcome, "constraints")) == there
    assert outcome.result["energy_hartree"] == -5.0


def test_the_energies_of_a_scan_are_in_the_result(tmp_path: Path) -> None:
    (tmp_path / "run.xtbscan.log").write_text(SCAN)
    outcome = judged(tmp_path, log(), "--namespace", "run")
    assert outcome.result["path_energies_hartree"] == [-8.963310411047, -8.993650295492]
    assert notes(outcome, "before the scan")


@pytest.mark.parametrize(
    ("electrons", "args", "files", "there"),
    [
        (9, ["--gfn", "2"], [], True),
        (9, ["--chrg", "-1"], [], True),
        (9, [], [".CHRG"], True),
        (9, ["--uhf", "1"], [], False),
        (9, ["-u", "1"], [], False),
        (9, [], [".UHF"], False),
        (9, ["--input", "x.inp"], [], False),
        (8, [], [], False),
    ],
)
def test_a_spin_that_xtb_assumed_is_noted(
    electrons: int, args: list[str], files: list[str], there: bool, tmp_path: Path
) -> None:
    outcome = judged(tmp_path, log(electrons), *args, inputs=dict.fromkeys(files, "x"))
    assert bool(notes(outcome, "doublet")) == there


@pytest.mark.parametrize("flag", ["--md", "--omd"])
def test_whose_energy_a_trajectory_has_is_noted(flag: str, tmp_path: Path) -> None:
    (tmp_path / "xtb.trj").write_text(SCAN)
    (tmp_path / "xtbopt.xyz").write_text("1\n\nHe 0 0 0\n")
    assert notes(judged(tmp_path, log(), flag), "with which the dynamics began")


@pytest.mark.parametrize(("modes", "frequencies"), [(3, None), (6, [3768.83])])
def test_an_atom_has_no_vibrations(modes: int, frequencies: list[float] | None, tmp_path: Path) -> None:
    none = "     {}                       0.00         0.00000        -       - \n"
    one = "     {}        a           {}         0.00000       YES     YES\n"
    atom = "".join(one.format(at, 0.5) for at in (1, 2, 3))
    pair = "".join(none.format(at) for at in range(1, 6)) + one.format(6, 3768.83)
    (tmp_path / "vibspectrum").write_text(SPECTRUM.format(atom if modes == 3 else pair))
    (tmp_path / "hessian").write_text("$hessian\n" + " 0.0" * modes**2)
    assert judged(tmp_path, log(), "--hess").result.get("frequencies_cm1") == frequencies


@pytest.mark.parametrize(
    ("tail", "exit", "code"),
    [
        ("STOP error in cqpath_read_pathfile_parameter\n", Exit(0), "input_error"),
        ("STOP 1\n", Exit(0), "input_error"),
        ("some line\n", Exit(0), "truncated_output"),
        ("-1- xtb_path: No product structure given!\n", Exit(0), "input_missing"),
        ("-1- Hessian not found! run -hess first!\nabnormal termination of xtb\n", Exit(1), "input_missing"),
        (CALLED.format("--esp") + "free(): invalid next size (normal)\n" + ABORTED, Exit(134), "crashed"),
        (CALLED.format("--gfn 0") + GFN0 + ABORTED.replace("ABRT", "SEGV"), Exit(139), "crashed"),
        (LINEAR + CRASH, Exit(134), "crashed"),
        (LINEAR + CRASH, Exit(None, 6), "crashed"),
        ("It seems to be the Dinfh point group\n" + CRASH, Exit(134), "crashed"),
        ("It seems to be the Cinfv point group\n" + CRASH, Exit(134), "crashed"),
    ],
)
def test_an_end_has_its_true_cause_and_is_not_tried_again(tail: str, exit: Exit, code: str, tmp_path: Path) -> None:
    outcome = judged(tmp_path, log().split(" * finished")[0] + tail, exit=exit)
    assert (outcome.state, outcome.code) == ("failed", code)
    if code != "truncated_output":
        assert outcome.failure_class == "permanent"


def test_the_recorded_crash_of_a_linear_molecule_is_not_retried(tmp_path: Path) -> None:
    recorded = FIXTURES / "xtb-linear/acetylene-ohess"
    text = (recorded / "stdout.txt").read_text(errors="replace") + (recorded / "stderr.txt").read_text(errors="replace")
    outcome = judged(tmp_path, text, "--ohess", exit=Exit(134))
    assert (outcome.code, outcome.failure_class) == ("crashed", "permanent")
    assert "xtb#593" in (outcome.remedy or "")


def test_a_charge_beyond_the_orbitals_is_no_bad_geometry(tmp_path: Path) -> None:
    text = (
        "[ERROR] Program stopped due to fatal error\n-2- xtb_calculator_singlepoint: Electronic structure method"
        " terminated\n-1- scf: Not enough basis functions for filling orbitals\nabnormal termination of xtb\n"
    )
    outcome = judged(tmp_path, text, "--chrg", "-10", exit=Exit(1))
    assert (outcome.code, outcome.failure_class) == ("charge_multiplicity", "permanent")


@pytest.mark.parametrize(("count", "there"), [(1, False), (2, True)])
def test_only_the_first_of_several_structures_counts_with_a_note(count: int, there: bool, tmp_path: Path) -> None:
    file = tmp_path / "two.xyz"
    file.write_text("2\n\nH 0 0 0\nH 0 0 0.74\n" * count)
    found = job_kinds.xtb(str(file)).params.get("notes", ())
    assert any("computes the first alone" in note for note in found) == there


# In these runs xTB lists what it could not use, and then computes without it.
@pytest.mark.parametrize(
    "said",
    [
        "-1- userdata_scan: Constraint '1' is not defined",
        "-1- userdata_constr: Atomic index is out of bounds for distance constraint",
        "-2- userdata_read: could not find 'xtb.inp'",
    ],
)
def test_a_scan_or_constraint_that_xtb_could_not_use_is_no_success(said: str, tmp_path: Path) -> None:
    head = "[ERROR] Please study the warnings concerning your input carefully\n"
    unread = f"{head}-3- userdata_rdblock: handler could not process input\n{said}\n"
    outcome = judged(tmp_path, unread + log(), "--opt")
    assert (outcome.state, outcome.code, outcome.failure_class) == ("failed", "input_error", "permanent")
    assert outcome.evidence is not None
    assert outcome.evidence.text == said


@pytest.mark.parametrize(("count", "there"), [(1, False), (3, True)])
def test_each_temperature_has_its_thermal_quantities(count: int, there: bool, tmp_path: Path) -> None:
    rows = (
        "    200.00    0.254244E-02    0.535853E-01    0.165857E-01    0.369996E-01\n",
        "    298.15    0.389756E-02    0.549404E-01    0.263609E-01    0.285795E-01\n",
        "    400.00    0.556807E-02    0.566109E-01    0.372844E-01    0.193265E-01 (used)\n",
    )
    heading = "       T/K    H(0)-H(T)+PV         H(T)/Eh          T*S/Eh         G(T)/Eh\n"
    outcome = judged(tmp_path, heading + "".join(rows[-count:]) + log())
    assert outcome.state == "succeeded"
    assert ("thermochemistry" in outcome.result) == there
    if there:
        found = outcome.result["thermochemistry"][1]
        assert (found["temperature_k"], found["enthalpy_correction_hartree"]) == (298.15, 0.0549404)
        assert found["free_energy_correction_hartree"] == 0.0285795
        assert notes(outcome, "last temperature")


@pytest.mark.parametrize(
    ("tail", "code"),
    [
        (CALLED.format("--gfn 2 --opt") + ABORTED, "crashed"),
        (CALLED.format("--gfn 2") + ABORTED.replace("ABRT", "SEGV"), "openmp_stack"),
        (CALLED.format("--gfn 0") + GFN0 + "Property Printout\n" + ABORTED.replace("ABRT", "SEGV"), "openmp_stack"),
    ],
)
def test_other_crashes_keep_their_cause(tail: str, code: str, tmp_path: Path) -> None:
    outcome = judged(tmp_path, tail, exit=Exit(134 if "ABRT" in tail else 139))
    assert (outcome.code, outcome.failure_class == "permanent") == (code, False)


# Energies (kcal/mol) of points of the inversion of ammonia, by 6.5.1; the start has -4.426096242663 hartree.
@pytest.mark.parametrize("prefix", ["", "run."])
def test_the_energies_of_a_path_are_in_hartree(prefix: str, tmp_path: Path) -> None:
    points = (0.0, 4.600985618164, -0.037728107085)
    (tmp_path / f"{prefix}xtbpath.xyz").write_text("".join(POINT.format(f"{energy:.12f}") for energy in points))
    args = ["--namespace", "run"] if prefix else []
    outcome = judged(tmp_path, log(energy=-4.426096242663), "--path", "b.xyz", *args)
    assert outcome.result["path_energies_hartree"] == [-4.426096243, -4.418764105, -4.426156366]
    assert notes(outcome, "at its start")


@pytest.mark.parametrize(
    ("methods", "name"),
    [
        ("gfn2:gfnff", "ONIOM(GFN2-xTB:GFN-FF)"),
        ("gfn2:gfn1", "ONIOM(GFN2-xTB:GFN1-xTB)"),
        ("other:gfn2", "ONIOM(other:GFN2-xTB)"),
    ],
)
def test_an_energy_of_two_layers_is_named_after_both(methods: str, name: str, tmp_path: Path) -> None:
    assert judged(tmp_path, log(), "--oniom", methods, "1-3").result["energy_of"] == name
    assert not (tmp_path / "qcschema.json").exists()


def test_whose_values_a_biased_hessian_has_is_noted(tmp_path: Path) -> None:
    (tmp_path / "vibspectrum").write_text(SPECTRUM.format(""))
    (tmp_path / "hessian").write_text("$hessian\n" + " 0.0" * 36)
    assert notes(judged(tmp_path, log(), "--bhess"), "relaxed beside the one given")


@pytest.mark.parametrize(
    ("line", "there"),
    [
        ("$eht charge=1 unpaired=1", False),
        ("$chrg 1\n$spin 1", False),
        ("$eht charge=1", True),
        ("$user-defined bonds", True),
    ],
)
def test_a_spin_that_the_structure_states_is_not_assumed(line: str, there: bool, tmp_path: Path) -> None:
    (tmp_path / "coord").write_text(f"$coord\n 0 0 0.2 o\n 0 1.4 -0.9 h\n 0 -1.4 -0.9 h\n{line}\n$end\n")
    (tmp_path / "xtb.log").write_text(log(7))
    outcome = Xtb().interpret(step("xtb", "user", structure="coord"), tmp_path, tmp_path / "xtb.log", Exit(0))
    assert bool(notes(outcome, "doublet")) == there


def test_the_averages_of_a_trajectory_are_in_the_result(tmp_path: Path) -> None:
    (tmp_path / "xtb.trj").write_text(SCAN)
    averages = " Epot               :  -5.0593859889434984     \n Epot (accurate SCC):  -5.0644529011238451     \n"
    averages += " Ekin               :   5.9528163277559618E-003\n T                  :   417.72277674023371     \n"
    result = judged(tmp_path, log() + averages, "--md").result
    assert (result["average_potential_energy_hartree"], result["average_temperature_k"]) == pytest.approx(
        (-5.0593859889435, 417.72277674)
    )
