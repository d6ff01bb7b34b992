"""Decks: a user's is checked and bound to its attempt, ours say exactly what was asked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from qmrunner.engines.base import Context, Installed
from qmrunner.engines.nwchem import NWChem, check_deck, resources
from qmrunner.engines.nwchem.input import deck_rewrite, generated_deck
from qmrunner.errors import QmrunnerError, UsageError
from qmrunner.model.jobs import Command, Grant
from tests.engines.support import FIXTURES, step

INSTALLED = Installed(
    "nwchem",
    "/usr/bin/nwchem",
    "7.0.2",
    {"mpirun": "/usr/bin/mpirun", "launcher_flavour": "openmpi4", "progress_rank": False, "problem": None},
)
WATER = "3\nwater\nO 0.0 0.0 0.117\nH 0.0 0.757 -0.471\nH 0.0 -0.757 -0.471\n"
PARAMS: dict[str, Any] = {"atoms": ["O", "H", "H"], "cosmo": "dmso"}
TWO_CORES = Grant(2, 1200, 500, 500)
MINIMAL = "start wat\ngeometry\n O 0 0 0\nend\ntask scf\n"


def prepared(
    directory: Path, task: str, inputs: dict[str, Path], grant: Grant, installed: Installed = INSTALLED, **params: Any
) -> Command:
    return NWChem().prepare(step("nwchem", task, **params), Context(directory, inputs, grant, installed))


def molecule_command(directory: Path, task: str, grant: Grant = TWO_CORES, **params: Any) -> Command:
    geometry = directory / "water.xyz"
    geometry.write_text(WATER)
    return prepared(directory, task, {"geometry": geometry}, grant, **(PARAMS | params))


def deck_command(directory: Path, text: str, grant: Grant = TWO_CORES, **more: str) -> Command:
    for name, content in {"in.nw": text, **more}.items():
        (directory / name).write_text(content)
    inputs = {name: directory / name for name in ("in.nw", *more)}
    return prepared(directory, "deck", inputs, grant, deck="in.nw")


@pytest.mark.parametrize("text", ["", "  \n\n", "start wat\ngeometry\n O 0 0 0\nend\n", "# task scf\nstart wat\n"])
def test_a_deck_that_would_compute_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_deck(text)
    assert refused.value.code == "no_task"
    assert refused.value.remedy


def test_a_deck_that_is_not_text_is_refused() -> None:
    with pytest.raises(UsageError) as refused:
        check_deck("\0\0task scf")
    assert refused.value.code == "input_error"


def test_every_recorded_deck_that_ran_is_accepted() -> None:
    for path in sorted((FIXTURES / "nwchem").glob("ok-*/input.nw")):
        check_deck(path.read_text())


def test_tasks_are_found_behind_semicolons_comments_continuations_and_carriage_returns() -> None:
    text = "start a; TASK  dft \\\r\n optimize # first\r\n# task scf\r\n  task dft property ignore\r\n"
    assert deck_rewrite.tasks(text) == ("dft optimize", "dft property ignore")


def test_atoms_are_counted_only_where_the_block_alone_shows_their_number() -> None:
    assert deck_rewrite.atoms_in_deck("geometry\n O 0 0 0.1\n H 1 2 3\nend\n") == 2
    assert deck_rewrite.atoms_in_deck("geometry\n symmetry c2v\n O 0 0 0.1\nend\n") is None
    assert deck_rewrite.atoms_in_deck("geometry\n load wat.xyz\nend\n") is None
    assert deck_rewrite.atoms_in_deck("restart wat\ntask scf\n") is None


def test_a_deck_is_bound_to_its_attempt_and_every_change_is_noted(tmp_path: Path) -> None:
    text = "start wat\nscratch_dir /big/disk\nPERMANENT_DIR /home/me\nmemory total 900 mb\ntask scf"
    command = deck_command(tmp_path, text)
    lines = command.files["in.nw"].split("\n")
    assert lines[1] == "# qmrunner: scratch_dir /big/disk"
    assert lines[2] == "# qmrunner: PERMANENT_DIR /home/me"
    assert lines[3] == "memory total 900 mb"
    assert lines[4:] == ["task scf", ""]
    assert len([note for note in command.notes if note.startswith("deck:")]) == 2
    assert command.env["SCRATCH_DIR"] == command.env["PERMANENT_DIR"] == "."


def test_memory_that_fits_stays_the_users_and_a_missing_line_is_added(tmp_path: Path) -> None:
    fits = deck_command(tmp_path, f"memory total 300 mb\n{MINIMAL}")
    added = deck_command(tmp_path, MINIMAL)
    assert fits.files["in.nw"].startswith("memory total 300 mb\n")
    assert added.files["in.nw"].startswith(MINIMAL)
    assert added.files["in.nw"].rstrip().split("\n")[-1].startswith("memory total ")


def test_memory_that_fits_fewer_ranks_gets_fewer_ranks(tmp_path: Path) -> None:
    command = deck_command(tmp_path, f"memory total 700 mb\n{MINIMAL}", Grant(4, 2000, 500, 500))
    assert command.argv[:3] == ("/usr/bin/mpirun", "-np", "2")
    assert "memory total 700 mb" in command.files["in.nw"]


def test_other_inputs_go_along_under_their_names_and_none_can_leave_the_attempt(tmp_path: Path) -> None:
    command = deck_command(tmp_path, MINIMAL, TWO_CORES, **{"wat.xyz": WATER})
    assert command.copies == {"wat.xyz": tmp_path / "wat.xyz"}
    inputs = {"in.nw": tmp_path / "in.nw", "../evil": tmp_path / "wat.xyz"}
    with pytest.raises(UsageError):
        prepared(tmp_path, "deck", inputs, Grant(1, 500, 100, 100), deck="in.nw")


def test_an_optimisation_deck_states_what_was_asked(tmp_path: Path) -> None:
    text = molecule_command(tmp_path, "optimise", charge=-1, multiplicity=2, max_iterations=7).files["calc.nw"]
    for line in ("charge -1", " mult 2", " xc b3lyp", " maxiter 7", " xyz calc", " solvent dmso", "task dft optimize"):
        assert line in text.split("\n")
    assert "geometry units angstrom nocenter noautosym\n" in text
    assert "O        0.00000000      0.00000000      0.11700000" in text


def test_cartesian_coordinates_and_the_gas_phase_can_be_asked_for(tmp_path: Path) -> None:
    text = molecule_command(tmp_path, "optimise", coordinates="cartesian", cosmo=None).files["calc.nw"]
    assert "noautosym noautoz\n" in text
    assert "cosmo" not in text


def test_a_shielding_deck_asks_for_all_atoms_or_those_chosen(tmp_path: Path) -> None:
    every = molecule_command(tmp_path, "shielding").files["calc.nw"]
    some = molecule_command(tmp_path, "shielding", nuclei=[3, 1], basis="6-311+G(2d,p)").files["calc.nw"]
    assert "property\n shielding\nend\ntask dft property\n" in every
    assert " shielding 2 1 3\n" in some
    assert ' * library "6-311+G(2d,p)"' in some


def test_a_hessian_of_xtb_starts_an_optimisation_and_one_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "water.xyz").write_text(WATER)
    square = [[10.0 * i + j for j in range(9)] for i in range(9)]
    (tmp_path / "hessian").write_text("$hessian\n" + "\n".join(" ".join(map(str, row)) for row in square) + "\n$end\n")
    (tmp_path / "cut").write_text("$hessian\n 1.0 2.0 3.0\n")
    asked = {"geometry": tmp_path / "water.xyz", "hessian": tmp_path / "hessian"}
    command = prepared(tmp_path, "optimise", asked, TWO_CORES, **PARAMS)
    assert " inhess 2" in command.files["calc.nw"]
    triangle = [float(line.replace("D", "E")) for line in command.files["calc.hess"].splitlines()]
    assert len(triangle) == 45
    assert triangle[:3] == [0.0, 5.5, 11.0]  # (1,1), then the mean of (2,1) and (1,2), then (2,2)
    command = prepared(tmp_path, "optimise", asked | {"hessian": tmp_path / "cut"}, TWO_CORES, **PARAMS)
    assert "inhess" not in command.files["calc.nw"]
    assert "calc.hess" not in command.files
    assert "hessian: NWChem guesses it" in command.notes


def test_integrals_are_cached_in_memory_where_they_fit_and_never_on_disk(tmp_path: Path) -> None:
    small = molecule_command(tmp_path, "optimise", Grant(2, 2000, 500, 500))
    assert re.search(r"^ semidirect memsize [1-9]\d+ filesize 0$", small.files["calc.nw"], re.MULTILINE)
    scarce = molecule_command(tmp_path, "optimise", Grant(1, 300, 500, 500))
    assert "\n direct\n" in scarce.files["calc.nw"]
    assert resources.cached_integrals_mib(["C"] * 30 + ["H"] * 40, "6-31G*") == 0


@pytest.mark.parametrize("params", [{"basis": "sto-3g\ntask scf"}, {"cosmo": 'a"b'}, {"functional": "b3lyp; task scf"}])
def test_nothing_can_be_smuggled_into_a_deck(params: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(QmrunnerError) as refused:
        molecule_command(tmp_path, "optimise", TWO_CORES, **params)
    assert refused.value.code == "input_error"


@pytest.mark.parametrize(
    "text", ["", "3\n\nO 0 0 0\n", "1\n\nO 0 0 nan\n", "x\n\nO 0 0 0\n", "3\n\nH 0 0 0\nO 0 0 1\nH 0 1 0\n"]
)
def test_a_geometry_that_is_incomplete_not_finite_or_of_other_atoms_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "g.xyz").write_text(text)
    with pytest.raises(QmrunnerError) as refused:
        generated_deck.read_xyz(tmp_path / "g.xyz", ["O", "H", "H"])
    assert refused.value.code == "geometry_bad"


def test_a_missing_geometry_is_reported(tmp_path: Path) -> None:
    with pytest.raises(QmrunnerError) as refused:
        prepared(tmp_path, "optimise", {}, Grant(1, 500, 100, 100), atoms=["H"])
    assert refused.value.code == "input_missing"


@pytest.mark.parametrize("cores", [1, 2, 7, 32])
@pytest.mark.parametrize("memory_mib", [100, 400, 1000, 20000])
def test_ranks_never_exceed_the_granted_cores_and_their_memory_the_grant(
    cores: int, memory_mib: int, tmp_path: Path
) -> None:
    command = molecule_command(tmp_path, "shielding", Grant(cores, memory_mib, 500, 500))
    ranks = int(command.argv[2])
    match = re.search(r"memory heap (\d+) mb stack (\d+) mb global (\d+) mb", command.files["calc.nw"])
    assert match is not None
    asked = ranks * (sum(map(int, match.groups())) + resources.BASE_MIB_PER_RANK)
    assert 1 <= ranks <= cores
    assert asked <= memory_mib or ranks == 1


def test_a_build_with_a_progress_rank_is_refused_one_core_and_gets_two(tmp_path: Path) -> None:
    facts = {**INSTALLED.facts, "progress_rank": True}
    installed = Installed("nwchem", "/usr/bin/nwchem", "7.2.2", facts)
    (tmp_path / "in.nw").write_text(MINIMAL)
    inputs = {"in.nw": tmp_path / "in.nw"}
    with pytest.raises(QmrunnerError, match="MPI-PR"):
        prepared(tmp_path, "deck", inputs, Grant(1, 800, 100, 100), installed, deck="in.nw")
    assert prepared(tmp_path, "deck", inputs, Grant(2, 300, 100, 100), installed, deck="in.nw").argv[2] == "2"


def test_the_demand_grows_with_the_molecule_and_fits_what_prepare_then_asks_for() -> None:
    small = NWChem().demand("optimise", {"atoms": ["O", "H", "H"]})
    atoms = ["C"] * 20 + ["H"] * 20
    large = NWChem().demand("shielding", {"atoms": atoms, "basis": "6-311+G(2d,p)", "cosmo": "chcl3"})
    assert (small.cores_min, small.cores_max) == (1, 2)
    assert large.cores_max == 32
    # 72 * atoms * nbf**2 bytes, the largest array of a shielding.
    assert large.shm_mib >= 72 * 40 * (20 * 27 + 20 * 6) ** 2 // 2**20
    need = resources.arenas("shielding", atoms, "6-311+G(2d,p)", cosmo=True)
    assert resources.ranks_that_fit(4, large.memory_mib(4), need) == 4


def test_basis_functions_agree_with_recorded_runs() -> None:
    for path in sorted((FIXTURES / "nwchem").glob("ok-nmr-*/stdout.txt")):
        text = path.read_text(errors="replace")
        printed = re.search(r"AO basis - number of functions:\s+(\d+)", text)
        atoms = re.findall(r"^\s+\d+ ([A-Z][a-z]?)\s+\d+\.\d{4}(?:\s+-?\d+\.\d{8}){3}", text, re.MULTILINE)
        basis = re.search(r"\* library (\S+)", (path.parent / "input.nw").read_text())
        if printed and basis and path.parent.name != "ok-nmr-open-shell-oh":
            assert resources.basis_functions(atoms, basis[1]) == int(printed[1]), path.parent.name


def test_only_whole_lines_are_replaced_and_nothing_comes_to_life() -> None:
    text = "memory total 100 mb \\\n#restart w rtdb base\nscratch_dir x \\ # c\ntask scf\n"
    more = {"memory_arena": "global"}
    lines = deck_rewrite.rewrite(text, 1, 464, more).text.split("\n")
    assert lines[0] == "#"
    assert lines[1] == "memory heap 25 mb stack 25 mb global 150 mb"
    assert lines[2:] == ["# qmrunner: scratch_dir x", "task scf", ""]
    several = deck_rewrite.rewrite("title a;memory 100 mb;set k \\#\\;\\ # c\ntask scf\n", 1, 464, more).text
    assert re.fullmatch(
        r"title a ; memory heap 25 mb stack 25 mb global 150 mb ; set k \\#\\;\\ #\ntask scf\n", several
    )


@pytest.mark.parametrize("end", [".\n", "eof\n", "title x \\", "title x \\\n"])
def test_a_memory_line_is_added_where_nwchem_reads_it(end: str) -> None:
    lines = deck_rewrite.rewrite(MINIMAL + end, 1, 400).text.split("\n")
    assert re.fullmatch(r"memory total \d+ mb ; start wat", lines[0])
    assert "\n".join(lines[1:]).startswith(MINIMAL.split("\n", 1)[1] + end.rstrip())


def test_bytes_that_are_no_text_reach_nwchem_as_they_are(tmp_path: Path) -> None:
    data = b"title \xe4\xff\xc3\xa4\r\n" + MINIMAL.encode()
    (tmp_path / "in.nw").write_bytes(data)
    command = prepared(tmp_path, "deck", {"in.nw": tmp_path / "in.nw"}, TWO_CORES, deck="in.nw")
    assert command.files["in.nw"].encode("utf-8", "surrogateescape").startswith(data)


@pytest.mark.parametrize(
    ("tail", "found"),
    [
        ("", []),
        ("# a comment\n\n", []),
        ("charge 1\n", [(3, "charge 1")]),
        ("charge 1 ; scf ; uhf ; end\ntask scf\n", []),
        ("scf\n uhf\nend\n", [(3, "scf"), (4, "uhf"), (5, "end")]),
    ],
)
def test_what_stands_behind_the_last_task_is_found(tail: str, found: list[tuple[int, str]]) -> None:
    assert list(deck_rewrite.unused(f"start x\ntask scf\n{tail}")) == found


def test_a_deck_without_a_task_has_nothing_behind_it() -> None:
    assert deck_rewrite.unused("start x\ncharge 1\n") == ()


@pytest.mark.parametrize("behind", ["memory total 400 mb", "scratch_dir .", "permanent_dir .", "start other"])
def test_what_counts_wherever_it_stands_is_not_called_unused(behind: str) -> None:
    assert deck_rewrite.unused(f"{MINIMAL}{behind}\n") == ()
    assert deck_rewrite.unused(f"{MINIMAL}{behind}\ncharge 1\n") == ((6 + MINIMAL.count("\n") - 4, "charge 1"),)


def test_the_memory_line_that_is_added_is_not_called_unused() -> None:
    assert deck_rewrite.unused(deck_rewrite.rewrite(MINIMAL, 1, 1000).text) == ()
