"""Inputs of QCSchema become decks and arguments, or are refused with the field that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qmrunner.engines import qcschema_input, qcschema_result
from qmrunner.errors import UsageError
from qmrunner.submission.qcschema import qcschema

MOLECULE: dict[str, Any] = {"symbols": ["O", "H"], "geometry": [0, 0, 0, 0, 0, 1.83], "molecular_multiplicity": 2}
INPUT: dict[str, Any] = {
    "schema_name": "qcschema_input",
    "schema_version": 1,
    "driver": "gradient",
    "model": {"method": "HF", "basis": "6-31G*"},
    "keywords": {"scf__uhf": True, "scf__thresh": 1e-8},
    "molecule": MOLECULE,
}
OPTIMISATION: dict[str, Any] = {
    "schema_name": "qcschema_optimization_input",
    "keywords": {"maxiter": 7, "coordsys": "cart", "convergence_set": "GAU_TIGHT"},
    "input_specification": {"driver": "gradient", "model": {"method": "b3lyp", "basis": "6-31G*"}},
    "initial_molecule": MOLECULE,
}


def made(folder: Path, document: Any, program: str | None = None, **more: Any) -> Any:
    path = folder / "input.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return qcschema(str(path), program, **more)


def molecule(**more: Any) -> dict[str, Any]:
    return INPUT | {"molecule": MOLECULE | more}


def test_a_deck_has_the_molecule_where_it_is_with_spin_method_and_keywords(tmp_path: Path) -> None:
    found = made(tmp_path, INPUT)
    lines = [line.strip() for line in found.files["qcschema.nw"].decode().splitlines()]
    assert found.kind == "nwchem"
    assert "geometry units bohr nocenter noautosym" in lines
    assert "H        0.00000000000000      0.00000000000000      1.83000000000000" in lines
    assert lines[lines.index("scf") : lines.index("scf") + 4] == ["scf", "nopen 1", "uhf", "thresh 1e-08"]
    assert lines[-1] == "task scf gradient"
    assert found.params["qcschema"] == "qcschema-input.json"
    assert json.loads(found.files["qcschema-input.json"]) == INPUT
    assert "Cartesian" in found.params["notes"][0]


def test_an_optimisation_is_followed_by_the_gradient_of_its_end(tmp_path: Path) -> None:
    found = made(tmp_path, OPTIMISATION)
    lines = [line.strip() for line in found.files["qcschema.nw"].decode().splitlines()]
    assert lines[-2:] == ["task dft optimize", "task dft gradient"]
    assert "geometry units bohr nocenter noautosym noautoz" in lines
    assert {"maxiter 7", "tight", "xc b3lyp", "mult 2"} <= set(lines)
    assert found.params["resumes"] is True


def test_methods_of_xtb_run_on_xtb_with_the_structure_in_bohr(tmp_path: Path) -> None:
    document = INPUT | {"model": {"method": "GFN2-xTB"}, "keywords": {"accuracy": 0.1, "solvent": "water"}}
    found = made(tmp_path, document)
    flags = ["--gfn", "2", "--chrg", "0", "--uhf", "1", "--acc", "0.1", "--alpb", "water", "--grad"]
    assert (found.kind, found.params["args"]) == ("xtb", flags)
    assert found.params["structure"] == "qcschema.coord"
    assert "1.83000000000000  h" in found.files["qcschema.coord"].decode()


REFUSED: dict[str, tuple[Any, str, str]] = {
    "no JSON": ("{", "qcschema_invalid", "JSON"),
    "not a number": (json.dumps(molecule(geometry=[0, 0, 0, 0, 0, float("nan")])), "qcschema_invalid", "NaN"),
    "a list": ("[]", "qcschema_invalid", "object"),
    "another schema": (INPUT | {"schema_name": "qcschema_basis"}, "qcschema_invalid", "qcschema_basis"),
    "version 2": (INPUT | {"schema_version": 2}, "qcschema_unsupported", "convert_v(1)"),
    "properties": (INPUT | {"driver": "properties"}, "qcschema_unsupported", "properties"),
    "no molecule": ({**INPUT, "molecule": None}, "qcschema_invalid", "molecule"),
    "no atoms": (molecule(symbols=[], geometry=[]), "qcschema_invalid", "no atoms"),
    "too few coordinates": (molecule(geometry=[0, 0, 0]), "qcschema_invalid", "6 coordinates"),
    "text as coordinate": (molecule(geometry=[0, 0, 0, 0, 0, "1.8"]), "qcschema_invalid", "1.8"),
    "atoms in one place": (molecule(geometry=[0] * 6), "atoms_overlap", ""),
    "coordinates in ångström by mistake": (molecule(geometry=[0, 0, 0, 0, 0, 0.9]), "atoms_overlap", ""),
    "no element": (molecule(symbols=["O", "Xx"]), "unknown_element", "atom 2"),
    "a ghost": (molecule(real=[True, False]), "qcschema_unsupported", "ghost"),
    "half a charge": (molecule(molecular_charge=0.5), "qcschema_invalid", "whole"),
    "impossible spin": (molecule(molecular_multiplicity=1), "charge_multiplicity", "possible are 2"),
    "unknown method": (INPUT | {"model": {"method": "b3lip", "basis": "x"}}, "qcschema_unsupported", "b3lyp"),
    "no basis": (INPUT | {"model": {"method": "hf"}}, "qcschema_unsupported", "basis"),
    "a basis set written out": (
        INPUT | {"model": {"method": "hf", "basis": {"name": "x"}}}, "qcschema_unsupported", "written out"
    ),
    "gradient of CCSD(T)": (
        INPUT | {"model": {"method": "ccsd(t)", "basis": "6-31g*"}}, "qcschema_unsupported", "analytical"
    ),
    "a line break in a keyword": (
        INPUT | {"keywords": {"scf__thresh": "1e-8\nend\ntask shell ls"}}, "qcschema_unsupported", "deck"
    ),
    "spin as keyword": (INPUT | {"keywords": {"scf__nopen": 3}}, "qcschema_unsupported", "nopen"),
    "an unknown block": (INPUT | {"keywords": {"python__x": 1}}, "qcschema_unsupported", "python"),
    "a keyword of another program": (INPUT | {"keywords": {"scf_type": "df"}}, "qcschema_unsupported", "scf_type"),
    "a keyword that xTB has not": (
        INPUT | {"model": {"method": "GFN2-xTB"}, "keywords": {"grid": 3}}, "qcschema_unsupported", "grid"
    ),
    "an unknown optimiser": (
        OPTIMISATION | {"keywords": {"coordsys": "tric"}}, "qcschema_unsupported", "coordsys"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_computed_is_refused_with_its_cause(name: str, tmp_path: Path) -> None:
    document, code, word = REFUSED[name]
    with pytest.raises(UsageError) as caught:
        made(tmp_path, document)
    assert caught.value.code == code
    assert word in str(caught.value)


def test_program_and_method_must_fit(tmp_path: Path) -> None:
    for program, code in (("xtb", "qcschema_unsupported"), ("psi4", "unknown_program")):
        with pytest.raises(UsageError) as caught:
            made(tmp_path, INPUT, program)
        assert caught.value.code == code


def test_the_deck_passes_the_strict_check_of_decks_and_its_keywords_do_not_pass_by(tmp_path: Path) -> None:
    for document in (INPUT, OPTIMISATION):
        assert made(tmp_path, document, strict=True).kind == "nwchem"
    with pytest.raises(UsageError) as caught:
        made(tmp_path, INPUT | {"keywords": {"scf__vectors": "input /etc/passwd"}})
    assert caught.value.code == "deck_escapes"


# What closes a block, names a word of the molecule or the model by its beginning, or sets it past the blocks.
@pytest.mark.parametrize(
    "keyword",
    [
        "dft__end", "dft__en", "mp2__end", "scf__end", "dft__xc__pbe0", "dft__ xc pbe0", "dft__x", "dft__mult__3",
        "dft__mul", "DFT__MULT", "scf__trip", "scf__nop", "scf__nopen__2", "dft__grid fine", "dft__\txc", "set__charge",
        "set__geometry", "set__task:theory", "set__task__theory", "set__dft__mult", "set__dft:xfac", "set__scf:nopen",
        "set__basis", "set__ao basis", "dft__", "dft____xc", "dft__grid\nend",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [True, 1, "x", "end"])
def test_no_keyword_leaves_its_block_or_replaces_what_was_asked_for(tmp_path: Path, keyword: str, value: Any) -> None:
    asked = INPUT | {"model": {"method": "b3lyp", "basis": "6-31G*"}, "keywords": {keyword: value}}
    with pytest.raises(UsageError) as caught:
        made(tmp_path, asked)
    assert caught.value.code == "qcschema_unsupported"


_HUGE = "1" + "0" * 400
_DEEP = "[" * 400 + "]" * 400
_ODD = [
    "1e400",
    "-1e400",
    _HUGE,
    _DEEP,
    "NaN",
    r'"\ud800"',
    '"x"',
    "[1]",
    '[["H"]]',
    "{}",
    '{"a": 1e400}',
    "true",
    "0.5",
]
_FIELDS = [
    "molecule.molecular_charge", "molecule.molecular_multiplicity", "molecule.connectivity", "molecule.real",
    "molecule.mass_numbers", "molecule.atomic_numbers", "molecule.geometry", "molecule.symbols", "molecule", "model",
    "model.method", "model.basis", "driver", "keywords", "keywords.scf__thresh", "keywords.accuracy",
    "keywords.max_iterations", "keywords.solvent", "extras", "protocols", "id", "schema_name", "schema_version",
]  # fmt: skip


@pytest.mark.parametrize("program", ["nwchem", "xtb"])
@pytest.mark.parametrize("field", _FIELDS)
def test_any_value_in_any_field_is_refused_with_a_code_or_can_be_repeated_in_the_result(
    tmp_path: Path, field: str, program: str
) -> None:
    for odd in _ODD:
        document: dict[str, Any] = json.loads(json.dumps(INPUT | {"keywords": {}}))
        if program == "xtb":
            document["model"] = {"method": "GFN2-xTB"}
        *outer, last = field.split(".")
        inside = document[outer[0]] if outer else document
        inside[last] = "HERE"
        try:
            found = made(tmp_path, json.dumps(document).replace('"HERE"', odd), program)
        except UsageError as refused:
            json.dumps(refused.as_dict(), ensure_ascii=False).encode()
            continue
        request = qcschema_input.read(found.files[qcschema_input.FILE].decode(), "input.json")
        json.dumps(qcschema_result.failed(request.document, "x", "y", {}), indent=1, allow_nan=False)
        qcschema_result._of_input(request.document, {})
        words = " ".join(map(str, found.params.get("args", [])))
        assert "inf" not in words
        assert "True" not in words


@pytest.mark.parametrize("value", ["--input", "-x", "--", "a b", "../x", ""])
def test_no_text_becomes_a_flag_of_xtb(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError):
        made(tmp_path, INPUT | {"model": {"method": "GFN2-xTB"}, "keywords": {"solvent": value}})


def test_rows_of_coordinates_have_three_numbers_each(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        made(tmp_path, molecule(geometry=[[0, 0], [0, 0, 0, 1.83]]))
    assert caught.value.code == "qcschema_invalid"
