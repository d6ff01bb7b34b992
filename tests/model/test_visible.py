"""Text for terminals: nothing that moves, hides or turns around is left, and nothing else is touched."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.model import visible

UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def hidden(text: str, but: str = "") -> list[str]:
    """The characters of a text that a terminal does not simply print."""
    return [one for one in text if unicodedata.category(one) in UNSEEN and one not in but]


def test_of_all_characters_those_that_do_not_simply_print_are_written_out() -> None:
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    assert hidden(visible.line("".join(every))) == []
    assert hidden(visible.lines("".join(every)), "\n\t") == []
    plain = [one for one in every if unicodedata.category(one)[0] in "LNPS" and one not in "\u115f\u1160\u3164\uffa0"]
    assert visible.line("".join(plain)) == "".join(plain)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x00\x7f\x85\x9b", r"\x00\x7f\x85\x9b"),
        ("\u061c\u200b\u200e\u2028\u202e\u2066\ufeff", r"\u061c\u200b\u200e\u2028\u202e\u2066\ufeff"),
        ("\U000e0041", r"\U000e0041"),
        ("\udcff\ud800", r"\xff\ud800"),
        ("Å ℏ 分子 é ½ \u00a0", "Å ℏ 分子 é ½ \u00a0"),
    ],
)
def test_they_are_written_as_python_writes_them(text: str, shown: str) -> None:
    assert visible.line(text) == shown


@given(st.recursive(st.text(st.characters()), lambda one: st.lists(one) | st.dictionaries(st.text(), one)))
def test_no_field_of_a_value_leaves_its_line(value: object) -> None:
    assert hidden(json.dumps(visible.fields(value), ensure_ascii=False)) == []


@given(st.text(st.characters()))
def test_json_is_printable_ascii_and_is_read_back_as_it_was(text: str) -> None:
    written = visible.dumps({"name": text})
    assert written.isascii()
    assert written.isprintable()
    assert json.loads(written) == {"name": text}


PIECES = st.sampled_from([b"\r", b"\n", b"\r\n", b"\x1b", b"\xff", b"a", "å".encode(), "\u2028".encode(), "𝔄".encode()])


@given(st.lists(PIECES).map(b"".join), st.integers(1, 9))
def test_a_log_that_is_read_in_pieces_is_shown_as_in_one(data: bytes, size: int) -> None:
    told, at = [], 0
    while at < len(data):
        end = at + (visible.whole(data[at : at + size]) or size)
        while end < len(data) and visible.whole(data[at:end]) < end - at:
            end += 1  # the next look has more
        told.append(visible.log(data[at:end]))
        at = end
    assert b"".join(told) == visible.log(data)
    assert hidden(visible.log(data).decode(), "\n") == []


@given(st.binary())
def test_any_bytes_of_a_log_become_text_that_is_plain(data: bytes) -> None:
    assert hidden(visible.log(data).decode(), "\n\t") == []
