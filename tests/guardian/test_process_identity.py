"""Who a process is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.guardian.process_identity import Identity, parse_stat

LINE = "77 (NAME) S 3 77 77 0 -1 0 1 2 3 4 50 60 70 80 20 0 1 0 9999 123 456 789\n"


@given(st.text(st.characters(blacklist_characters="\n\0"), max_size=15))
def test_any_process_name_is_read_even_one_with_brackets_and_blanks(name: str) -> None:
    stat = parse_stat(LINE.replace("NAME", name))
    assert (stat.pid, stat.comm, stat.state, stat.ppid) == (77, name, "S", 3)
    assert (stat.utime, stat.stime, stat.cutime, stat.cstime) == (50, 60, 70, 80)
    assert (stat.start_ticks, stat.rss_pages) == (9999, 456)


@pytest.mark.parametrize("text", ["", "1", "1 (a", "1 (a) R", "x (a) R 1 2", LINE[:40]])
def test_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_stat(text)


def test_this_very_process_is_read() -> None:
    stat = parse_stat(Path("/proc/self/stat").read_text())
    assert (stat.pid, stat.ppid) == (os.getpid(), os.getppid())


def test_an_identity_survives_being_stored() -> None:
    one = Identity("boot", "pid:[4026531836]", 7, 123456789012)
    assert Identity.from_dict(one.as_dict()) == one
