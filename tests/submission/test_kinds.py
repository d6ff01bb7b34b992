"""From what a user typed to a submission, or to one clear refusal."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qmrunner.chemistry.scaling import line_for
from qmrunner.errors import UsageError
from qmrunner.submission import job_kinds
from qmrunner.submission.request import JobOptions
from qmrunner.workflows import levels, solvents
from tests import molecules

WATER = "3\n\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"


def refusal(call: Callable[..., object], *arguments: object, **named: object) -> UsageError:
    with pytest.raises(UsageError) as caught:
        call(*arguments, **named)
    return caught.value


@pytest.fixture
def xyz(tmp_path: Path) -> Path:
    path = tmp_path / "water.xyz"
    path.write_text(WATER)
    return path


def test_a_smiles_becomes_a_submission_with_everything_in_it() -> None:
    options = JobOptions(name="first", priority=3, key="k")
    found = job_kinds.with_options(molecules.nmr("OCC ethanol", solvent="CDCl3", level="Draft"), options)
    assert (found.kind, found.name, found.priority, found.key) == ("nmr", "first", 3, "k")
    assert found.files == {}
    assert found.params["atoms"] == ["O", "C", "C", *"HHHHHH"]
    assert found.params["smiles"] == "CCO"
    assert found.params["input"] == {"smiles": "OCC"}
    assert (found.params["solvent"], found.params["level"]) == ("chloroform", "draft")
    assert (found.params["charge"], found.params["multiplicity"]) == (0, 1)
    assert found.params["temperature_k"] == 298.15
    json.dumps(dict(found.params), allow_nan=False)


def test_an_xyz_is_kept_as_it_is_beside_its_normalised_structure(xyz: Path) -> None:
    found = molecules.nmr(str(xyz))
    assert found.files["water.xyz"] == WATER.encode()
    assert found.files["structure.xyz"].startswith(b"3\nwater.xyz\nO ")
    assert found.params["geometry"] == "input/structure.xyz"
    assert found.params["bonds"] == [[1, 2], [1, 3]]


def test_a_users_file_called_structure_xyz_is_not_overwritten(xyz: Path) -> None:
    mine = xyz.rename(xyz.with_name("structure.xyz"))
    found = molecules.nmr(str(mine))
    assert found.files["original-structure.xyz"] == WATER.encode()
    assert found.params["input"] == {"file": "original-structure.xyz"}


def test_a_flat_mol_file_is_left_to_be_embedded(tmp_path: Path) -> None:
    from rdkit import Chem
    from rdkit.Chem import rdDepictor

    mol = Chem.MolFromSmiles("CCO")
    rdDepictor.Compute2DCoords(mol)
    (tmp_path / "mol.mol").write_text(Chem.MolToMolBlock(mol))
    found = molecules.nmr(str(tmp_path / "mol.mol"))
    assert found.params["geometry"] is None
    assert list(found.files) == ["mol.mol"]


def test_a_charged_molecule_keeps_its_charge(xyz: Path) -> None:
    assert molecules.nmr("C[NH3+]").params["charge"] == 1
    assert molecules.nmr("C[NH3+]", charge=1).params["charge"] == 1
    assert molecules.nmr(str(xyz), charge=2).params["charge"] == 2


@pytest.mark.parametrize(
    ("source", "options", "code"),
    [
        ("CC((", {}, "invalid_smiles"),
        ("", {}, "empty_smiles"),
        ("CCO\nCCN\n", {}, "several_molecules"),
        ("CCO\r\n\r\nCCN amine", {}, "several_molecules"),
        ("CCO", {"solvent": "clorofom"}, "unknown_solvent"),
        ("CCO", {"level": "drfat"}, "unknown_level"),
        ("CCO", {"conformers": "crst"}, "unknown_conformers"),
        ("CCO", {"max_lost_weight": 1.0}, "bad_number"),
        ("C" * 40, {}, "too_many_atoms"),
        ("CCO", {"max_atoms": 8}, "too_many_atoms"),
        ("CCO", {"max_conformers": 0}, "bad_number"),
        ("CCO", {"temperature_k": 0.0}, "bad_number"),
        ("CCO", {"temperature_k": float("nan")}, "bad_number"),
        ("CCO", {"charge": 1}, "charge_mismatch"),
        ("CCO", {"multiplicity": 2}, "charge_multiplicity"),
        ("CCO", {"multiplicity": 3}, "radical"),
        ("[CH3]", {}, "radical"),
        ("[CH3]", {"multiplicity": 2}, "radical"),
        ("[CH2]", {}, "radical"),
        ("[H+]", {}, "no_electrons"),
        ("CI", {}, "element_outside_basis"),
        ("CBr", {"level": "production"}, "element_outside_basis"),
        ("C[Pt]C", {}, "element_outside_basis"),
        ("[Na+].[Cl-]", {}, "several_fragments"),
        ("CCO.O", {}, "several_fragments"),
        ("FN(F)F", {}, "no_nmr_nuclei"),
        ("*C", {}, "unknown_element"),
        ("nosuch.xyz", {}, "file_not_found"),
        ("molecule.xzy", {}, "unknown_format"),
    ],
)
def test_a_bad_request_is_refused_with_its_code_and_a_remedy(source: str, options: dict[str, Any], code: str) -> None:
    error = refusal(molecules.nmr, source, **options)
    assert error.code == code
    assert error.message
    assert error.remedy
    assert error.exit_code == 2


def test_the_refusal_of_a_radical_names_possible_multiplicities_and_states_it_is_unsupported() -> None:
    message = refusal(molecules.nmr, "[CH3]").message
    assert "possible are 2, 4" in message
    assert "--mult 2" in message
    assert "unsupported" in message


def test_a_bromine_that_only_the_small_basis_knows_is_pointed_to_the_draft_level() -> None:
    assert "--level draft" in str(refusal(molecules.nmr, "CBr", level="production").remedy)
    assert molecules.nmr("CBr", level="draft").params["atoms"][1] == "Br"


def test_a_file_of_an_unknown_format_is_recognised_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "mol.mol2").write_text("ATOM\n")
    assert refusal(molecules.nmr, str(tmp_path / "mol.mol2")).code == "unknown_format"


def test_a_missing_file_is_answered_with_the_nearest_name(xyz: Path) -> None:
    error = refusal(molecules.nmr, str(xyz.with_name("watre.xyz")))
    assert error.code == "file_not_found"
    assert "water.xyz" in str(error.remedy)


@pytest.mark.parametrize("call", [molecules.nmr, job_kinds.xtb, job_kinds.crest])
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty_file"),
        ("\n \n", "empty_file"),
        ("hello\n", "unreadable_structure"),
        (WATER.replace("0.757", "0,757"), "decimal_comma"),
        (WATER.replace("0.757", "nan"), "not_finite"),
        (WATER.replace("3\n", "4\n", 1), "atom_count_mismatch"),
        (WATER.replace("O 0", "Qq 0"), "unknown_element"),
        (WATER.replace("H 0 0.757 -0.471", "H 0 0.1 0.117"), "atoms_overlap"),
    ],
)
def test_a_bad_xyz_is_refused_whatever_it_is_for(
    xyz: Path, call: Callable[[str], object], text: str, code: str
) -> None:
    xyz.write_text(text)
    assert refusal(call, str(xyz)).code == code


def test_a_file_of_several_structures_is_the_ensemble(xyz: Path) -> None:
    xyz.write_text(WATER + WATER)
    found = molecules.nmr(str(xyz))
    assert (found.params["conformers"], found.params["geometry"]) == ("given", None)
    assert found.params["structures"] == ["input/structure-1.xyz", "input/structure-2.xyz"]
    assert found.files["structure-2.xyz"].startswith(b"3\nwater.xyz\nO ")
    assert set(found.files) == {"water.xyz", "structure-1.xyz", "structure-2.xyz"}


@pytest.mark.parametrize("search", ["rdkit", "crest"])
def test_a_search_from_several_structures_is_refused(xyz: Path, search: str) -> None:
    xyz.write_text(WATER + WATER)
    assert refusal(molecules.nmr, str(xyz), conformers=search).code == "several_structures"


def test_different_molecules_in_one_file_are_no_ensemble(xyz: Path) -> None:
    xyz.write_text(WATER + "1\n\nHe 0 0 0\n")
    error = refusal(molecules.nmr, str(xyz))
    assert error.code == "structures_differ"
    assert "separate files" in str(error.remedy)


def test_an_sdf_of_several_conformers_is_the_ensemble(tmp_path: Path) -> None:
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    ids = rdDistGeom.EmbedMultipleConfs(mol, 2, randomSeed=1)
    text = "".join(Chem.MolToMolBlock(mol, confId=one) + "$$$$\n" for one in ids)
    (tmp_path / "two.sdf").write_text(text)
    found = molecules.nmr(str(tmp_path / "two.sdf"), conformers="auto")
    assert (found.params["conformers"], found.params["smiles"]) == ("given", "CCO")
    assert "2 structures given" in found.params["conformers_note"]


def test_several_flat_structures_are_no_ensemble(tmp_path: Path) -> None:
    from rdkit import Chem
    from rdkit.Chem import rdDepictor

    mol = Chem.MolFromSmiles("CCO")
    rdDepictor.Compute2DCoords(mol)
    (tmp_path / "flat.sdf").write_text((Chem.MolToMolBlock(mol) + "$$$$\n") * 2)
    assert refusal(molecules.nmr, str(tmp_path / "flat.sdf")).code == "several_structures"


@pytest.mark.parametrize(
    ("asked", "installed", "used", "note"),
    [
        ("auto", False, "rdkit", "not installed"),
        ("auto", True, "crest", "installed here"),
        ("rdkit", True, "rdkit", None),
        ("crest", False, "crest", None),
        ("none", False, "none", None),
    ],
)
def test_auto_is_settled_at_submission_and_reported(asked: str, installed: bool, used: str, note: str | None) -> None:
    params = molecules.nmr("CCO", conformers=asked, crest_installed=installed).params
    assert (params["conformers"], params["conformers_asked"]) == (used, asked)
    assert params["conformers_note"] is None if note is None else note in params["conformers_note"]


def test_more_rotatable_bonds_keep_more_conformers_unless_a_number_is_given() -> None:
    kept = [molecules.nmr(s, conformers="rdkit").params["max_conformers"] for s in ("C", "CCCO", "CCCCCO")]
    assert kept == sorted(kept)
    assert kept[0] < kept[-1] <= 30
    assert molecules.nmr("CCCCCO", conformers="rdkit", max_conformers=2).params["max_conformers"] == 2


def test_rdkit_cannot_search_from_coordinates_whose_bonds_are_unclear(xyz: Path) -> None:
    error = refusal(molecules.nmr, str(xyz), conformers="rdkit", charge=2)
    assert error.code == "bonds_unclear"
    assert "SMILES" in str(error.remedy)
    assert molecules.nmr(str(xyz), conformers="none", charge=2).params["conformers"] == "none"


def test_the_refusal_of_a_large_molecule_names_the_limit_and_the_cost() -> None:
    error = refusal(molecules.nmr, "C" * 40, level="production")
    assert "122 atoms" in error.message
    assert "limit of 100" in error.message
    assert "core hours" in error.message
    assert "--max-atoms 122" in str(error.remedy)
    assert molecules.nmr("C" * 40, max_atoms=122).params["atoms"]


def test_a_conformer_job_takes_what_xtb_can_treat() -> None:
    found = molecules.conformers("C[CH2]", multiplicity=2, conformers="rdkit")
    assert (found.kind, found.params["multiplicity"]) == ("conformers", 2)
    assert molecules.conformers("ICCI", conformers="rdkit").params["atoms"].count("I") == 2
    assert refusal(molecules.conformers, "[Na+].[Cl-]").code == "several_fragments"
    assert refusal(molecules.conformers, "CCO", conformers="none").code == "unknown_conformers"


def test_a_folder_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.xyz").mkdir()
    assert refusal(job_kinds.xtb, str(tmp_path / "x.xyz")).code == "unreadable_file"
    (tmp_path / "b.xyz").write_bytes(b"\x00\xff\xfe")
    assert refusal(job_kinds.xtb, str(tmp_path / "b.xyz")).code == "unreadable_file"
    assert refusal(molecules.nmr, str(tmp_path / "b.xyz")).code == "unreadable_file"


def test_arguments_after_the_dashes_pass_through_in_order(xyz: Path) -> None:
    found = job_kinds.crest(str(xyz), ["--quick", "--alpb", "chcl3", "-T", "2"])
    assert found.params["args"] == ["--quick", "--alpb", "chcl3", "-T", "2"]
    assert found.params["structure"] == "water.xyz"


@pytest.mark.parametrize("argument", ["../x", "--input=../x", "/etc/passwd", "a/../../b", "~/x"])
def test_an_argument_that_leaves_the_folder_is_refused(xyz: Path, argument: str) -> None:
    error = refusal(job_kinds.xtb, str(xyz), ["--input", argument])
    assert error.code == "argument_escapes"
    assert "--with" in str(error.remedy)


@pytest.mark.parametrize("call", [job_kinds.xtb, job_kinds.crest])
def test_a_spin_that_the_electrons_cannot_have_is_refused(xyz: Path, call: Callable[..., object]) -> None:
    assert refusal(call, str(xyz), ["--uhf", "1"]).code == "charge_multiplicity"
    assert refusal(call, str(xyz), ["--chrg", "1", "--uhf", "0"]).code == "charge_multiplicity"
    assert call(str(xyz), ["--chrg", "1", "--uhf", "1"])


def test_submitted_files_travel_along_under_their_names(xyz: Path, tmp_path: Path) -> None:
    (tmp_path / "x.inp").write_text("$end\n")
    found = job_kinds.xtb(str(xyz), ["--input", "x.inp"], [str(tmp_path / "x.inp")])
    assert found.files["x.inp"] == b"$end\n"
    assert found.params["files"] == ["water.xyz", "x.inp"]


def test_two_files_of_one_name_are_refused(xyz: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "water.xyz").write_text(WATER)
    assert refusal(job_kinds.xtb, str(xyz), [], [str(tmp_path / "sub" / "water.xyz")]).code == "duplicate_file"


def test_a_file_name_that_looks_like_an_option_is_refused(xyz: Path) -> None:
    assert refusal(job_kinds.xtb, str(xyz.rename(xyz.with_name("-opt.xyz")))).code == "bad_file_name"


def test_a_deck_is_checked_by_its_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    engine = types.SimpleNamespace(
        check_deck=lambda text, beside: seen.append(text),
        findings=lambda deck, files, strict: [],
        can_resume=lambda text: "optimize" in text,
    )
    monkeypatch.setitem(sys.modules, "qmrunner.engines.nwchem", engine)
    (tmp_path / "w.nw").write_text("task scf\n")
    (tmp_path / "w.movecs").write_bytes(b"\x00\x01")
    found = job_kinds.nwchem(str(tmp_path / "w.nw"), [str(tmp_path / "w.movecs")])
    assert seen == ["task scf\n"]
    assert found.params == {"deck": "w.nw", "files": ["w.nw", "w.movecs"]}
    assert found.files["w.movecs"] == b"\x00\x01"
    (tmp_path / "o.nw").write_text("task scf optimize\n")
    assert job_kinds.nwchem(str(tmp_path / "o.nw")).params["resumes"] is True


def test_an_empty_deck_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.nw").write_text("\n")
    assert refusal(job_kinds.nwchem, str(tmp_path / "w.nw")).code == "empty_file"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("CHCl3", "chloroform"),
        ("cdcl3", "chloroform"),
        ("DMSO-d6", "dmso"),
        ("dimethyl sulfoxide", "dmso"),
        ("THF", "thf"),
        ("CH2Cl2", "dcm"),
        ("MeCN", "acetonitrile"),
        ("D2O", "water"),
        ("N,N-dimethylformamide", "dmf"),
        ("gas", "vacuum"),
    ],
)
def test_solvents_are_known_by_their_usual_names(name: str, key: str) -> None:
    assert solvents.find_solvent(name).key == key


def test_an_unknown_solvent_is_answered_with_the_nearest_and_the_list() -> None:
    remedy = str(refusal(solvents.find_solvent, "clorofom").remedy)
    assert "did you mean chloroform?" in remedy
    assert "acetonitrile" in remedy


def test_there_are_thirteen_solvents_each_with_a_scaling_line_for_both_nuclei() -> None:
    assert len(solvents.SOLVENTS) == 13
    for key in solvents.KEYS:
        for nucleus in ("1H", "13C"):
            assert line_for(nucleus, key, "production").solvent == key
            assert line_for(nucleus, key, "draft").solvent == key


def test_no_name_means_two_solvents() -> None:
    names = [name for solvent in solvents.SOLVENTS for name in (solvent.key, *solvent.aliases)]
    plain = [(name, solvents.find_solvent(name).key) for name in names]
    owners = {name: solvent.key for solvent in solvents.SOLVENTS for name in (solvent.key, *solvent.aliases)}
    assert plain == [(name, owners[name]) for name in names]


def test_a_stand_in_solvent_is_on_record() -> None:
    assert solvents.by_key("pyridine").alpb == "ch2cl2"
    assert "pyridine" in str(solvents.by_key("pyridine").note)


def test_levels_know_where_their_basis_ends() -> None:
    assert levels.find_level("draft").last_element == "Kr"
    assert levels.find_level("production").last_element == "Ca"


def test_only_molecules_that_need_rdkit_load_it(xyz: Path) -> None:
    code = (
        "import sys; from qmrunner.submission import job_kinds; from qmrunner.workflows import workflow; "
        f"job_kinds.xtb({str(xyz)!r}, ['--opt']); workflow('nmr'); "
        "print([name for name in ('rdkit', 'numpy', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
