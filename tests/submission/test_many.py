"""Files of many molecules: every line or record is an entry, and only a file as a whole is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmrunner.errors import UsageError
from qmrunner.submission.many import MOST, Entry, read

BLOCK = "name\n  made\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n    0.0 0.0 0.0 C   0  0\nM  END\n"


def test_a_list_has_a_smiles_and_a_name_on_each_line() -> None:
    found = read("# comment\nCCO ethanol of wine\n\n  CC\r\n", "a.smi").found
    assert found == (Entry(2, "CCO", name="ethanol of wine"), Entry(4, "CC"))


def test_a_table_sets_options_for_its_lines_and_names_what_it_ignores() -> None:
    made = read('SMILES,Name,charge,temperature_k,batch\n"C[NH3+]",a,1,310.5,x\nCC,,,,\n,b,,,\n', "a.csv")
    first, second, third = made.found
    assert (first.smiles, first.name, dict(first.options)) == ("C[NH3+]", "a", {"charge": 1, "temperature_k": 310.5})
    assert (second.smiles, second.name, dict(second.options)) == ("CC", None, {})
    assert (third.number, third.smiles) == (4, "")
    assert made.ignored == ("batch",)


def test_a_cell_that_is_no_number_is_the_problem_of_its_line_alone() -> None:
    found = read("smiles\tcharge\nC\tone\nCC\t1\n", "a.tsv").found
    assert found[0].problem is not None
    assert found[0].problem.code == "bad_number"
    assert found[1].problem is None


def test_an_sdf_is_cut_into_its_records() -> None:
    found = read(BLOCK + "> <id>\n7\n\n$$$$\n" + BLOCK.replace("name", "") + "$$$$\n\n", "a.sdf").found
    assert [entry.name for entry in found] == ["name", None]
    assert all(entry.block is not None and entry.block.endswith("$$$$\n") for entry in found)


@pytest.mark.parametrize(
    ("text", "name", "code"),
    [
        ("CCO\n", "a.xyz", "unknown_format"),
        ("# nothing\n", "a.smi", "empty_file"),
        ("smiles\n", "a.csv", "empty_file"),
        ("a,b\n1,2\n", "a.csv", "no_smiles_column"),
        ("C\n" * (MOST + 1), "a.txt", "too_many_lines"),
    ],
)
def test_a_file_without_molecules_is_refused(text: str, name: str, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text, name)
    assert caught.value.code == code
    assert caught.value.remedy


@given(st.text(max_size=300), st.sampled_from(["a.smi", "a.csv", "a.sdf", "a.tsv"]))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused(text: str, name: str) -> None:
    try:
        assert read(text, name).found
    except UsageError as problem:
        assert problem.remedy  # noqa: PT017
