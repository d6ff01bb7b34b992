"""Results in the formats of other programs, over HTTP and by the command, read by other programs than qmrunner."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest

from tests.api.lab import Server, refused
from tests.finished import ETHANOL, finish
from tests.support import Home

# Every tag that NMReDATA 1.1 requires, and the form of its lines.
REQUIRED = ("NMREDATA_VERSION", "NMREDATA_LEVEL", "NMREDATA_SOLVENT", "NMREDATA_ASSIGNMENT")
ASSIGNMENT = re.compile(r"(?P<label>[A-Za-z0-9_()]+), *(?P<shift>-?\d+\.\d+)(?P<atoms>(?:, *H?\d+)+) *(?:;.*)?")
SIGNAL = re.compile(r"(?P<shift>-?\d+\.\d+), *N=(?P<count>\d+), *L=(?P<label>[A-Za-z0-9_()]+) *(?:;.*)?")


@pytest.fixture(scope="module")
def ethanol(server: Server, place: Home, tmp_path_factory: pytest.TempPathFactory) -> str:
    job = server.submit({"kind": "nmr", "smiles": "CCO", "conformers": "none", "name": "ethanol"})
    finish(place, job, "CCO", ETHANOL, tmp_path_factory.mktemp("e") / "run")
    return job


def exported(server: Server, job: str, form: str) -> str:
    answer = server.client.get(f"/v1/jobs/{job}/export/{form}")
    assert answer.status_code == 200, answer.text
    assert "attachment" in answer.headers["content-disposition"]
    return answer.text


def test_the_command_prints_what_the_route_sends(server: Server, place: Home, ethanol: str) -> None:
    for form in ("nmredata", "csv", "sdf"):
        printed = place.run("result", ethanol, "--format", form)
        assert (printed.returncode, printed.stdout) == (0, exported(server, ethanol, form)), printed.stderr
    wrong = place.run("result", ethanol, "--format", "docx")
    assert (wrong.returncode, "unknown_format" in wrong.stderr) == (2, True)


def test_rdkit_reads_the_shifts_as_properties_of_the_atoms(server: Server, ethanol: str) -> None:
    chem = pytest.importorskip("rdkit.Chem")
    supplier = chem.SDMolSupplier()
    supplier.SetData(exported(server, ethanol, "sdf"), removeHs=False)
    (mol,) = supplier
    shifts = {
        str(atom.GetIdx() + 1): atom.GetDoubleProp("shift_ppm") for atom in mol.GetAtoms() if atom.HasProp("shift_ppm")
    }
    assert shifts == pytest.approx(ETHANOL)
    assert mol.GetProp("qmrunner.job") == ethanol
    assert mol.GetConformer().Is3D()


def test_the_nmredata_is_an_sdf_whose_tags_follow_the_standard(server: Server, ethanol: str) -> None:
    chem = pytest.importorskip("rdkit.Chem")
    supplier = chem.SDMolSupplier()
    supplier.SetData(exported(server, ethanol, "nmredata"), removeHs=False)
    (mol,) = supplier
    tags = {name: lines_of(mol.GetProp(name)) for name in mol.GetPropNames() if name.startswith("NMREDATA_")}
    assert set(REQUIRED) <= set(tags)
    assert tags["NMREDATA_VERSION"] == ["1.1"]
    assert chem.MolToSmiles(chem.RemoveHs(mol)) == chem.CanonSmiles(tags["NMREDATA_SMILES"][0])
    labels: dict[str, tuple[float, list[int]]] = {}
    for line in tags["NMREDATA_ASSIGNMENT"]:
        hit = ASSIGNMENT.fullmatch(line)
        assert hit is not None, line
        assert hit["label"] not in labels  # a label names one signal
        labels[hit["label"]] = float(hit["shift"]), [int(word) for word in re.findall(r"\d+", hit["atoms"])]
    shifts = {str(number): shift for shift, numbers in labels.values() for number in numbers}
    assert shifts == pytest.approx(ETHANOL, abs=1e-3)
    for nucleus, symbol in (("1H", "H"), ("13C", "C")):
        spectrum = tags[f"NMREDATA_1D_{nucleus}"]
        # The package nmredata of npm (1.0.1) reads no spectrum without this line.
        assert [line for line in spectrum if re.fullmatch(r"Larmor=\d+\.\d+", line)]
        signals = [line for line in spectrum if not line.startswith((";", "Larmor", "Spectrum"))]
        assert signals
        for line in signals:
            hit = SIGNAL.fullmatch(line)
            assert hit is not None, line
            shift, numbers = labels[hit["label"]]  # a signal refers to an assignment
            atom = mol.GetAtomWithIdx(numbers[0] - 1)
            # `N` is the number of hydrogens: of the signal, or on the carbon.
            count = len(numbers) if symbol == "H" else sum(one.GetSymbol() == "H" for one in atom.GetNeighbors())
            assert (float(hit["shift"]), int(hit["count"])) == (shift, count)
            assert {mol.GetAtomWithIdx(number - 1).GetSymbol() for number in numbers} == {symbol}


def lines_of(text: str) -> list[str]:
    """The lines of a tag: each ends with a backslash."""
    assert all(line.endswith("\\") for line in text.splitlines())
    return [line.removesuffix("\\") for line in text.splitlines()]


def test_the_jcamp_links_a_block_for_each_nucleus(server: Server, ethanol: str) -> None:
    records = [
        (label.strip(), value.strip())
        for label, value in re.findall(r"^##([^=\n]+)=([^#]*)", exported(server, ethanol, "jcamp"), re.MULTILINE)
    ]
    assert records[:4] == [
        ("TITLE", "ethanol"), ("JCAMP-DX", "5.01"), ("DATA TYPE", "LINK"), ("BLOCKS", "2"),
    ]  # fmt: skip
    assert [value for label, value in records if label == ".OBSERVE NUCLEUS"] == ["^1H", "^13C"]
    assert sum(label == "END" for label, _ in records) == 3
    tables = [value for label, value in records if label == "PEAK TABLE"]
    points = [[float(hit) for hit in re.findall(r"^(-?\d+\.\d+), \d+", table, re.MULTILINE)] for table in tables]
    assert points[1] == pytest.approx([58.4, 18.3], abs=1e-3)
    assert points[0] == pytest.approx([3.72, 1.32, 1.25], abs=1e-3)


def test_the_csv_has_a_line_for_each_atom(server: Server, ethanol: str) -> None:
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(exported(server, ethanol, "csv"))))
    assert {row["atom"]: float(row["shift_ppm"]) for row in rows} == pytest.approx(ETHANOL, abs=1e-3)


def test_a_result_that_is_not_there_is_refused(server: Server, ethanol: str) -> None:
    refused(server.client.get(f"/v1/jobs/{ethanol}/export/qcschema"), 404, "file_unknown")
    assert server.client.get(f"/v1/jobs/{ethanol}/export/docx").status_code == 422
    unfinished = server.submit({"kind": "nmr", "smiles": "CO", "conformers": "none"})
    for form in ("csv", "qcschema"):
        refused(server.client.get(f"/v1/jobs/{unfinished}/export/{form}"), 409, "no_result")


def test_an_input_of_qcschema_is_accepted_and_a_wrong_one_refused(server: Server) -> None:
    text = '{"driver": "energy", "model": {"method": "GFN2-xTB"}, "molecule": {"symbols": ["H", "H"], "geometry": %s}}'
    form = {"kind": "qcschema", "files": [{"name": "in.json", "text": text % "[0, 0, 0, 0, 0, 1.4]"}]}
    job = server.submit(form)
    assert server.client.get(f"/v1/jobs/{job}").json()["job"]["kind"] == "xtb"
    wrong = form | {"files": [{"name": "in.json", "text": text % "[0, 0]"}]}
    refused(server.client.post("/v1/jobs", json=wrong), 422, "qcschema_invalid")
    refused(server.client.post("/v1/jobs", json=form | {"program": "nwchem"}), 422, "qcschema_unsupported")
