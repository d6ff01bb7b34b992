"""MOL blocks with parts that make another molecule of the atoms in them: labels, polymers, attachment points."""

from __future__ import annotations

import pytest

from qmrunner.chemistry import molfile_parts
from qmrunner.chemistry.structures import read_structures
from qmrunner.errors import UsageError

V2000 = """
  drawn

  3  2  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0  0  0  0  0  0  0  0  0  0  0
    1.3000    0.7500    0.0000 C   0  0  0  0  0  0  0  0  0  0  0  0
    2.6000    0.0000    0.0000 {element}   0  0  0  0  0  0  0  0  0  0  0  0
  1  2  1  0
  2  3  1  0
{more}M  END
"""
V3000 = """
  drawn

  0  0  0     0  0            999 V3000
M  V30 BEGIN CTAB
M  V30 COUNTS 3 2 {groups} 0 0
M  V30 BEGIN ATOM
M  V30 1 C 0 0 0 0
M  V30 2 C 1.3 0.75 0 0
M  V30 3 O 2.6 0 0 0{atom}
M  V30 END ATOM
M  V30 BEGIN BOND
M  V30 1 1 1 2
M  V30 2 1 2 3
M  V30 END BOND
{more}M  V30 END CTAB
M  END
"""
UNIT = """M  V30 BEGIN SGROUP
M  V30 1 {kind} 0 ATOMS=(2 1 2) XBONDS=(1 2) BRKXYZ=(9 0 0 0 0 1 0 0 0 0) LABEL=n
M  V30 END SGROUP
"""
# Labels of drawing programs and of crystallographers: (label, element of the atom, whether it is another group).
LABELS = [
    ("OMe", "C", True), ("Ph", "C", True), ("Boc", "N", True), ("NO2", "C", True), ("t-Bu", "C", True),
    ("iPr", "C", True), ("CO2Et", "C", True), ("COOH", "C", True), ("CF3", "C", True), ("R", "C", True),
    ("R1", "C", True), ("X", "C", True),
    ("OH", "C", True), ("N", "C", True), ("OMe", "O", True), ("Ar", "C", True), ("Et2N", "N", True), ("D", "H", True),
    ("C", "C", False), ("C1", "C", False), ("C12a", "C", False), ("CH3", "C", False), ("H3C", "C", False),
    ("OH", "O", False), ("HO", "O", False), ("NH2", "N", False), ("H2N", "N", False), ("NH3+", "N", False),
    ("O-", "O", False), ("1", "C", False), ("a", "C", False), ("C1'", "C", False), ("(R)", "C", False),
    ("", "C", False), ("alpha", "C", False), ("*", "C", False), ("ipso", "C", False), ("Cl", "Cl", False),
]  # fmt: skip


@pytest.mark.parametrize(("label", "element", "another"), LABELS)
def test_a_label_that_is_another_group_than_its_atom_is_recognised(label: str, element: str, another: bool) -> None:
    assert molfile_parts.is_another_group(label, element) is another


def refused(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read_structures(text.encode(), "drawn.mol")
    return caught.value


def test_a_carbon_with_the_label_of_a_group_is_refused_and_its_element_is_read() -> None:
    problem = refused(V2000.format(element="C", more="A    3\nOMe\n"))
    assert problem.code == "invalid_structure"
    assert "atom 3 (C) is labelled `OMe`" in problem.message
    for label in ("OH", "O1", "omega"):
        (molecule,) = read_structures(V2000.format(element="O", more=f"A    3\n{label}\n").encode(), "drawn.mol")
        assert molecule.smiles == "CCO"


@pytest.mark.parametrize("kind", ["SRU", "MON", "COP", "CRO", "MOD", "GRA", "MER"])
def test_a_polymer_is_refused(kind: str) -> None:
    problem = refused(V3000.format(groups=1, atom="", more=UNIT.format(kind=kind)))
    assert "polymer" in problem.message
    assert problem.evidence == f"Sgroup {kind}"


def test_an_attachment_point_is_refused() -> None:
    assert "attachment point" in refused(V3000.format(groups=0, atom=" ATTCHPT=1", more="")).message
    assert "attachment point" in refused(V2000.format(element="O", more="M  APO  1   3   1\n")).message


def test_abbreviations_drawn_in_full_and_data_are_read() -> None:
    drawn = "M  STY  1   1 SUP\nM  SAL   1  1   3\nM  SMT   1 OH\nM  SBL   1  1   2\n"
    data = "M  STY  1   1 DAT\nM  SAL   1  1   3\nM  SDT   1 pKa\nM  SED   1 15.9\n"
    for more in (drawn, data):
        (molecule,) = read_structures(V2000.format(element="O", more=more).encode(), "drawn.mol")
        assert molecule.smiles == "CCO"
