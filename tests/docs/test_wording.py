"""The check of the wording finds words that the project does not use, and names better ones."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import wording  # noqa: E402


def found(source: str, path: str = "qmrunner/x.py") -> list[tuple[int, str]]:
    return [(finding.line, finding.word) for finding in wording.in_code(source, path)]


def test_the_project_uses_none_of_the_words() -> None:
    """As in `make check`, in a few seconds of CPU."""
    began = time.process_time()
    assert [str(finding) for finding in wording.findings()] == []
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "source",
    [
        "x = 1  # whoever ends it",
        '"""Whoever ends it."""',
        'raise ValueError("it is told to whoever")',
        "'a step that whoever ends'",
    ],
)
def test_comments_docstrings_and_texts_are_read(source: str) -> None:
    assert "whoever" in {word for _, word in found(source)}


def test_keys_names_and_quoted_hashes_are_no_prose() -> None:
    assert found('x = {"told": 1}\ntold_at = x["told"]\ny = "# no comment"') == []


def test_a_phrase_is_found_across_the_lines_of_a_comment_and_in_the_name_of_a_test() -> None:
    assert found("# It runs in a folder of\n# its own.") == [(1, "of its own")]
    assert found("def test_a_step_goes_on() -> None: ...", "tests/test_x.py") == [(1, "goes on")]


def test_texts_that_a_test_passes_to_the_program_are_not_read() -> None:
    assert found('answer("what nobody said")', "tests/test_x.py") == []
    assert found('"""What nobody said."""', "tests/test_x.py") == [(1, "nobody"), (1, "said")]


@pytest.mark.parametrize(
    "source",
    [
        "for one in steps: ...",
        "[one.id for one in steps]",
        "lambda one: one",
        "def f(one: int) -> None: ...",
        "one = 1",
        "class Lab: ...",
    ],
)
def test_replaced_names_are_found_where_they_are_bound(source: str) -> None:
    assert {word for _, word in found(source)} & {"one", "Lab"}


def test_one_as_a_word_is_no_name() -> None:
    assert found('"""Each one (the last one, too) and this one: all of them."""\nx = only.one') == []


def test_patterns_of_engine_output_are_not_read_and_remedies_are() -> None:
    text = "says = [\n    'was told anew',\n]\npattern = ['goes on']\nremedy = \"Go on.\"\n"
    assert [(finding.line, finding.word) for finding in wording.in_toml(text)] == [(5, "go on")]


def test_a_finding_shows_file_line_word_and_a_better_word() -> None:
    (finding,) = wording.in_text("First line.\nIt begins anew.", "pages/x.md")
    assert str(finding) == "pages/x.md:2: 'anew': write again, from the start"


def test_an_exception_has_a_reason_and_covers_only_its_word() -> None:
    assert all(entry.reason for entry in wording.ALLOWED)
    entry = wording.Allowed("pages/*.md", "anew", "a quotation")
    assert entry.covers(wording.Finding("pages/x.md", 1, "anew", ""))
    assert not entry.covers(wording.Finding("pages/x.md", 1, "told", ""))


def test_an_exception_that_no_file_needs_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wording, "ALLOWED", (wording.Allowed("nowhere/*", "anew", "was removed"),))
    monkeypatch.setattr(wording, "files", lambda: iter(()))
    assert ["no exception for nowhere/*" in str(finding) for finding in wording.findings()] == [True]
