"""What a run came to that was ended as hung: its own last word, where it had one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from qmrunner.attempt.active import ActiveAttempt
from qmrunner.attempt.interpret import outcome_of
from qmrunner.engines.nwchem import NWChem
from qmrunner.model.jobs import Exit
from tests.engines.errquit_blocks import block
from tests.engines.support import step


def live(tmp_path: Path, text: str) -> ActiveAttempt:
    log = tmp_path / "deck.1.log"
    log.write_text(text)
    folder = SimpleNamespace(path=tmp_path, work=tmp_path, lost=lambda: None, policy=lambda: None)
    found: Any = SimpleNamespace(directory=folder, log=log, step=step("nwchem", "deck"), job=None, number=1)
    return cast(ActiveAttempt, found)


@pytest.mark.parametrize(
    ("text", "code", "failure_class"),
    [
        (block("frobnicate: what is a quux", "INPUT_ERR"), "input_error", "permanent"),
        (block("frobnicate: g_quux", "GA_ERR"), "memory_exhausted", "resource"),
        ("          Start\n  d= 0,ls=0.0,diis     1    -76.3703493982\n", "hung", "transient"),
    ],
    ids=["abort", "memory", "silent"],
)
def test_ranks_left_behind_by_an_abort_do_not_hide_it(text: str, code: str, failure_class: str, tmp_path: Path) -> None:
    got = outcome_of(live(tmp_path, text), NWChem(), Exit(None, 15, stop_reason="hung"))
    assert (got.state, got.code, got.failure_class) == ("failed", code, failure_class)
