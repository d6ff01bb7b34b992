"""Measured peaks are read from what users paste; nothing that they paste raises."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmrunner.chemistry import jcamp, peaks, solvent_lines
from qmrunner.workflows.solvents import KEYS

ACS = (
    "13C NMR (101 MHz, CDCl3) δ 170.1 (C=O), 128.5 (2C), 77.48, 77.16, 76.84, 21.0 (CH3).\n"
    "1H NMR (400 MHz, CDCl₃): δ 7.26–7.30 (m, 5H), 3.71 (s, 3H, H-2), 1.25 (t, J = 7.1 Hz, 3H), 0.00."
)
HOSTILE = [
    "",
    " \n\t\r",
    "δ",
    "(((((" * 3000,
    ")" * 5000,
    "1" * 16_000,
    "1." * 8000,
    "13C NMR" * 2000,
    "1H:" * 5000,
    "##=\n" * 4000,
    "##PEAK TABLE=(XY..XY)\n1,2\n" * 500,
    "##TITLE=a\n##XUNITS=HZ\n##PEAK TABLE=(XY..XY)\n100,1",
    "##.OBSERVE NUCLEUS=^31P\n##PEAK TABLE=(XY..XY)\n1,2",
    "##TITLE=x\n##XYDATA=(X++(Y..Y))\n1 2 3",
    "77.2 (C99999999999999999999)",
    "77.2 (#0)",
    "1e309, nan, inf, -inf, 0x10, ٣٫٤, ½, ²",
    "\x00\x1b[31m7.2\x07",
    "-" * 9000,
    "7.26-7.30-7.40 - - 3",
    "9999, -9999, 7.2",
    "7,2,3,4,5",
    "\ud800 7.2",
    "<script>alert(1)</script> 7.2 <img src=x onerror=alert(2)>",
]


def test_a_plain_list_has_peaks_atoms_and_a_guessed_nucleus() -> None:
    found = peaks.read("77.2, 65.6 (C1) 12", solvent="chloroform")
    (carbon,) = found.lists
    assert carbon.nucleus == "13C"
    assert [(peak.ppm, peak.atoms) for peak in carbon.peaks] == [(65.6, (1,)), (12.0, ())]
    assert [(peak.ppm, name) for peak, name in carbon.aside] == [(77.2, "CDCl3")]
    assert found.problems == ()
    assert peaks.read("7.1 3.3").lists[0].nucleus == "1H"
    assert peaks.read("7.1 3.3", nucleus="13C").lists[0].nucleus == "13C"


def test_a_list_of_a_paper_has_counts_solvent_and_solvent_lines() -> None:
    found = peaks.read(ACS, solvent="dmso")
    carbon, proton = found.of("13C"), found.of("1H")
    assert carbon is not None
    assert proton is not None
    assert carbon.solvent == proton.solvent == "chloroform"
    assert [(peak.ppm, peak.count) for peak in carbon.peaks] == [(170.1, None), (128.5, 2), (21.0, None)]
    assert [peak.ppm for peak, _ in carbon.aside] == [77.48, 77.16, 76.84]
    assert [(peak.ppm, peak.count) for peak in proton.peaks] == [(7.28, 5), (3.71, 3), (1.25, 3)]
    assert [(peak.ppm, name) for peak, name in proton.aside] == [(0.0, solvent_lines.TMS)]
    assert found.problems == ()


def test_labels_of_a_paper_are_not_atom_numbers_and_number_signs_are() -> None:
    found = peaks.read("13C NMR (101 MHz, CDCl3) δ 170.1 (C1), 21.0 (#4)")
    assert [peak.atoms for peak in found.lists[0].peaks] == [(), (4,)]
    assert len(found.problems) == 1
    assert "(#1)" in found.problems[0]
    assert peaks.read("21.0 (OCH3), 13.1 (C2H5), 12.2 (H3C), 3 (C-2)").lists[0].peaks[0].atoms == ()


def test_a_peak_with_a_count_an_atom_or_a_range_is_no_solvent_line() -> None:
    found = peaks.read("7.26 (1H), 7.25 (#9), 7.25-7.27, 7.26", nucleus="1H", solvent="chloroform").lists[0]
    assert len(found.peaks) == 3
    assert len(found.aside) == 1


def test_decimal_commas_are_read_where_no_number_has_a_point() -> None:
    assert [peak.ppm for peak in peaks.read("77,5; 65,6\n12,1").lists[0].peaks] == [77.5, 65.6, 12.1]
    assert [peak.ppm for peak in peaks.read("7.1,3.2,1.1").lists[0].peaks] == [7.1, 3.2, 1.1]
    assert [peak.ppm for peak in peaks.read("70,65,12").lists[0].peaks] == [70.0, 65.0, 12.0]


def test_both_nuclei_under_short_headings() -> None:
    found = peaks.read("1H: 3.7, 1.2\n13C: 58.3 18.2")
    assert {part.nucleus: [peak.ppm for peak in part.peaks] for part in found.lists} == {
        "1H": [3.7, 1.2],
        "13C": [58.3, 18.2],
    }


def test_impossible_shifts_and_words_are_named() -> None:
    found = peaks.read("1H: 7.2, 450, banana, 3.1")
    assert [peak.ppm for peak in found.lists[0].peaks] == [7.2, 3.1]
    assert any("450" in text for text in found.problems)
    assert any("banana" in text for text in found.problems)


def test_what_is_written_as_jcamp_is_read_again() -> None:
    rows = [
        {"nucleus": "13C", "symbol": "C", "atom": 1, "shift_ppm": 18.2, "equivalent_atoms": [1]},
        {"nucleus": "13C", "symbol": "C", "atom": 2, "shift_ppm": 58.1234, "equivalent_atoms": [2, 3]},
        {"nucleus": "13C", "symbol": "C", "atom": 3, "shift_ppm": 58.1234, "equivalent_atoms": [2, 3]},
    ]
    text = jcamp.peak_table(rows, "13C", "évil ## $$ ethanol", "chloroform", datetime(2026, 1, 2, tzinfo=UTC))
    assert text.isascii()
    assert "58.1234, 2 $$ C2,C3" in text
    found = peaks.read(text)
    assert found.problems == ()
    assert [peak.ppm for peak in found.of("13C").peaks] == [58.1234, 18.2]  # type: ignore[union-attr]


def test_jcamp_in_hertz_is_divided_by_the_frequency() -> None:
    text = (
        "##TITLE=x\n##JCAMP-DX=5.01\n##.OBSERVE FREQUENCY=400.0 $$ MHz\n##.OBSERVENUCLEUS= ^1H\n##XUNITS=HZ\n"
        "##PEAK TABLE=(XY..XY)\n2900.0, 1 1200.0,2\n##END="
    )
    assert [peak.ppm for peak in peaks.read(text).lists[0].peaks] == [7.25, 3.0]


def test_every_solvent_of_a_job_is_known_or_has_no_lines() -> None:
    known = {key for key in KEYS if solvent_lines.label(key)}
    assert set(KEYS) - known == {"vacuum"}
    for key in known:
        assert solvent_lines.solvent_named(f"400 MHz, {solvent_lines.label(key)}, 298 K") == key


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("nucleus", [None, "1H", "13C"])
def test_hostile_text_is_read_without_an_exception(text: str, nucleus: str | None) -> None:
    found = peaks.read(text, nucleus=nucleus, solvent="chloroform")
    assert sum(len(part.peaks) + len(part.aside) for part in found.lists) <= 2 * peaks.MOST_PEAKS
    assert len(found.problems) <= 11


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("0123456789.,;-()#CH δ\n=")), max_size=300))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    peaks.read(text, solvent="chloroform")
    peaks.read(f"##TITLE={text}\n##PEAK TABLE=(XY..XY)\n{text}")
    peaks.read(f"13C NMR (101 MHz, CDCl3) δ {text}")


@pytest.mark.parametrize(
    "text",
    [
        "##PEAK TABLE=(XY..XY)\n" + "1" * peaks.MOST_CHARACTERS,
        "##PEAK ASSIGNMENTS=(XYA)\n(" + "1" * peaks.MOST_CHARACTERS,
        "##" + "\n" * peaks.MOST_CHARACTERS,
        "13C NMR (" + "1" * peaks.MOST_CHARACTERS + ")",
        "1" + " " * peaks.MOST_CHARACTERS,
    ],
)
def test_no_text_takes_long_to_read(text: str) -> None:
    """A server reads them while others wait: the first one took hours."""
    began = time.process_time()
    peaks.read(text)
    assert time.process_time() - began < 0.5
