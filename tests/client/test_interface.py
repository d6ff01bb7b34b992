"""One interface: both clients have the same methods, and the options of the HTTP API."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from qmrunner.api.upload import forms as api_forms
from qmrunner.client import AsyncClient, AsyncJob, AsyncJobs, Client, Job, JobList, forms, table
from qmrunner.client.options import CommonOptions, MoleculeOptions, NmrOptions
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
    assert forms.molecule("CCO") == ({"smiles": "CCO"}, [])
    assert forms.molecule(path) == forms.molecule(str(path)) == ({}, [("water.xyz", path.read_bytes())])
    assert forms.molecule(path.read_text()) == ({}, [("molecule.xyz", path.read_bytes())])
    ((name, data),) = forms.molecule(Atoms("OH2", [(0, 0, 0), (0, 0, 1), (0, 1, 0)]))[1]
    assert (name, data.split()[:2]) == ("molecule.xyz", [b"3", b"O"])
    mol = Chem.AddHs(Chem.MolFromSmiles("OC"))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    ((name, data),) = forms.molecule(mol)[1]
    assert name == "molecule.mol"
    assert [atom.GetSymbol() for atom in Chem.MolFromMolBlock(data.decode()).GetAtoms()] == ["O", "C"]
    assert forms.structure(mol)[1].split()[1] == b"O"


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
