"""One interface: both clients have the same methods, and the options of the HTTP API."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from qmrunner.api.upload import forms as api_forms
from qmrunner.client import AsyncClient, AsyncJob, AsyncJobs, Client, Job, JobList, Result, forms, table
from qmrunner.client.options import CommonOptions, MoleculeOptions, NmrOptions
from qmrunner.errors import UsageError
from tests.support import ROOT

PAIRS = [(Client, AsyncClient), (Job, AsyncJob), (JobList, AsyncJobs)]


def methods(kind: type) -> dict[str, Any]:
    return {
        name: inspect.getattr_static(kind, name)
        for name in dir(kind)
        if not name.startswith("_") and not hasattr(list, name)
    }


@pytest.mark.parametrize(("plain", "with_await"), PAIRS)
def test_both_clients_have_the_same_methods_with_the_same_parameters_and_texts(plain: type, with_await: type) -> None:
    ours, theirs = methods(plain), methods(with_await)
    assert set(ours) - {"data"} == set(theirs) - {"data"}
    for name, method in ours.items():
        other = theirs.get(name)
        if not callable(method) or not callable(other):
            continue
        assert _parameters(method) == _parameters(other), name
        if not name.startswith(("wait", "shifts")):
            assert inspect.getdoc(method) == inspect.getdoc(other), name


def _parameters(method: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(method).parameters.values()
    return [(one.name, one.kind, one.default) for one in found]


@pytest.mark.parametrize(
    ("options", "form"),
    [
        (NmrOptions, api_forms.NmrForm),
        (MoleculeOptions, api_forms.ConformersForm),
        (CommonOptions, api_forms.NwchemForm),
        (CommonOptions, api_forms.XtbForm),
        (CommonOptions, api_forms.CrestForm),
        (CommonOptions, api_forms.QcschemaForm),
    ],
)
def test_every_field_of_the_api_is_an_option(options: Any, form: Any) -> None:
    fields = set(form.model_fields) - {"kind", "files", "smiles", "args", "program"}
    assert set(options.__optional_keys__) == fields | {"key"}


def test_help_and_completion_show_the_options_by_name() -> None:
    assert {"level", "solvent", "max_conformers", "group"} <= set(inspect.signature(Client.submit_nmr).parameters)


def test_a_molecule_is_a_smiles_a_path_a_text_a_mol_or_atoms(tmp_path: Any) -> None:
    from ase import Atoms
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    path = tmp_path / "water.xyz"
    path.write_text("3\n\nO 0 0 0\nH 0 0 1\nH 0 1 0\n")
    assert forms.molecule("CCO") == forms.molecule("\tCCO\r\n") == ({"smiles": "CCO"}, [])
    assert forms.molecule(path) == forms.molecule(str(path)) == ({}, [("water.xyz", path.read_bytes())])
    assert forms.molecule(path.read_text()) == ({}, [("molecule.xyz", path.read_bytes())])
    ((name, data),) = forms.molecule(Atoms("OH2", [(0, 0, 0), (0, 0, 1), (0, 1, 0)]))[1]
    assert (name, data.split()[::2][:2]) == ("molecule.extxyz", [b"3", b"O"])
    mol = Chem.AddHs(Chem.MolFromSmiles("OC"))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    ((name, data),) = forms.molecule(mol)[1]
    assert name == "molecule.mol"
    assert [atom.GetSymbol() for atom in Chem.MolFromMolBlock(data.decode()).GetAtoms()] == ["O", "C"]
    assert forms.structure(mol)[1].split()[1] == b"O"
    rdDistGeom.EmbedMultipleConfs(mol, 3, randomSeed=1)
    ((name, data),) = forms.molecule(mol)[1]
    assert (name, data.count(b"$$$$")) == ("molecule.sdf", 3)


def _atoms(formula: str, charges: Any = None, moments: Any = None, masses: Any = None, **info: Any) -> Any:
    from ase import Atoms

    found = Atoms(formula, positions=[(0, 0, 1.5 * at) for at in range(len(Atoms(formula)))], info=info)
    for value, put in (
        (charges, found.set_initial_charges), (moments, found.set_initial_magnetic_moments), (masses, found.set_masses)
    ):  # fmt: skip
        if value is not None:
            put(value)
    return found


@pytest.mark.parametrize(
    ("given", "comment", "flags"),
    [
        (_atoms("NH4", [1, 0, 0, 0, 0]), "charge=1", ["--chrg", "1"]),
        (_atoms("NH4", [0.2, 0.2, 0.2, 0.2, 0.201]), "charge=1", ["--chrg", "1"]),
        (_atoms("CH3", moments=[1, 0, 0, 0]), "multiplicity=2", ["--uhf", "1"]),
        (_atoms("O2", moments=[-1, -1]), "multiplicity=3", ["--uhf", "2"]),
        (_atoms("O2", charge=1, multiplicity=2), "charge=1 multiplicity=2", ["--chrg", "1", "--uhf", "1"]),
        (_atoms("OH2", [0, 0, 0], charge=0), "charge=0", []),
        (_atoms("OH2"), "", []),
    ],
)
def test_charge_and_spin_of_ase_atoms_are_those_of_the_job(given: Any, comment: str, flags: list[str]) -> None:
    ((name, data),) = forms.molecule(given)[1]
    assert name == "molecule.extxyz"
    assert data.decode().splitlines()[1] == f"Properties=species:S:1:pos:R:3 {comment}".strip()
    assert forms.arguments(given, ["--opt"]) == ["--opt", *flags]
    assert forms.arguments(given, ["-c", "0", "-u", "0"]) == ["-c", "0", "-u", "0"]


def test_isotopes_of_ase_atoms_and_mols_are_kept() -> None:
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    heavy = _atoms("CH4", masses=[13.00335, 2.0141, 3.0, 1.008, 3.01605])  # 3.0 is that of a simulation
    for _, data in (forms.molecule(heavy)[1][0], forms.structure(heavy)):
        assert data.split(b"\n", 2)[2].split()[::4] == [b"13C", b"2H", b"H", b"H", b"3H"]
    mol = Chem.AddHs(Chem.MolFromSmiles("[2H]O"))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    assert forms.structure(mol)[1].split()[1::4] == [b"2H", b"O", b"H"]


@pytest.mark.parametrize(
    ("smiles", "flags"),
    [("[NH4+]", ["--chrg", "1"]), ("[CH3]", ["--uhf", "1"]), ("[O-][O]", ["--chrg", "-1", "--uhf", "1"]),
     ("[NH3+]CC(=O)[O-]", []), ("O", [])],
)  # fmt: skip
def test_charge_and_radicals_of_a_mol_are_flags_of_xtb(smiles: str, flags: list[str]) -> None:
    from rdkit import Chem

    assert forms.arguments(Chem.AddHs(Chem.MolFromSmiles(smiles)), []) == flags


def test_atoms_of_a_result_are_the_same_job_again() -> None:
    from qmrunner.client import objects

    made = objects.atoms(["N", "H", "H"], [(0, 0, 0), (0, 0, 1), (0, 1, 0)], {2: 2}, -1, 1)
    assert forms.arguments(made, []) == ["--chrg", "-1"]
    text = forms.molecule(made)[1][0][1].decode()
    assert text.splitlines()[1] == "Properties=species:S:1:pos:R:3 charge=-1 multiplicity=1"
    assert text.split("\n", 2)[2].split()[::4] == ["N", "2H", "H"]


def test_the_structure_of_an_optimisation_by_qcschema_is_the_last_one() -> None:
    first = {"symbols": ["H", "H"], "geometry": [0, 0, 0, 0, 0, 2.0], "molecular_charge": 1.0}
    last = first | {"geometry": [0, 0, 0, 0, 0, 1.4], "molecular_multiplicity": 2}
    answer = {"initial_molecule": first, "final_molecule": last, "trajectory": []}
    data = {"id": "abc", "provenance": {"input": {"atoms": ["H", "H"]}}, "conformers": [], "shifts": []}
    found = Result(data, {"qcschema.json": json.dumps(answer)})
    assert found.atoms.get_distance(0, 1) == pytest.approx(1.4 * 0.529177, abs=1e-6)
    assert found.atoms.info == {"charge": 1, "multiplicity": 2}


def test_objects_that_are_no_molecule_are_refused_with_the_cause() -> None:
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    crystal, bare = _atoms("NaCl"), Chem.MolFromSmiles("CCO")
    crystal.pbc = True
    rdDistGeom.EmbedMolecule(bare, randomSeed=1)
    for read, given, code in (
        (forms.structure, crystal, "periodic"),
        (forms.structure, bare, "hydrogens_missing"),
        (forms.structure, Chem.MolFromSmiles("O"), "no_coordinates"),
        (forms.molecule, _atoms("OH2", [0.4, 0, 0]), "bad_charge"),
        (forms.molecule, _atoms("OH2", [1, 0, 0], charge=-1), "charge_mismatch"),
        (forms.molecule, _atoms("OH2", charge=0.5), "charge_mismatch"),
        (forms.structure, "CCO", "file_not_found"),
    ):  # fmt: skip
        with pytest.raises(UsageError) as problem:
            read(given)
        assert problem.value.code == code
    assert 'pbc="T T T"' in forms.molecule(crystal)[1][0][1].decode()


def test_one_group_has_each_molecule_once_and_copies_in_one_list_are_separate_jobs() -> None:
    first, second, copy = table.lines(["CCO", {"smiles": "CCN", "charge": float("nan")}, "CCO"], None, "nmr", {}, "g")
    again = table.lines(["CCO", "CCN", "CCO"], None, "nmr", {}, "g")
    assert [first["key"], second["key"], copy["key"]] == [line["key"] for line in again]
    assert first["key"] != copy["key"]
    assert "charge" not in second
    assert table.lines(["CCO"], None, "nmr", {}, "h")[0]["key"] != first["key"]


def test_the_client_loads_neither_server_nor_chemistry() -> None:
    heavy = ["sqlalchemy", "fastapi", "uvicorn", "rdkit", "numpy", "pandas", "ase", "huey", "qmrunner.app"]
    code = f"import sys, qmrunner.client; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_has_a_description() -> None:
    for pair in PAIRS:
        for kind in pair:
            assert kind.__doc__
            for name, method in methods(kind).items():
                text = method.__doc__ or getattr(getattr(method, "fget", None), "__doc__", None)
                assert text or name == "data", f"{kind.__name__}.{name}"
                assert not re.search(r"TODO|FIXME", text or "")
