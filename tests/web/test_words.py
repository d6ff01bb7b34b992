"""The pure parts of the pages: addresses, forms, timelines, log lines, states."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.api.cookies import name_of, session_of
from qmrunner.client import html
from qmrunner.errors import UsageError
from qmrunner.model.states import AttemptState, JobState, StepState
from qmrunner.reports import html_report, query
from qmrunner.web import render
from qmrunner.web.links import jobs_where, own_path
from qmrunner.web.log_view import cleaned
from qmrunner.web.new_form import job_of, words_of
from qmrunner.web.present import SHAPES, STATES, prose, state
from qmrunner.web.timeline import drawn

MOL = "\n  x\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n    0.0 0.0 0.0 C   0  0\nM  END\n"


@given(st.text(max_size=60))
def test_no_text_leads_to_another_host(text: str) -> None:
    for wanted in (text, f"/{text}", f"//{text}", f"/\\{text}"):
        found = own_path(wanted)
        assert found.startswith("/")
        assert not found.startswith(("//", "/\\"))
        assert found.isascii()
        assert "\n" not in found


def test_every_state_has_a_word_and_a_shape() -> None:
    words = {str(one) for kind in (JobState, StepState, AttemptState) for one in kind}
    assert words - set(STATES) == set()
    assert set(STATES.values()) == set(SHAPES)
    assert "&lt;b&gt;" in state("running", says="<b>")


@pytest.mark.parametrize(
    ("kind", "words", "files", "job"),
    [
        (
            "nmr",
            {"structure": " CCO\n", "level": "draft", "solvent": "dmso", "charge": ""},
            [],
            {"kind": "nmr", "smiles": "CCO", "level": "draft", "solvent": "dmso"},
        ),
        ("nmr", {"structure": MOL}, [], {"kind": "nmr", "files": [{"name": "pasted.mol", "text": MOL}]}),
        (
            "nmr",
            {"structure": "1\n\nH 0 0 0\n"},
            [],
            {"kind": "nmr", "files": [{"name": "pasted.xyz", "text": "1\n\nH 0 0 0\n"}]},
        ),
        (
            "conformers",
            {"structure": "CCO"},
            [("a.xyz", "x")],
            {"kind": "conformers", "files": [{"name": "a.xyz", "text": "x"}]},
        ),
        (
            "xtb",
            {"args": "--opt 'very tight'", "fresh": "yes", "charge": "7"},
            [("w.xyz", "w")],
            {"kind": "xtb", "fresh": True, "args": ["--opt", "very tight"], "files": [{"name": "w.xyz", "text": "w"}]},
        ),
        (
            "nwchem",
            {"structure": "task scf", "deck_name": "a.nw"},
            [("b.xyz", "b")],
            {"kind": "nwchem", "files": [{"name": "a.nw", "text": "task scf"}, {"name": "b.xyz", "text": "b"}]},
        ),
        (
            "conformers",
            {"structure": "C", "charge": "-1", "temperature_k": "310.5", "require": "gpu, big", "priority": "3"},
            [],
            {
                "kind": "conformers",
                "smiles": "C",
                "charge": -1,
                "temperature_k": 310.5,
                "require": ["gpu", "big"],
                "priority": 3,
            },
        ),
    ],
)
def test_a_form_becomes_the_job_of_the_api(
    kind: str, words: dict[str, str], files: list[tuple[str, str]], job: dict[str, Any]
) -> None:
    assert job_of(kind, words, files) == job


@pytest.mark.parametrize(
    ("kind", "words"),
    [("huey", {}), ("nmr", {"charge": "one"}), ("xtb", {"args": "'open"}), ("crest", {"priority": "1e9"})],
)
def test_a_field_that_cannot_be_read_is_refused(kind: str, words: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        job_of(kind, words, [])
    assert caught.value.code == "bad_field"


def test_an_earlier_job_fills_the_form_so_that_it_becomes_the_same_job() -> None:
    params = {"input": {"smiles": "CCO"}, "solvent": "dmso", "level": "draft", "conformers_asked": "auto",
              "max_conformers_asked": 5, "temperature_k": 300.0}  # fmt: skip
    words = words_of({"name": "a", "group": None}, params)
    assert job_of("nmr", words, []) == {
        "kind": "nmr", "name": "a", "smiles": "CCO", "solvent": "dmso", "level": "draft", "conformers": "auto",
        "max_conformers": 5, "temperature_k": 300.0,
    }  # fmt: skip


def test_nothing_that_was_asked_for_is_lost_when_a_job_is_run_again() -> None:
    params = {"input": {"file": "ion.xyz"}, "charge": 1, "multiplicity": 2, "conformers_asked": "rdkit",
              "max_lost_weight": 0.3, "allow_topology_change": True, "fresh": True, "solvent": "water"}  # fmt: skip
    words = words_of({"name": None, "group": "g", "priority": 5, "requires": ("gpu", "big")}, params)
    assert job_of("conformers", {**words, "structure": "1\n\nH 0 0 0\n", "deck_name": "ion.xyz"}, []) == {
        "kind": "conformers", "group": "g", "priority": 5, "require": ["gpu", "big"], "charge": 1, "multiplicity": 2,
        "conformers": "rdkit", "max_lost_weight": 0.3, "allow_topology_change": True, "fresh": True,
        "solvent": "water", "files": [{"name": "pasted.xyz", "text": "1\n\nH 0 0 0\n"}],
    }  # fmt: skip
    radical = words_of({"name": None, "group": None}, {"input": {"smiles": "[CH3]"}, "charge": 0, "multiplicity": 2})
    assert (radical["multiplicity"], radical.get("charge")) == ("2", None)


@pytest.mark.parametrize(
    ("typed", "name", "made"),
    [
        ("CCO ethanol", "", "ethanol"),
        ("CCO\tethyl  alcohol ", "", "ethyl  alcohol"),
        ("CCO ethanol", "mine", "mine"),
        ("CCO", "", None),
        ("CCO |f:1|", "", None),
        ("CCO\nCCN", "", None),  # refused where it is read
    ],
)
def test_what_follows_a_smiles_is_its_name(typed: str, name: str, made: str | None) -> None:
    assert job_of("nmr", {"structure": typed, "name": name}, []).get("name") == made


@pytest.mark.parametrize("value", ["plain", "my batch", "a:b", "x,y", "50 % <b>&c=d", "Grüße", "-", "state:failed"])
def test_a_value_leads_to_the_jobs_with_the_same(value: str) -> None:
    for key in ("group", "owner"):
        where = urlsplit(jobs_where(value, key) or "")
        found = query.parse(parse_qs(where.query)["q"][0], 0.0).filter
        assert {"group": found.groups, "owner": found.owners}[key] == (value,)
        assert found.words == ()
    assert jobs_where('a"b', "group") is None


def test_a_line_of_a_log_has_no_controls() -> None:
    assert cleaned("\x1b[31mred\x1b[0m \x1b]0;title\x07x\x00\tend\r\nnext\rline") == "red x\tend\nnext\nline"


@pytest.mark.parametrize("sign", ["\u202e", "\u2066", "\u200b", "\u2028", "\x85", "\x9b", "\ufeff", "\U000e0041"])
def test_no_invisible_character_reaches_a_page_but_in_a_field_of_a_form(sign: str) -> None:
    environment = render._environment()
    page = environment.from_string(
        "<title>{{ name }}</title><b title='{{ name|truncate(9, true) }}'>{{ name|upper }}</b>"
    )
    shown = page.render(name=f"<{sign}evil")
    assert sign not in shown
    assert shown.count("&lt;\\") == 3
    field = environment.from_string('<input value="{{ name|unchanged }}">')
    assert field.render(name=f'"<{sign}evil') == f'<input value="&#34;&lt;{sign}evil">'
    assert sign not in cleaned(f"a{sign}b")
    assert sign not in html_report.escape(f"a{sign}b")
    assert sign not in html.job_html({"name": f"a{sign}b", "kind": "xtb", "id": "a", "state": "failed", "code": sign})


def test_forms_send_back_what_was_typed() -> None:
    """Each field with a text of a user takes it unchanged, or what is sent again is another name, filter or deck."""
    typed = re.compile(r"\{\{ \(?(words\.(name|group|structures?|args|require|deck_name)|q|back|typed|next)\b[^}]*\}\}")
    found = 0
    for path in Path(render.__file__).with_name("templates").glob("*.html"):
        text = path.read_text()
        for hit in typed.finditer(text):
            before = text[max(0, hit.start() - 60) : hit.start()]
            if re.search(r'value="$|<textarea[^<]*>\n?$', before) or text[hit.end() :].startswith("</textarea>"):
                found += 1
                assert "|unchanged" in hit[0] or path.name == "tokens.html", (path.name, hit[0])
    assert found >= 18


def test_a_timeline_folds_idle_time_and_keeps_bars_inside() -> None:
    def row(number: int, begin: str, end: str | None) -> dict[str, Any]:
        return {"step": "s", "attempt": number, "state": "failed", "code": "x", "started_at": begin, "finished_at": end}

    rows = [
        row(1, "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"), row(2, "2026-01-04T00:00:00Z", "2026-01-04T00:02:00Z"),
        row(3, "2026-01-04T00:01:00Z", None),
    ]  # fmt: skip
    found = drawn(rows, 1767484980.0)  # 2026-01-04T00:03:00Z
    assert found is not None
    assert [bar["took"] for bar in found["bars"]] == ["1 min 00 s", "2 min 00 s", "2 min 00 s"]
    assert len(found["idle"]) == 1
    assert found["bars"][1]["width"] > found["idle"][0]["width"]
    assert all(bar["x"] >= 230 and bar["x"] + bar["width"] <= 1003 for bar in found["bars"])
    assert drawn([row(1, None, None)], 0.0) is None  # type: ignore[arg-type]


def test_a_cookie_is_of_one_port_and_garbage_is_none() -> None:
    secret = "a" * 43
    host = {"host": "localhost:8642"}
    assert name_of(host, https=False) == "qmrunner_8642"
    assert session_of({**host, "cookie": f"x=1; qmrunner_8642={secret}; y"}) == secret
    assert session_of({**host, "cookie": f"qmrunner_8643={secret}"}) is None
    assert session_of({**host, "cookie": "qmrunner_8642=../../etc"}) is None
    assert session_of({"host": "qm.example.org", "cookie": f"__Host-qmrunner_443={secret}"}) == secret


@pytest.mark.parametrize(
    "text", ["\n" * 100_000 + "C", "1 " * 100_000, "1\n" * 50_000, "1" * 200_000, "1\n\n" + " \n" * 100_000]
)
def test_a_pasted_text_is_recognised_in_a_moment(text: str) -> None:
    began = time.process_time()
    assert job_of("nmr", {"structure": text}, [])["smiles"]
    assert time.process_time() - began < 1.0


def test_flags_of_a_form_are_bounded() -> None:
    with pytest.raises(UsageError, match="flags"):
        job_of("xtb", {"structure": "3", "args": "a " * 20_000}, [])


def test_commands_in_sentences_are_code_and_nothing_else_is_markup() -> None:
    assert prose("run `qmrunner run`, or <b>`a&b`</b>") == (
        "run <code>qmrunner run</code>, or &lt;b&gt;<code>a&amp;b</code>&lt;/b&gt;"
    )
    assert prose(None) == ""
    assert prose("`two\nlines`") == "`two\nlines`"
