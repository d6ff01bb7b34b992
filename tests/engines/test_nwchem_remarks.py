"""Parts of a deck that NWChem ignores before it continues: seen with the real program, noted in the result."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from qmrunner.engines.nwchem import NWChem
from qmrunner.model.jobs import Exit, Outcome
from tests.engines.support import step

DECK = """start x
geometry noautosym
 O 0 0 0.117
 H 0 0.757 -0.471
 H 0 -0.757 -0.471
end
basis spherical
 * library sto-3g
end
{block}
task {task}
{behind}"""
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(shutil.which("nwchem.openmpi") is None and os.environ.get("CI") != "true", reason="no NWChem"),
]


def outcome(tmp_path: Path, block: str, task: str = "dft energy", behind: str = "") -> Outcome:
    work = tmp_path / "work"
    work.mkdir()
    (work / "in.nw").write_text(DECK.format(block=block, task=task, behind=behind))
    command = ["mpirun", "--allow-run-as-root", "-np", "1", "nwchem.openmpi", "in.nw"]
    log = tmp_path / "step.1.log"
    with log.open("wb") as stream:
        ended = subprocess.run(command, cwd=work, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, timeout=300)
    return NWChem().interpret(step("nwchem", "deck", deck="in.nw"), work, log, Exit(ended.returncode))


def test_a_solvent_that_nwchem_does_not_know_is_noted(tmp_path: Path) -> None:
    (note,) = outcome(tmp_path, "cosmo\n solvent watr\nend").result["notes"]
    assert "does not know the name after `solvent`" in note


def test_a_multiplicity_that_it_cannot_read_and_a_line_behind_the_last_task_are_noted(tmp_path: Path) -> None:
    unread, behind = outcome(tmp_path, "dft\n mult two\nend", behind="charge 1\n").result["notes"]
    assert "used a singlet" in unread
    assert behind.startswith("line 14 of the deck comes after the last task")


def test_a_deck_that_is_taken_as_it_stands_has_no_note(tmp_path: Path) -> None:
    assert outcome(tmp_path, "cosmo\n solvent h2o\nend").result["notes"] == []
