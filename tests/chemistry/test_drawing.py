"""The drawing with atom numbers and the SDF file with the assignment."""

from __future__ import annotations

import re
from typing import Any

import pytest
from rdkit import Chem

from qmrunner.chemistry import drawing, embed, structures, svg, task_molecule

ETHANOL = structures.read_smiles("CCO")


_JUDGED = {(2,): {"uncertainty_ppm": 2.455, "kind": "sp3 on N or O"}, (4, 5, 6): {"uncertainty_ppm": 0.1, "kind": None}}


def rows() -> list[dict[str, Any]]:
    groups = {(1,): ("C", 18.0), (2,): ("C", 58.0), (4, 5, 6): ("H", 1.2), (7, 8): ("H", 3.7), (9,): ("H", 1.5)}
    return [
        {"atom": atom, "symbol": symbol, "nucleus": "13C" if symbol == "C" else "1H", "shift_ppm": shift}
        | {"equivalent_atoms": list(group), **_JUDGED.get(group, {"uncertainty_ppm": None, "kind": None})}
        for group, (symbol, shift) in groups.items()
        for atom in group
    ]


def task(**more: Any) -> dict[str, Any]:
    base = {"symbols": list(ETHANOL.symbols), "atoms": list(ETHANOL.symbols), "bonds": ETHANOL.bonds, "charge": 0}
    return base | {"solvent": "chloroform", "level": "draft", "temperature_k": 298.15} | more


def shape() -> Any:
    return embed.embed(task_molecule.molecule_of(task(smiles="CCO")), 1)[1][0].coordinates


@pytest.mark.parametrize("source", [{"smiles": "CCO"}, None])
def test_the_molecule_has_its_bonds_whether_given_or_perceived(source: dict[str, str] | None) -> None:
    mol, note = task_molecule.drawable(task(source=source), shape())
    assert note is None
    assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == "CCO"


def test_unclear_bond_orders_are_drawn_single_and_reported() -> None:
    mol, note = task_molecule.drawable(task(charge=3), shape())
    assert note is not None
    assert "single" in note
    assert drawing.draw_structure(mol).count("<path") > 2


def test_the_drawing_numbers_heavy_atoms_and_their_hydrogens() -> None:
    mol, _ = task_molecule.drawable(task(source={"smiles": "CCO"}), shape())
    svg = drawing.draw_structure(mol)
    assert "</svg>" in svg
    assert drawing._note(mol, next(_numbered(mol))) == "1 (H4,5,6)"


def _numbered(mol: Any) -> Any:
    for atom in mol.GetAtoms():
        atom.SetIntProp("number", atom.GetIdx() + 1)
        yield atom


def test_the_sdf_holds_structure_and_assignment() -> None:
    mol, _ = task_molecule.drawable(task(source={"smiles": "CCO"}), shape())
    text = drawing.nmredata(mol, {"shifts": rows()}, task(), "CCO")
    supplier = Chem.SDMolSupplier()
    supplier.SetData(text, removeHs=False)
    (read,) = list(supplier)
    assert [atom.GetSymbol() for atom in read.GetAtoms()] == list(ETHANOL.symbols)
    assert read.GetProp("NMREDATA_VERSION") == "1.1\\"
    lines = read.GetProp("NMREDATA_ASSIGNMENT").split("\n")
    assert all(line.endswith("\\") for line in lines)
    assert lines[0] == "C2, 58.0000, 2 ;predicted, +/- 2.46 ppm, sp3 on N or O\\"
    assert "H4, 1.2000, 4, 5, 6 ;predicted, +/- 0.10 ppm\\" in lines
    assert "H9, 1.5000, 9 ;predicted\\" in lines
    assert "3.7000, N=2, L=H7\\" in read.GetProp("NMREDATA_1D_1H")
    assert "58.0000, N=2, L=C2\\" in read.GetProp("NMREDATA_1D_13C")
    assert read.GetProp("NMREDATA_FORMULA") == "C2H6O\\"


def test_a_page_gets_shapes_with_attributes_and_circles_with_the_numbers_of_their_atoms() -> None:
    mol, _ = task_molecule.drawable(task(source={"smiles": "CCO"}), shape())
    page = svg.inline(drawing.draw_structure(mol))
    assert page is not None
    assert "style" not in page
    assert "currentColor" in page
    assert "#000000" not in page
    assert "<rect" not in page
    assert re.findall(r'data-atoms="([0-9 ]+)"', page) == ["1 4 5 6", "2 7 8", "3 9"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<svg",
        "<html><script>alert(1)</script></html>",
        "<!DOCTYPE svg [<!ENTITY a 'b'>]><svg xmlns='http://www.w3.org/2000/svg'>&a;</svg>",
    ],
)
def test_what_is_no_drawing_is_not_shown(text: str) -> None:
    assert svg.inline(text) is None


def test_nothing_that_runs_or_loads_passes_into_a_page() -> None:
    hostile = (
        "<svg xmlns='http://www.w3.org/2000/svg' xmlns:x='http://www.w3.org/1999/xlink' onload='alert(1)'>"
        "<script>alert(1)</script><style>*{}</style><image x:href='http://a/b'/><a x:href='javascript:alert(1)'>"
        "<circle r='1'/></a><foreignObject><body xmlns='http://www.w3.org/1999/xhtml'/></foreignObject>"
        "<path d='M0,0\"/>&lt;script&gt;' fill='url(http://a)' style='fill:url(&quot;x&quot;);stroke:#FF0000'/>"
        "<text x='1'>&lt;b&gt; &amp;</text></svg>"
    )
    page = svg.inline(hostile)
    assert page == '<svg><path stroke="#FF0000"></path><text x="1">&lt;b&gt; &amp;</text></svg>'
