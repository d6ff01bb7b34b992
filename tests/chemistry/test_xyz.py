"""XYZ files: what is read, what is refused and with which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmrunner.chemistry.elements import SYMBOLS, canonical
from qmrunner.chemistry.xyz import read_xyz, write_xyz
from qmrunner.errors import UsageError

WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"


def refusal(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read_xyz(text, "mol.xyz")
    assert caught.value.remedy
    return caught.value


def test_atoms_keep_the_order_of_the_file() -> None:
    (water,) = read_xyz(WATER)
    assert water.symbols == ("O", "H", "H")
    assert water.coordinates is not None
    assert water.coordinates[1] == (0.0, 0.757, -0.471)
    assert water.title == "water"


def test_several_structures_in_one_file_are_all_read() -> None:
    assert len(read_xyz(WATER + WATER + "\n\n" + WATER)) == 3


def test_symbols_in_any_case_and_atomic_numbers_are_understood() -> None:
    (found,) = read_xyz("3\n\nCL 0 0 0\nc 0 0 1.8\n35 0 2 1.8\n")
    assert found.symbols == ("Cl", "C", "Br")


def test_fortran_exponents_and_extra_columns_are_read() -> None:
    (found,) = read_xyz("2\r\n\r\nH 0.0D+00 0 0 0.12\r\nH 7.4d-01 0 0 -0.12\r\n")
    assert found.coordinates is not None
    assert found.coordinates[1] == (0.74, 0.0, 0.0)


@pytest.mark.parametrize("text", ["", "\n\n", "   "])
def test_an_empty_file_is_refused(text: str) -> None:
    assert refusal(text).code == "empty_file"


def test_a_file_that_ends_early_names_how_many_atoms_were_there() -> None:
    error = refusal(WATER.replace("3\n", "4\n", 1))
    assert error.code == "atom_count_mismatch"
    assert "3 of 4" in error.message


def test_more_atoms_than_announced_are_refused() -> None:
    error = refusal(WATER.replace("3\n", "2\n", 1))
    assert error.code == "atom_count_mismatch"
    assert error.evidence is not None
    assert "line 5" in error.evidence


def test_a_short_structure_followed_by_another_is_refused() -> None:
    assert refusal("4\n\n" + WATER.split("\n", 2)[2] + WATER).code == "atom_count_mismatch"


def test_an_unknown_element_is_named_with_its_line() -> None:
    error = refusal(WATER.replace("O 0", "Xx 0"))
    assert error.code == "unknown_element"
    assert error.evidence is not None
    assert "line 3" in error.evidence


def test_an_atom_label_is_answered_with_the_element_it_probably_means() -> None:
    error = refusal(WATER.replace("O 0", "Ow 0"))
    assert error.remedy is not None
    assert "probably O" in error.remedy


def test_a_decimal_comma_is_recognised() -> None:
    error = refusal(WATER.replace("0.757", "0,757"))
    assert error.code == "decimal_comma"
    assert "line 4" in error.message


@pytest.mark.parametrize("word", ["nan", "inf", "-Infinity", "NaN"])
def test_a_coordinate_that_is_not_finite_is_refused(word: str) -> None:
    assert refusal(WATER.replace("0.117", word)).code == "not_finite"


@pytest.mark.parametrize("word", ["abc", "*******", "0.1.2"])
def test_a_coordinate_that_is_no_number_is_refused(word: str) -> None:
    assert refusal(WATER.replace("0.117", word)).code == "unreadable_structure"


def test_a_missing_coordinate_is_refused() -> None:
    assert refusal("1\n\nH 0 0\n").code == "unreadable_structure"


@pytest.mark.parametrize("text", ["start water\ntask scf\n", "-3\n\n", "0\n\n", "3.0\n\nH 0 0 0\n"])
def test_a_file_without_an_atom_count_is_refused(text: str) -> None:
    assert refusal(text).code == "unreadable_structure"


def test_overlapping_atoms_are_refused_and_named() -> None:
    error = refusal("3\n\nC 0 0 0\nH 0 0 1.1\nO 0 0.3 1.2\n")
    assert error.code == "atoms_overlap"
    assert "2 (H) and 3 (O)" in error.message


numbers = st.floats(-999, 999).map(lambda x: round(x, 8))


@given(st.lists(st.tuples(st.sampled_from(SYMBOLS), numbers, numbers), min_size=1, max_size=12))
def test_what_is_written_is_read_back(atoms: list[tuple[str, float, float]]) -> None:
    symbols = tuple(symbol for symbol, _, _ in atoms)
    points = tuple((x, y, 2.0 * place) for place, (_, x, y) in enumerate(atoms))
    (found,) = read_xyz(write_xyz(symbols, points, "a comment\nof two lines"))
    assert found.symbols == symbols
    assert found.coordinates is not None
    for read, written in zip(found.coordinates, points, strict=True):
        assert read == pytest.approx(written, abs=1e-8)


def test_every_element_is_found_by_symbol_and_number() -> None:
    for number, symbol in enumerate(SYMBOLS, start=1):
        assert canonical(symbol.upper()) == canonical(str(number)) == symbol
    assert canonical("0") is canonical("119") is canonical("") is canonical("Qq") is None
