"""What a checking process answers is as untrusted as the input that it read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qmrunner.api.upload.sandbox import Checked, Children
from qmrunner.errors import UsageError

ANSWER: dict[str, Any] = {
    "kind": "xtb", "params": {"structure": "w.xyz"}, "requires": [], "name": None, "priority": 0, "group": None,
    "files": ["w.xyz"], "digest": "d", "facts": None,
}  # fmt: skip
Check = Callable[[Any], Checked]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "0").write_bytes(b"1\n\nH 0 0 0\n")

    def checking(answer: Any) -> Checked:
        children = Children()
        monkeypatch.setattr(children, "_answer", lambda *_: answer)
        return children.check_now(tmp_path, {})

    return checking


def test_an_answer_is_a_job_from_the_network_whatever_it_contains(check: Check) -> None:
    made = check({**ANSWER, "params": {"network": False}}).made
    assert made.params == {"network": True}
    assert made.files == {"w.xyz": b"1\n\nH 0 0 0\n"}


@pytest.mark.parametrize(
    "more",
    [
        {"kind": "huey"},
        {"kind": "other"},
        {"params": {"unconfined": True}},
        {"params": {"unconfined": False}},
        {"params": None},
        {"files": ["../../run/state.json"]},
        {"files": ["/etc/cron.d/x"]},
        {"files": [".."]},
        {"files": [1]},
        {"files": ["w.xyz", "missing"]},
        {"requires": 1},
        {"priority": "high"},
    ],
)
def test_an_answer_that_no_request_may_ask_for_is_refused(check: Check, more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="crashed"):
        check({**ANSWER, **more})


@pytest.mark.parametrize("thing", ["link", "pipe", "folder", "hole"])
def test_what_a_child_leaves_in_place_of_a_file_is_not_read(check: Check, tmp_path: Path, thing: str) -> None:
    place = tmp_path / "made" / "0"
    place.unlink()
    if thing == "link":
        place.symlink_to("/etc/passwd")
    elif thing == "pipe":
        os.mkfifo(place)
    elif thing == "folder":
        place.mkdir()
    else:
        with open(place, "wb") as file:
            os.truncate(file.fileno(), 1 << 40)
    with pytest.raises(UsageError, match="crashed"):
        check(ANSWER)
