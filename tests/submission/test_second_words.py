"""What stands in the place of a SMILES, or behind one: a name, a second SMILES, electrons without a multiplicity."""

from __future__ import annotations

import pytest

from qmrunner.errors import UsageError
from qmrunner.submission import job_kinds
from qmrunner.submission.conformers import ConformerSearch
from qmrunner.submission.request import MoleculeRequest


def refused(text: str, kind: str = "nmr", multiplicity: int | None = None) -> UsageError | None:
    request = MoleculeRequest(text, multiplicity=multiplicity)
    try:
        if kind == "nmr":
            job_kinds.nmr(request)
        else:
            job_kinds.conformers(request, ConformerSearch("rdkit"))
    except UsageError as problem:
        return problem
    return None


@pytest.mark.parametrize("text", ["CCO CCN", "CCO\tCCN", "CCO CCN third", "CCO c1ccccc1", "CCO CO", "CCO C[NH3+]"])
def test_a_second_smiles_behind_the_first_is_refused(text: str) -> None:
    problem = refused(text)
    assert problem is not None
    assert problem.code == "several_molecules"
    assert problem.evidence == text.split()[1]
    assert "--name" in (problem.remedy or "")


@pytest.mark.parametrize(
    "text", ["CCO ethanol", "CCO 1", "CCO C", "CCO OCC", "CCO CHEMBL545", "CCO mol-2", "CCO |&1:1|"]
)
def test_a_name_a_single_atom_or_the_same_molecule_behind_a_smiles_is_a_title(text: str) -> None:
    assert refused(text) is None


@pytest.mark.parametrize(
    "word",
    ["ethanol", "aspirin", "1-butanol", "C2H6O", "C9H8O4", "64-17-5", "benzene", "CH3COOH", "CH4", "CCl4", "SO3"],
)
def test_a_name_a_formula_and_a_cas_number_have_their_own_remedy(word: str) -> None:
    problem = refused(word)
    assert problem is not None
    assert problem.code == "invalid_smiles"
    assert "not looked up" in (problem.remedy or "")


@pytest.mark.parametrize(
    "word", ["c1ccccc", "CCClbr", "C(C", "CCO,CCN", "CC=", "[Foo]C", "C1CC", "C1CO", "N1CCC", "C1O", "F1C"]
)
def test_a_broken_smiles_keeps_its_remedy(word: str) -> None:
    problem = refused(word)
    assert problem is not None
    assert "brackets" in (problem.remedy or "")


# SELFIES are read as a SMILES of bare atoms: their unpaired electrons are all that shows it.
@pytest.mark.parametrize(("smiles", "parallel"), [("[O][O]", 3), ("[CH2]", 3), ("[C][C][O]", 7), ("C[Sn]C", 3)])
def test_conformers_of_a_structure_with_unpaired_electrons_need_a_multiplicity(smiles: str, parallel: int) -> None:
    problem = refused(smiles, "conformers")
    assert problem is not None
    assert problem.code == "charge_multiplicity"
    assert f"--mult {parallel}" in (problem.remedy or "")
    assert refused(smiles, "conformers", 1) is None
    assert refused(smiles, "conformers", parallel) is None


@pytest.mark.parametrize("smiles", ["O=O", "[C-]#[O+]", "[Fe](Cl)Cl", "C[Zn]C", "[OH-]", "C[N+](C)(C)C"])
def test_closed_shells_and_metals_need_none(smiles: str) -> None:
    assert refused(smiles, "conformers") is None
