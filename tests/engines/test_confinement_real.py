"""Why decks are confined: what NWChem itself does with them. A program that stops doing so shows here, too."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from qmrunner.engines import get
from qmrunner.engines.base import Context
from qmrunner.engines.nwchem import findings
from qmrunner.host.probe import probe
from qmrunner.model.jobs import Grant
from tests.engines.hostile import ACTS, HEAD
from tests.engines.support import step
from tests.surroundings import plain

# Under CI a missing engine is a failure: the tests then run, and say what is missing.
MISSING = get("nwchem").locate({}, shutil.which).path is None and os.environ.get("CI") != "true"
pytestmark = [pytest.mark.engine, pytest.mark.skipif(MISSING, reason="nwchem is not installed")]


def run(work: Path, deck: str) -> str:
    """What NWChem prints, run by the engine's own command in `work`."""
    installed = probe(get("nwchem"), {})
    (work / "in").mkdir()
    (work / "in" / "deck.nw").write_text(deck)
    context = Context(work, {"deck.nw": work / "in" / "deck.nw"}, Grant(1, 600, 500, 0), installed)
    command = get("nwchem").prepare(step("nwchem", "deck", deck="deck.nw", unconfined=True), context)
    for name, text in command.files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text, newline="")
    ended = subprocess.run(
        command.argv,
        cwd=work,
        env={**plain(), **command.env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=180,
        check=False,
    )
    return (ended.stdout + ended.stderr).decode(errors="replace")


# NWChem reaches the task behind a memory line only if that line is replaced, and qmrunner now refuses the line itself.
@pytest.mark.parametrize("name", [name for name in ACTS if "behind memory" not in name])
def test_nwchem_does_what_is_refused(name: str, one_word: Path) -> None:
    folder = one_word / str(list(ACTS).index(name))
    work, outside = folder / "work", folder / "outside"
    work.mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_text("title not-for-you\n")
    (outside / "secret.xyz").write_text("1\nnot-for-you\nNe 0 0 0\n")
    deck = ACTS[name].replace("{out}", str(outside))
    assert findings("deck.nw", {"deck.nw": deck.encode()})
    printed = run(work, deck)
    wrote = (outside / "hit").exists() or bool(list(outside.glob("hit.*")))
    assert wrote or "include: start" in printed or "Ne     " in printed


def test_directories_named_in_a_deck_are_not_used(tmp_path: Path, one_word: Path) -> None:
    work, outside = tmp_path / "work", one_word / "outside"
    work.mkdir()
    outside.mkdir()
    printed = run(work, HEAD + f"scratch_dir {outside}\npermanent_dir {outside}\ntask scf\n")
    assert "Total SCF energy" in printed
    assert list(outside.iterdir()) == []
