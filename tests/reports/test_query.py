"""The language of the job list: what it understands, and that nothing typed makes it fail otherwise than it reports."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmrunner.errors import UsageError
from qmrunner.model.job_filter import JobFilter, is_inchikey
from qmrunner.reports.query import KEYS, Term, both, parse, when

NOW = 1_800_000_000.0
DAY = 86400.0


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", JobFilter()),
        ("   ", JobFilter()),
        ("aspirin draft", JobFilter(words=("aspirin", "draft"))),
        ("state:failed", JobFilter(states=("failed",))),
        ("state:failed,held state:FAILED", JobFilter(states=("failed", "held"))),
        ("state:waiting", JobFilter(states=("queued",))),
        ("kind:nmr code:hung", JobFilter(kinds=("nmr",), codes=("hung",))),
        ("owner:alice owner:bob", JobFilter(owners=("alice", "bob"))),
        ('group:"my batch" "ratio: 3"', JobFilter(groups=("my batch",), words=("ratio: 3",))),
        ("smiles:C[C@H](N)C(=O)O", JobFilter(structure="C[C@H](N)C(=O)O")),
        ("smiles:[CH3:1][OH:2]", JobFilter(structure="[CH3:1][OH:2]")),
        ("since:7d until:12h", JobFilter(since=NOW - 7 * DAY, until=NOW - DAY / 2)),
        ("since:2026-11-25", JobFilter(since=1795564800.0)),
        ("since:2026-11-25T01:00:00+01:00", JobFilter(since=1795564800.0)),
        ("owner:a,b", JobFilter(owners=("a,b",))),
    ],
)
def test_a_query_makes_the_filter_it_describes(text: str, wanted: JobFilter) -> None:
    assert parse(text, NOW).filter == wanted


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("stat:failed", "state"),
        ("state:faild", "failed"),
        ("kind:nmrr", "nmr"),
        ("state:", "state:failed"),
        ("since:yesterday", "7d"),
        ("since:7d since:8d", "keep one"),
        ("smiles:C smiles:CC", "keep one"),
        ('group:"open', "quotes"),
        ("since:-3d", "7d"),
        ("until:0001-01-01", "7d"),
        ("a\0b", "remove"),
        ("x" * 2001, "shorter"),
        (" ".join(f"w{i}" for i in range(51)), "shorter"),
        ("http://x", "quotes"),
    ],
)
def test_what_is_not_understood_is_refused_with_what_would_be(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, NOW)
    assert caught.value.code == "bad_query"
    assert hint in (caught.value.remedy or "")


@given(st.text(max_size=60) | st.lists(st.sampled_from([*KEYS, ":", '"', " ", "7d", "x", ",", "failed"])).map("".join))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_query_or_refused_and_its_terms_make_the_same_one(text: str) -> None:
    try:
        found = parse(text, NOW)
    except UsageError:
        return
    again = parse(" ".join(map(str, found.terms)), NOW)
    assert (again.filter, again.terms) == (found.filter, found.terms)


def test_a_chip_can_be_taken_out() -> None:
    found = parse('state:failed group:"my batch" text', NOW)
    assert found.without(Term("state", "failed")) == 'group:"my batch" text'
    assert [str(term) for term in found.terms] == ["state:failed", 'group:"my batch"', "text"]


def test_conditions_of_two_filters_are_joined() -> None:
    one, other = JobFilter(states=("failed",), since=1.0), JobFilter(states=("held",), since=2.0, words=("x",))
    assert both(one, other) == JobFilter(states=("failed", "held"), since=2.0, words=("x",))


def test_a_chain_of_carbons_is_no_inchikey() -> None:
    assert is_inchikey("LFQSCWFLJHTTHZ-UHFFFAOYSA-N")
    assert is_inchikey("LFQSCWFLJHTTHZ")
    assert not is_inchikey("CCCCCCCCCCCCCC")
    assert not is_inchikey("CCO")


def test_an_age_never_reaches_before_the_first_second() -> None:
    assert when("999999w", NOW) == 0.0
