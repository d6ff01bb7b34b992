"""The resume ladder: the best thing left behind is used, broken files are not, and nothing loops."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from qmrunner.engines.base import Context, Installed
from qmrunner.engines.nwchem import NWChem, restart
from qmrunner.model.jobs import Command, Grant
from tests.engines.support import step

FACTS = {"mpirun": "/usr/bin/mpirun", "launcher_flavour": "openmpi4", "progress_rank": False, "problem": None}
INSTALLED = Installed("nwchem", "/usr/bin/nwchem", "7.0.2", FACTS)
ATOMS = ["O", "H", "H"]


def water(height: float) -> str:
    return f"3\ngeometry\nO 0.0 0.0 {height}\nH 0.0 0.757 -0.471\nH 0.0 -0.757 -0.471\n"


def database(geometry: bool = True) -> bytes:
    """A run-time database as hdbm.c writes it, with one live geometry entry and a deleted one."""
    key = b"geometry:geometry:coords\0" if geometry else b"dft:xc\0"
    entries = struct.pack("<iii", len(key), 72, 1) + key + bytes(72) + struct.pack("<iii", 4, 8, 0) + bytes(12)
    return b"hdbm v1.0\0" + entries


def records(*lengths: int) -> bytes:
    """A Fortran unformatted file with records of these lengths."""
    return b"".join(struct.pack("<i", n) + bytes(n) + struct.pack("<i", n) for n in lengths)


def fill(place: Path, step_number: int | None = None, response: bool = False) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    (place / "calc.db").write_bytes(database())
    (place / "calc.movecs").write_bytes(records(142, 80, 24))
    (place / "calc.drv.hess").write_bytes(records(8, 64))
    if step_number is not None:
        (place / f"calc-{step_number:03d}.xyz").write_text(water(step_number / 100))
    if response:
        (place / "calc.shieldcphf").write_bytes(records(8, 8, 96))
    return place


def next_attempt(tmp_path: Path, previous: Path | None, task: str = "optimise", **params: Any) -> Command:
    (tmp_path / "in.xyz").write_text(water(0.5))
    directory = tmp_path / "next"
    directory.mkdir(exist_ok=True)
    context = Context(directory, {"geometry": tmp_path / "in.xyz"}, Grant(2, 1200, 500, 500), INSTALLED, previous)
    return NWChem().prepare(step("nwchem", task, atoms=ATOMS, **params), context)


def rung(command: Command) -> str:
    return command.files[restart.MARKER].split()[0]


def materialised(command: Command, place: Path) -> Path:
    """The directory of an attempt that was started with `command` and died before it did anything."""
    place.mkdir()
    for name, text in command.files.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(text)
    for name, source in command.copies.items():
        (place / name).write_bytes(source.read_bytes())
    return place


def test_without_an_earlier_attempt_the_start_is_fresh(tmp_path: Path) -> None:
    command = next_attempt(tmp_path, None)
    assert rung(command) == "fresh"
    assert command.copies == {}
    assert "start calc" in command.files["calc.nw"]


def test_an_interrupted_optimisation_restarts_from_its_database_without_a_geometry(tmp_path: Path) -> None:
    previous = fill(tmp_path / "old", step_number=2)
    command = next_attempt(tmp_path, previous, max_iterations=9)
    assert rung(command) == "restart"
    assert set(command.copies) == {"calc.db", "calc.movecs", "calc.drv.hess", "calc-resume.xyz"}
    deck = command.files["calc.nw"]
    assert deck.startswith("restart calc\nmemory ")
    assert "geometry" not in deck
    assert " maxiter 9\n" in deck
    assert any(note.startswith("resume: restart from its live files") for note in command.notes)


def test_cartesian_coordinates_are_not_spoilt_by_the_internal_ones_of_a_database(tmp_path: Path) -> None:
    previous = fill(tmp_path / "old", step_number=2)
    command = next_attempt(tmp_path, previous, coordinates="cartesian")
    assert rung(command) == "geometry+vectors"
    assert "noautosym noautoz\n" in command.files["calc.nw"]
    assert "inhess" not in command.files["calc.nw"]


def test_the_newest_whole_snapshot_comes_before_the_live_files(tmp_path: Path) -> None:
    previous = fill(tmp_path / "old", step_number=12)
    fill(previous.with_name("checkpoint") / "ckpt-9", step_number=8)
    newest = fill(previous.with_name("checkpoint") / "ckpt-10", step_number=9)
    assert next_attempt(tmp_path, previous).copies["calc.db"] == newest / "calc.db"
    (newest / "calc.db").write_bytes(database()[:-3])
    assert next_attempt(tmp_path, previous).copies["calc.db"].parent.name == "ckpt-9"


@pytest.mark.parametrize(
    "damage",
    [b"", b"hdbm v1.0\0", database(geometry=False), database()[:40], database() + b"x", b"\x07" * 3000],
    ids=["empty", "no entries", "no geometry", "cut", "too long", "random"],
)
def test_a_damaged_database_sends_the_step_to_its_last_geometry_and_orbitals(damage: bytes, tmp_path: Path) -> None:
    previous = fill(tmp_path / "old", step_number=2)
    (previous / "calc.db").write_bytes(damage)
    command = next_attempt(tmp_path, previous)
    assert rung(command) == "geometry+vectors"
    assert "0.02000000" in command.files["calc.nw"]
    assert " vectors input guess.movecs output calc.movecs\n" in command.files["calc.nw"]
    assert command.copies["guess.movecs"] == previous / "calc.movecs"


def test_damaged_orbitals_are_left_out_and_a_geometry_cut_short_falls_back_to_the_one_before(tmp_path: Path) -> None:
    previous = fill(tmp_path / "old", step_number=1)
    (previous / "calc.movecs").write_bytes(records(142, 80)[:-2])
    (previous / "calc-002.xyz").write_text(water(0.02)[:30])
    command = next_attempt(tmp_path, previous)
    assert rung(command) == "geometry"
    assert "0.01000000" in command.files["calc.nw"]
    assert "guess.movecs" not in command.files["calc.nw"]


def test_a_damaged_hessian_is_left_behind_but_not_the_rest(tmp_path: Path) -> None:
    previous = fill(tmp_path / "old", step_number=2)
    (previous / "calc.drv.hess").write_bytes(b"")
    command = next_attempt(tmp_path, previous)
    assert rung(command) == "restart"
    assert "calc.drv.hess" not in command.copies


def test_nothing_usable_means_a_fresh_start_that_is_noted(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    command = next_attempt(tmp_path, tmp_path / "old")
    assert rung(command) == "fresh"
    assert "resume: nothing usable was left, started from the beginning" in command.notes


def test_a_geometry_of_other_atoms_is_never_taken(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "calc-003.xyz").write_text("2\n\nO 0 0 0\nH 0 0 1\n")
    assert rung(next_attempt(tmp_path, old)) == "fresh"


def test_a_rung_that_twice_led_nowhere_is_left_and_the_geometry_is_never_lost(tmp_path: Path) -> None:
    previous = fill(tmp_path / "attempt-0", step_number=2)
    rungs = []
    for number in range(1, 8):
        command = next_attempt(tmp_path, previous)
        rungs.append(rung(command))
        previous = materialised(command, tmp_path / f"attempt-{number}")
    assert rungs == ["restart"] * 2 + ["geometry+vectors"] * 2 + ["geometry"] * 3
    assert "0.02000000" in command.files["calc.nw"]


def test_a_rung_that_led_somewhere_may_be_used_again(tmp_path: Path) -> None:
    first = materialised(next_attempt(tmp_path, fill(tmp_path / "a", 2)), tmp_path / "b")
    fill(first, step_number=0)
    assert next_attempt(tmp_path, first).files[restart.MARKER] == "restart 1\n"


def test_a_shielding_reuses_its_response_and_keeps_its_own_geometry(tmp_path: Path) -> None:
    previous = fill(tmp_path / "old", response=True)
    command = next_attempt(tmp_path, previous, "shielding")
    assert rung(command) == "response"
    assert set(command.copies) == {"guess.movecs", "calc.shieldcphf"}
    assert "set zora:skip_cphf_ev_shield T\n" in command.files["calc.nw"]
    assert "0.50000000" in command.files["calc.nw"]


def test_a_shielding_without_a_whole_response_reuses_its_orbitals_alone(tmp_path: Path) -> None:
    previous = fill(tmp_path / "old", response=True)
    (previous / "calc.shieldcphf").write_bytes(records(8, 96)[:-4])
    command = next_attempt(tmp_path, previous, "shielding")
    assert rung(command) == "vectors"
    assert "skip_cphf" not in command.files["calc.nw"]


def test_a_shielding_killed_right_after_its_start_does_not_lose_the_response(tmp_path: Path) -> None:
    command = next_attempt(tmp_path, fill(tmp_path / "old", response=True), "shielding")
    again = next_attempt(tmp_path, materialised(command, tmp_path / "died"), "shielding")
    assert rung(again) == "response"


def test_the_checkpoint_is_empty_until_there_are_orbitals_and_names_only_files_that_exist(tmp_path: Path) -> None:
    assert NWChem().checkpoint(tmp_path) == ()
    (tmp_path / "calc.db").write_bytes(database())
    assert NWChem().checkpoint(tmp_path) == ()
    fill(tmp_path, step_number=3)
    (tmp_path / "calc-004.xyz").write_text(water(0.04))
    assert NWChem().checkpoint(tmp_path) == ("calc.db", "calc.movecs", "calc.drv.hess", "calc-004.xyz")


def test_a_deck_of_the_users_starts_from_the_beginning_with_a_note(tmp_path: Path) -> None:
    (tmp_path / "in.nw").write_text("start wat\ntask scf\n")
    context = Context(
        tmp_path, {"in.nw": tmp_path / "in.nw"}, Grant(1, 500, 100, 100), INSTALLED, fill(tmp_path / "old", 1)
    )
    command = NWChem().prepare(step("nwchem", "deck", deck="in.nw"), context)
    assert command.copies == {}
    assert any(note.startswith("resume: a user's deck starts from the beginning") for note in command.notes)
