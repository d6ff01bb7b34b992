"""Quantities and failures of tasks that few decks have: reaction paths, vibrational SCF, ZORA under symmetry."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmrunner.engines.nwchem.input import asked, reader
from qmrunner.model.jobs import Exit
from tests.engines.errquit_blocks import block
from tests.engines.nwchem_outputs import BANNER, END, ENERGY, HEADER, TIMES, judged

# What NWChem 7.0.2 prints of the modes of a reaction path's first step.
MODES = """
  Normal Eigenvalue ||           Projected Infra Red Intensities
   Mode   [cm**-1]  || [atomic units] [(debye/angs)**2] [(KM/mol)] [arbitrary]
  ------ ---------- || -------------- ----------------- ---------- -----------
      1       -0.347 ||    0.113343           2.615       110.492      89.997
      2        0.071 ||    0.000002           0.000         0.002       0.002
      3        0.248 ||    0.000000           0.000         0.000       0.000
"""
POINT = (
    "&  Point      Energy     svalue   stotal \n& -------  ------------ -------- --------\n"
    "&    {}      {:.8f}  0.0999  0.1\n"
)
UNFINISHED = " Failed to converge in maximum number of steps or available time\n"
ABORT = (
    " " + "-" * 72 + "\n mepgs: could not optimize                   0\n " + "-" * 72 + "\n"
    "  current input line : \n    18:  task scf mepgs\n " + "-" * 72 + "\n"
    " An error occured in the Runtime Database\n " + "-" * 72 + "\n For more information see the NWChem manual\n"
)
POINTS = "".join(POINT.format(n, -1.5 - n / 100) for n in range(3))
PATH = f"          Gonzalez & Schlegel IRC Optimization\n{MODES}{POINTS}"


def test_a_reaction_path_that_did_not_end_is_named_as_one_with_its_points(tmp_path: Path) -> None:
    outcome = judged("start x\ntask scf mepgs\n", HEADER + BANNER + PATH + UNFINISHED + ABORT, tmp_path, Exit(255))
    assert (outcome.state, outcome.code, outcome.failure_class) == ("failed", "mepgs_not_converged", "method")
    assert "maxmep" in str(outcome.remedy)
    assert outcome.result["path_energies_hartree"] == [-1.5, -1.51, -1.52]
    assert not {"frequencies_cm1", "imaginary_frequencies"} & set(outcome.result)


def test_a_reaction_path_keeps_the_vibrations_of_other_tasks(tmp_path: Path) -> None:
    modes = MODES.replace("-0.347", "812.500").replace("0.071", "0.000").replace("0.248", "0.001")
    log = HEADER + BANNER + ENERGY.format("SCF", -1.5) + modes + TIMES + BANNER + PATH + TIMES + BANNER + END
    outcome = judged("start x\ntask scf freq\ntask scf mepgs\n", log, tmp_path)
    assert outcome.state == "succeeded", outcome.evidence
    assert len(outcome.result["path_energies_hartree"]) == 3
    frequencies, path = outcome.result["tasks"]
    assert ("frequencies_cm1" in path, "path_energies_hartree" in frequencies) == (False, False)


@pytest.mark.parametrize(
    ("rows", "wavenumbers"),
    [
        ("  Mode      Harmonic     Diagonal\n   1        4960.21      4393.24\n", [4393.24]),
        (
            "  Mode      Harmonic     Diagonal      VSCF       PT2-VSCF\n"
            "   1        4390.85      3120.69      3084.69      3056.97\n"
            "   2        4139.79      2927.83      3108.24      3107.34\n",
            [3056.97, 3107.34],
        ),
    ],
)
def test_a_vibrational_scf_has_its_wavenumbers_and_intensities(
    rows: str, wavenumbers: list[float], tmp_path: Path
) -> None:
    strengths = "".join(f"   {n}        {value:.2f}        {n}.50\n" for n, value in enumerate(wavenumbers, 1))
    printed = (
        f"  RESULTS OF VIBRATIONAL SCF CALCULATION: Frequencies, cm-1\n{rows} ......Finished vibrational SCF......\n\n"
        "  IR INTENSITIES CALCULATED USING DIPOLE MOMENT:\n  mode   frequency, cm-1  intensity, km/mol\n"
        f"{strengths}\n  (Note: SCF dipole moments used to calculate intensities)\n"
    )
    log = HEADER + BANNER + ENERGY.format("SCF", -1.5) + printed + TIMES + BANNER + END
    outcome = judged("start x\ntask scf vscf\n", log, tmp_path)
    assert outcome.state == "succeeded", outcome.evidence
    assert outcome.result["anharmonic_frequencies_cm1"] == wavenumbers
    assert outcome.result["anharmonic_intensities_km_mol"] == [n + 0.5 for n in range(1, len(wavenumbers) + 1)]


@pytest.mark.parametrize(("group", "noted"), [("C2v", True), ("D6h", True), ("C1", False), ("", False)])
def test_zora_shieldings_of_a_symmetric_molecule_have_a_note(group: str, noted: bool, tmp_path: Path) -> None:
    named = f" Group name             {group}       \n" if group else ""
    off = "          Use of symmetry is: off; symmetry adaption is: off\n"
    printed = named + off + ENERGY.format("DFT", -1.5) + "            Scalar ZORA NMR Shielding\n"
    outcome = judged("start x\ntask dft property\n", HEADER + BANNER + printed + TIMES + BANNER + END, tmp_path)
    assert outcome.state == "succeeded"
    assert any("noautosym" in note for note in outcome.result["notes"]) == noted


def tasks(text: str) -> tuple[asked.Asked, ...]:
    return asked.of_deck(reader.statements(text.encode()))


@pytest.mark.parametrize(
    ("block", "roots"),
    [
        ("tddft\n nroots 3\n grad\n  root 2\n end\nend\n", (2,)),
        ("tddft; target 2; grad; root 1 2; end; nroots 3; end\n", (1, 2)),
        ("tddft\n grad\n  root 1\n end\nend\ntddft\n grad\n  root 3\n end\nend\n", (3,)),
        ("tddft\n target 2\nend\n", ()),
    ],
)
def test_the_roots_of_gradients_are_those_of_the_grad_block(block: str, roots: tuple[int, ...]) -> None:
    gradient, energy = tasks(f"{block}task tddft gradient\ntask tddft energy\n")
    assert (gradient.gradient_roots, energy.gradient_roots) == (roots, ())


@pytest.mark.parametrize(
    ("block", "line"),
    [
        ("dft\n disp vdw 3\nend\n", "disp vdw 3"),
        ("dft; xc pbe96; disp; end\n", "disp"),
        ("dft; disp vdw 3; end\ndft; disp off; end\n", ""),
        ("dft; xc b3lyp; end\n", ""),
    ],
)
def test_the_dispersion_in_force_is_known(block: str, line: str) -> None:
    assert [task.dispersion for task in tasks(f"{block}task dft\ntask scf\n")] == [line, ""]


# Message of NWChem 7.0.2, the category it prints, what precedes it; and what it means to the user. The categories are
# wrong or missing where they were seen so.
@pytest.mark.parametrize(
    ("message", "category", "before", "code", "failure_class", "said"),
    [
        ("atomscf:atomd: error in atom scf", "GEOM_ERR", "", "basis_bad", "permanent", "ecp"),
        ("neb_initial_path failed", "UNKNOWN_ERR", "", "geometry_bad", "permanent", "endgeom"),
        ("tddft_grad_init: failed to read isroots", "RTDB_ERR", "", "input_error", "permanent", "grad block"),
        ("raman_save:failed to get alfare", "RTDB_ERR", "", "input_error", "permanent", "response"),
        ("tce_diis: LU decomposition failed", "UNKNOWN_ERR", "", "tce_not_converged", "method", "diis"),
        ("tce_energy: ccsd_act with 2eorb only (RHF,ROHF)", "MEM_ERR", "", "not_implemented", "permanent", "option"),
        ("fukui: UKS or ROKS required. No RKS", "UNKNOWN_ERR", "", "not_implemented", "permanent", "option"),
        (
            "CALLS IT QUIT FROM HND_HNDERR", "UNKNOWN_ERR",
            " THE 5-D  PIECE OF -Z- DATA FOR ATOM =    3 IS NEITHER FLOATING POINT\n",
            "geometry_bad", "permanent", "zmatrix",
        ),
        (
            "dft property failed", "UNKNOWN_ERR", "  movecs_read_header: failed to open ./ IERR =        21\n",
            "not_implemented", "permanent", "property module",
        ),
    ],
)  # fmt: skip
def test_an_abort_names_its_cause_to_a_chemist(
    message: str, category: str, before: str, code: str, failure_class: str, said: str, tmp_path: Path
) -> None:
    log = HEADER + BANNER + before + block(message, category)
    outcome = judged("start x\ntask scf energy\n", log, tmp_path, Exit(255))
    assert (outcome.code, outcome.failure_class) == (code, failure_class)
    assert said in str(outcome.remedy)
