"""Which decks of users resume, and how such a deck reads then; all others start from the beginning."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from qmrunner.engines.base import Context
from qmrunner.engines.nwchem import NWChem, can_resume
from qmrunner.engines.nwchem.input import deck_rewrite
from qmrunner.model.jobs import Grant
from tests.engines.support import step
from tests.engines.test_nwchem_resume import INSTALLED, fill

HEAD = "start wat\nmemory 400 mb\n"
GEOMETRY = "geometry units angstroms noautoz\n O 0 0 0.117\n H 0 0.757 -0.471\n H 0 -0.757 -0.471\nend\n"
METHOD = "basis\n * library sto-3g\nend\ndft\n xc b3lyp\nend\n"
DECK = f"{HEAD}{GEOMETRY}{METHOD}task dft optimize\n"


@pytest.mark.parametrize(
    "text",
    [
        DECK,
        f"{DECK}task dft freq\n",
        f"{DECK}task dft frequencies numerical\ntask dft property\n",
        f"{DECK}property\n dipole\nend\ntask dft property\n",
        f'{DECK}freq\n temp 1 298.15\nend\ntitle "second"\ntask dft freq\n',
        f"{DECK}hessian\n thresh 1e-6\nend\n# a remark\n\ntask dft hessian\n",
        DECK.replace("task", "cosmo\n dielec 78\nend\ncharge 1\ntask"),
        DECK.replace("start wat\n", ""),
        f"{DECK.replace('task dft', 'task mp2')}task mp2 freq\n",
        DECK.upper().replace("OPTIMIZE", "OPTIMISE"),
        DECK.replace("angstroms", "bohr").replace("end\nbasis", "symmetry c2v\nend\nbasis"),
        f"{HEAD}geometry; O 0 0 0; H 0 0 1; H 0 1 0; end; basis; * library sto-3g; end; task scf optimize\n",
    ],
)
def test_a_deck_that_optimises_its_only_geometry_first_can_resume(text: str) -> None:
    assert can_resume(text)


@pytest.mark.parametrize(
    "text",
    [
        DECK.replace("optimize", "energy"),
        DECK.replace("optimize", "saddle"),
        DECK.replace("optimize", "optimize ignore"),
        DECK.replace("task dft", "task rimp2"),
        DECK.replace("task dft", "task tddft"),
        DECK.replace("task dft", "task mcscf"),
        DECK.replace("task dft", "task ccsd"),
        DECK.replace("task dft optimize", "task dft energy\ntask dft optimize"),
        f"{DECK}task dft optimize\n",
        f"{DECK}task tddft energy\n",
        f'{DECK}task shell "touch x"\n',
        f"{DECK}{GEOMETRY}task dft energy\n",
        f"{HEAD}{METHOD}task dft optimize\n{GEOMETRY}",
        DECK.replace("start wat", "restart wat"),
        DECK.replace("units", '"second" units'),
        DECK.replace("task", "set driver:linopt 0\ntask"),
        DECK.replace("task", "include more.nw\ntask"),
        DECK.replace("end\nbasis", "zcoord\n bond 1 2 1.0 oh\nend\nend\nbasis"),
        DECK.replace(" O 0 0 0.117\n", " load water.xyz\n"),
        DECK.replace("end\nbasis", "basis"),
        DECK.replace(" xc b3lyp", ' xc b3lyp "'),
        "",
        "task dft optimize",
    ],
)
def test_any_other_deck_cannot(text: str) -> None:
    assert not can_resume(text)


@pytest.mark.parametrize(
    "later",
    [
        "cosmo\n dielec 78\nend",
        "basis\n * library 6-31g*\nend",
        "dft\n xc pbe0\nend",
        "dft; grid fine; end",
        "charge 1",
        "scf\n uhf\nend",
        "driver\n maxiter 2\nend",
        "ecp\n o library lanl2dz_ecp\nend",
        "bq\n 0 0 5 1\nend",
        "print low",
        "memory 500 mb",
        "a-block-of-a-later-version\nend",
        "property\n dipole\nend\ncharge 1",
    ],
)
def test_a_setting_after_the_optimisation_would_change_it_in_the_next_run(later: str) -> None:
    """NWChem keeps every setting in its database: one of a later task would hold for the first task after a restart."""
    assert not can_resume(f"{DECK}{later}\ntask dft energy\n")


@pytest.mark.parametrize("text", [DECK, DECK.replace("start wat\n", "")])
def test_a_resumed_deck_names_the_database_and_has_no_geometry_and_the_same_lines(text: str) -> None:
    found = deck_rewrite.rewrite(text, 1, 1000, None, lambda _: None, ("restart wat", "unset geometry:actlist"))
    assert "restart wat" in found.text
    assert "unset geometry:actlist" in found.text
    found = deck_rewrite.rewrite(text, 1, 1000, None, lambda _: None, ("restart wat",))
    assert "restart wat" in found.text
    assert "start wat" not in found.text.replace("restart wat", "")
    assert "geometry" not in found.text
    assert "0.757" not in found.text
    assert found.text.splitlines().index("task dft optimize") == text.splitlines().index("task dft optimize")


def prepared(tmp_path: Path, text: str, previous: Path | None, **params: object) -> tuple[str, list[str], set[str]]:
    (tmp_path / "in.nw").write_text(text)
    context = Context(tmp_path, {"in.nw": tmp_path / "in.nw"}, Grant(1, 900, 100, 100), INSTALLED, previous)
    command = NWChem().prepare(step("nwchem", "deck", deck="in.nw", **params), context)
    return str(command.files["in.nw"]), list(command.notes), set(command.copies)


def interrupted(tmp_path: Path) -> Path:
    """The folder of an interrupted run of the deck, under its own name."""
    folder = fill(tmp_path / "old", 1)
    for path in list(folder.iterdir()):
        if path.name.startswith("calc."):
            path.rename(folder / path.name.replace("calc.", "wat."))
        else:
            path.unlink() if path.is_file() else None
    (folder / "resumed.txt").write_text("fresh 1\n")
    return folder


def test_an_interrupted_deck_resumes_from_its_own_files(tmp_path: Path) -> None:
    old = interrupted(tmp_path)
    assert set(NWChem().checkpoint(old)) == {"wat.db", "wat.movecs", "wat.drv.hess", "resumed.txt"}
    text, notes, copies = prepared(tmp_path, DECK, old)
    assert "restart wat" in text
    assert copies == {"wat.db", "wat.movecs", "wat.drv.hess"}
    assert any(note.startswith("resume: restart from") for note in notes)


@pytest.mark.parametrize(
    ("keys", "undone"),
    [
        ({}, []),
        ({"geometry": "reference   3 1  plus"}, ["unset geometry"]),
        ({"geometry:actlist": "1"}, ["unset geometry:actlist"]),
        (
            {"geometry": "x", "geometry:actlist": "1", "geometry:x:coords": "0"},
            ["unset geometry", "unset geometry:actlist"],
        ),
        ({"geometry:reference   3 1  plus:coords": "0"}, []),
    ],
)
def test_what_numerical_frequencies_left_in_the_database_is_undone(
    tmp_path: Path, keys: dict[str, str], undone: list[str]
) -> None:
    """Killed between two displacements: all tasks would use a displaced structure, and move only some of its atoms."""
    old = interrupted(tmp_path)
    records = [struct.pack("<iii", len(k) + 1, len(v), 1) + k.encode() + b"\0" + v.encode() for k, v in keys.items()]
    with (old / "wat.db").open("ab") as file:
        file.write(b"".join(records))
    text, _, _ = prepared(tmp_path, f"{DECK}task dft freq numerical\n", old)
    said = [part.strip() for line in text.splitlines() for part in line.split(";")]
    assert said[: 1 + len(undone)] == ["restart wat", *undone]
    assert sum(word.startswith("unset") for word in said) == len(undone)


@pytest.mark.parametrize("broken", ["wat.db", "wat.movecs"])
def test_files_that_a_kill_cut_are_not_used(tmp_path: Path, broken: str) -> None:
    old = interrupted(tmp_path)
    (old / broken).write_bytes((old / broken).read_bytes()[:-5])
    text, notes, copies = prepared(tmp_path, DECK, old)
    assert "geometry" in text
    assert copies == set()
    assert "resume: nothing usable was left, started from the beginning" in notes


def test_a_remedy_that_changes_the_geometry_block_starts_from_the_beginning(tmp_path: Path) -> None:
    text, notes, copies = prepared(tmp_path, DECK, interrupted(tmp_path), noautosym=True)
    assert "noautosym" in text
    assert copies == set()
    assert any("starts from the beginning" in note for note in notes)


def test_files_of_a_deck_that_cannot_resume_are_no_checkpoint(tmp_path: Path) -> None:
    old = interrupted(tmp_path)
    (old / "resumed.txt").unlink()
    assert NWChem().checkpoint(old) == ()
