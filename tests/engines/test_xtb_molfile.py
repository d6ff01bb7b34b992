"""MOL and SDF files as RDKit writes them reach xTB in the form that it reads."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from qmrunner.engines.xtb import molfile
from qmrunner.engines.xtb.read import read_log
from qmrunner.errors import UsageError
from qmrunner.model.jobs import Submission
from qmrunner.submission import job_kinds
from tests.support import missing
from tests.surroundings import plain

SMILES = ["CC(=O)[O-]", "C[NH3+]", "[CH3]", "[2H]C", "C#N", "[He]", "C1CC1", "O=C=O"]


def block(smiles: str, *, v3000: bool = False) -> bytes:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(mol, randomSeed=7)
    return str(Chem.MolToV3KMolBlock(mol) if v3000 else Chem.MolToMolBlock(mol)).encode()


def bonds(data: bytes) -> list[list[bytes]]:
    lines = data.splitlines()
    first = 4 + int(lines[3][:3])
    return [line.split() for line in lines[first : first + int(lines[3][3:6])]]


@pytest.mark.parametrize("smiles", SMILES)
def test_each_row_of_bonds_gets_seven_fields(smiles: str) -> None:
    data = block(smiles)
    whole = molfile.padded(data)
    if not bonds(data):
        assert whole is None
        return
    assert whole is not None
    assert [row[:4] for row in bonds(whole)] == bonds(data)
    assert {len(row) for row in bonds(whole)} == {7}
    assert molfile.padded(whole) is None
    read, again = (Chem.MolFromMolBlock(text.decode(), removeHs=False) for text in (data, whole))
    assert Chem.MolToSmiles(read) == Chem.MolToSmiles(again)


NO_BLOCKS = [b"", b"\n", b"a\nb\nc\n", b"a\nb\nc\n  x  yV2000\n", b"\x00\xff" * 40, block("CO", v3000=True)]


@pytest.mark.parametrize("data", NO_BLOCKS)
def test_what_is_no_v2000_block_stays_as_it_is(data: bytes) -> None:
    assert molfile.padded(data) is None


def test_line_ends_are_kept() -> None:
    data = block("CO").replace(b"\n", b"\r\n")
    whole = molfile.padded(data)
    assert whole is not None
    assert whole.count(b"\r\n") == data.count(b"\r\n") == whole.count(b"\n")


@pytest.mark.parametrize(("name", "text", "several"), [
    ("a.mol", block("CO"), False),
    ("a.sdf", block("CO") + b"$$$$\n", False),
    ("a.sdf", block("CO") + b"$$$$\n" + block("C") + b"$$$$\n", True),
])  # fmt: skip
def test_a_submission_keeps_the_original_and_notes_what_xtb_leaves_out(
    name: str, text: bytes, several: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(text)
    made = job_kinds.xtb(str(tmp_path / name))
    assert made.files[f"original-{name}"] == text
    assert {len(row) for row in bonds(made.files[name])} == {7}
    notes = made.params["notes"]
    assert any("completed with zeros" in note for note in notes)
    assert any("computes the first alone" in note for note in notes) == several


@pytest.mark.parametrize("v3000", [False, True])
@pytest.mark.parametrize(
    ("smiles", "charge"),
    [("CC(=O)[O-]", -1), ("C[NH3+]", 1), ("[O-]C(=O)C[NH3+]", 0), ("[O-]C(=O)C(=O)[O-]", -2), ("CO", 0)],
)
def test_a_charge_of_0_that_xtb_would_ignore_is_refused(smiles: str, charge: int, v3000: bool, tmp_path: Path) -> None:
    data = block(smiles, v3000=v3000)
    assert molfile.charge(data) == charge == molfile.charge(data.replace(b"\n", b"\r\n"))
    (tmp_path / "a.mol").write_bytes(data)
    for flag in ("--chrg", "-c"):
        assert job_kinds.xtb(str(tmp_path / "a.mol"), [flag, str(charge or 1)]).kind == "xtb"
        if charge == 0:
            assert job_kinds.xtb(str(tmp_path / "a.mol"), [flag, "0"]).kind == "xtb"
            continue
        with pytest.raises(UsageError, match="would ignore a charge of 0") as refused:
            job_kinds.xtb(str(tmp_path / "a.mol"), [flag, "0"])
        assert refused.value.code == "charge_mismatch"


@pytest.mark.engine
def test_the_real_program_reads_the_charge_of_a_file_of_rdkit(tmp_path: Path) -> None:
    program = shutil.which(os.environ.get("QMRUNNER_XTB", "xtb")) or missing("xTB is not installed")
    (tmp_path / "a.mol").write_bytes(molfile.padded(block("CC(=O)[O-]")) or b"")
    with (tmp_path / "log").open("wb") as log:
        env = plain() | {"OMP_NUM_THREADS": "1"}
        command = [program, "a.mol", "--norestart"]
        subprocess.run(command, cwd=tmp_path, env=env, stdout=log, stderr=subprocess.STDOUT, timeout=60, check=True)
    found = read_log(tmp_path / "log")
    assert (found.electrons, found.terminated_normally) == (24, True)


@pytest.mark.parametrize("name", ["v2000-cr.mol", "v3000-cr.mol", "v2000-cr.sdf", "cr.xyz"])
@pytest.mark.parametrize("kind", [job_kinds.xtb, job_kinds.crest])
def test_lines_that_end_in_carriage_returns_alone_are_written_for_the_program(
    name: str, kind: Callable[[str], Submission]
) -> None:
    source = Path(__file__).parents[1] / "chemistry" / "structures" / name
    made = kind(str(source))
    assert b"\r" not in made.files[name]
    assert len(made.files[name].splitlines()) > 4
    assert made.files[f"original-{name}"] == source.read_bytes()
    assert any("carriage returns" in note for note in made.params["notes"])


def test_instructions_behind_carriage_returns_are_found(tmp_path: Path) -> None:
    (tmp_path / "coord").write_bytes(b"$coord\r 0 0 0.2 o\r 0 1.4 -0.9 h\r 0 -1.4 -0.9 h\r$external\r$end\r")
    with pytest.raises(UsageError) as raised:
        job_kinds.xtb(str(tmp_path / "coord"))
    assert raised.value.code in {"deck_escapes", "argument_escapes"}
