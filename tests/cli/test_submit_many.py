"""`submit many`: one job for each molecule, none for a line that is refused, and the same ones again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import Home

LIST = "CCO ethanol\nC1CC broken\nCO methanol\nOCC ethanol\n"


@pytest.fixture
def folder(home: Home) -> Path:
    home.extra |= {"QMRUNNER_XTB": "/bin/true", "QMRUNNER_NWCHEM": "/bin/true"}
    (home.path.parent / "set.smi").write_text(LIST)
    return home.path.parent


def test_every_good_line_becomes_a_job_of_the_group_and_the_file_again_gives_the_same(home: Home, folder: Path) -> None:
    first = home.run("submit", "many", "set.smi", "--priority", "3")
    assert first.returncode == 1
    assert "line 2: invalid_smiles" in first.stderr
    ids = [line.split()[0] for line in first.stdout.splitlines()]
    assert len(set(ids)) == 2  # two ways to write ethanol are one molecule
    listed = home.json("status", "--where", "group:set")["jobs"]
    assert {row["id"]: (row["name"], row["priority"]) for row in listed} == {
        ids[0]: ("ethanol", 3), ids[1]: ("methanol", 3),
    }  # fmt: skip
    again = home.run("submit", "many", "set.smi", "--json")
    assert f'"id": "{ids[1]}"' in again.stdout
    assert '"new": true' not in again.stdout
    other = home.run("submit", "many", "set.smi", "--group", "other", "--solvent", "water")
    assert not {line.split()[0] for line in other.stdout.splitlines()} & set(ids)


def test_a_check_prints_each_cost_and_stores_nothing(home: Home, folder: Path) -> None:
    shown = home.run("submit", "many", "set.smi", "--check")
    assert "C2H6O" in shown.stdout
    assert "3 of 4 molecules, about" in shown.stdout
    assert not home.path.exists()


def test_records_of_an_sdf_and_columns_of_a_table_are_submitted(home: Home, folder: Path) -> None:
    block = (
        "methane\n  x\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n"
        "    0.0000    0.0000    0.0000 C   0  0  0  0  0  0  0  0  0  0  0  0\nM  END\n$$$$\n"
    )
    (folder / "two.sdf").write_text(block + block.replace("methane", "").replace(" C ", " N "))
    ended = home.run("submit", "many", "two.sdf")
    assert ended.returncode == 0, ended.stderr
    found = home.json("status", "--where", "group:two")["jobs"]
    assert {(row["name"], row["structure"]) for row in found} == {("methane", "C"), (None, "N")}
    (folder / "t.csv").write_text("smiles,name,solvent,level\nCC,a,water,quick\n/etc/passwd,b,,\nx.sdf,c,,\n")
    ended = home.run("submit", "many", "t.csv")
    assert ended.returncode == 1
    assert ended.stderr.count("invalid_smiles") == 2
    (row,) = home.json("status", "--where", "group:t")["jobs"]
    assert row["name"] == "a"
