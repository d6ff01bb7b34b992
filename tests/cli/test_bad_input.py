"""Bad input ends with one clear message that names the fix, the right exit status, and nothing stored."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from qmrunner.store.session import Store
from qmrunner.store.tables import metadata
from tests.support import Daemon, Home

WATER = "3\nwater\nO 0 0 0.117\nH 0 0.757 -0.471\nH 0 -0.757 -0.471\n"
DECK = "geometry\n  He 0 0 0\nend\nbasis\n  * library 6-31g\nend\n"
FILES = {
    "water.xyz": WATER,
    "empty.xyz": "",
    "blank.nw": " \n\n",
    "torn.xyz": "3\nwater\nO 0 0 0.117\n",
    "words.xyz": "this is not a structure\n",
    "taskless.nw": DECK,
    "good.nw": DECK + "task scf\n",
    "xenon.xyz": "2\n\nXe 0 0 0\nH 0 0 1.6\n",
    "uranium.xyz": "3\n\nU 0 0 0\nF 0 0 2\nF 0 0 -2\n",
    "dimer.xyz": "6\n\n" + "".join(f"O {x} 0 0.117\nH {x} 0.757 -0.471\nH {x} -0.757 -0.471\n" for x in (0, 8)),
    "overlap.xyz": WATER.replace("-0.757", "0.758"),
    "methyl.xyz": "4\n\nC 0 0 0\nH 1.08 0 0\nH -0.54 0.935 0\nH -0.54 -0.935 0\n",
    "none.sdf": "$$$$\n",
    "hostile.nw": DECK + 'task shell "id"\n',
    ".nwchemrc": "nwchem_basis_library /srv/\n",
}
# What was typed → exit status, code, and a word of the fix.
BAD: dict[str, tuple[list[str], str, str]] = {
    "an invalid SMILES": (["nmr", "C1CC"], "invalid_smiles", "brackets"),
    "a SMILES with an impossible valence": (["nmr", "C(C)(C)(C)(C)C"], "invalid_smiles", "valences"),
    "a file that is not there": (["nmr", "watr.xyz"], "file_not_found", "did you mean water.xyz?"),
    "an empty file": (["nmr", "empty.xyz"], "empty_file", "give a file with content"),
    "an empty deck": (["nwchem", "blank.nw"], "empty_file", "give a file with content"),
    "an empty structure for xTB": (["xtb", "empty.xyz"], "empty_file", "give a file with content"),
    "a folder": (["xtb", "folder"], "unreadable_file", "give the path of a file in it"),
    "a file that cannot be read": (["xtb", "/proc/self/mem"], "unreadable_file", "permissions"),
    "a missing extra file": (["nwchem", "good.nw", "--with", "movecs"], "file_not_found", "check the path"),
    "a structure that is cut short": (["nmr", "torn.xyz"], "", ""),
    "a text that is no structure": (["xtb", "words.xyz"], "", ""),
    "an element that the basis lacks": (["nmr", "xenon.xyz"], "element_outside_basis", "remove the element"),
    "an element in a SMILES that the basis lacks": (["nmr", "C[U]"], "element_outside_basis", "remove the element"),
    "a multiplicity of the wrong parity": (["nmr", "CCO", "--mult", "2"], "charge_multiplicity", "--mult 1"),
    "a charge of the wrong parity": (["nmr", "water.xyz", "--charge", "1"], "radical", "--charge"),
    "a charge that contradicts the structure": (["nmr", "CCO", "--charge", "1"], "charge_mismatch", "--charge"),
    "unpaired electrons of the wrong parity": (["xtb", "water.xyz", "--", "--uhf", "1"], "", ""),
    "a charge for a neutral conformer search": (["conformers", "CCO", "--charge", "1"], "charge_mismatch", "--charge"),
    "a label that is none": (["xtb", "water.xyz", "--require", "Big Memory"], "label_invalid", "QMRUNNER_LABELS"),
    "a salt": (["nmr", "CC(=O)[O-].[Na+]"], "several_fragments", "the ion alone with its charge"),
    "a mixture": (["conformers", "CCO.O"], "several_fragments", "submit one molecule"),
    "a mixture as XYZ": (["nmr", "dimer.xyz"], "several_fragments", "submit one molecule"),
    "a metal that xTB lacks": (["conformers", "uranium.xyz"], "element_outside_basis", "a program that knows"),
    "a heavy element at production level": (["nmr", "CBr", "--level", "production"], "element_outside_basis", "draft"),
    "a radical": (["nmr", "[CH3]"], "radical", "electrons are paired"),
    "a radical as XYZ": (["nmr", "methyl.xyz", "--mult", "2"], "radical", "electrons are paired"),
    "a radical without its multiplicity": (["conformers", "methyl.xyz"], "charge_multiplicity", "--mult 2"),
    "a triplet": (["nmr", "CCO", "--mult", "3"], "radical", "electrons are paired"),
    "a molecule beyond the limit": (["nmr", "C" * 40], "too_many_atoms", "--max-atoms 122"),
    "a search beyond the limit": (["conformers", "C" * 80], "too_many_atoms", "--max-atoms 242"),
    "atoms that overlap": (["nmr", "overlap.xyz"], "atoms_overlap", "ångström"),
    "atoms that overlap, for CREST": (["crest", "overlap.xyz"], "atoms_overlap", "ångström"),
    "a file without a structure": (["conformers", "none.sdf"], "empty_file", "export the structure again"),
    "a search that is to find nothing": (["conformers", "CCO", "--max-conformers", "0"], "bad_number", "omit it"),
    "a search of nothing": (
        ["conformers", "CCO", "--conformers", "none"],
        "unknown_conformers",
        "auto, rdkit or crest",
    ),
    "an unknown solvent": (["nmr", "CCO", "--solvent", "chlorofrm"], "unknown_solvent", "did you mean chloroform?"),
    "an unknown level": (["nmr", "CCO", "--level", "prodution"], "unknown_level", "did you mean production?"),
    "a deck without a task": (["nwchem", "taskless.nw"], "", "task"),
    "a deck that runs a command": (["nwchem", "hostile.nw"], "deck_escapes", "--unconfined"),
    "a flag that runs a program": (["xtb", "water.xyz", "--", "--driver", "id"], "deck_escapes", "leave it out"),
    "a file that programs read at their start": (
        ["nwchem", "good.nw", "--with", ".nwchemrc"],
        "bad_file_name",
        "rename it",
    ),
    "an argument that leaves the folder": (["xtb", "water.xyz", "--", "--input", "../x"], "argument_escapes", "--with"),
}


@pytest.fixture
def place(home: Home) -> Home:
    """A home beside input files, with programs that are there by name."""
    for name, text in FILES.items():
        (home.path.parent / name).write_text(text)
    (home.path.parent / "folder").mkdir()
    true = shutil.which("true")
    assert true is not None
    home.extra |= {"QMRUNNER_XTB": true, "QMRUNNER_NWCHEM": true, "QMRUNNER_CREST": true, "QMRUNNER_MPIRUN": true}
    return home


def stored(home: Home) -> dict[str, Any]:
    """What there is of jobs: rows by table, and folders."""
    found: dict[str, Any] = {}
    path = home.path / "store.db"
    if path.is_file():
        store = Store(f"sqlite:///{path}")
        with store.read() as connection:
            counted = {
                t.name: connection.execute(select(func.count()).select_from(t)).scalar() for t in metadata.sorted_tables
            }
        store.close()
        found = {name: count for name, count in counted.items() if count and name != "workers"}
    for folder in ("jobs", "logs", "scratch"):
        for name in os.listdir(home.path / folder) if (home.path / folder).is_dir() else ():
            if folder != "logs":
                found[f"{folder}/{name}"] = "a folder"
    return found


def refused(ended: subprocess.CompletedProcess[str], status: int, code: str, fix: str) -> None:
    """One message on stderr: code, what was seen, the fix; no traceback and nothing on stdout."""
    assert ended.returncode == status, ended
    assert "Traceback" not in ended.stdout + ended.stderr
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"qmrunner: {code}"), ended.stderr
    assert ended.stderr.count("qmrunner: ") == 1
    remedy = ended.stderr.partition("  fix:  ")[2]
    assert fix in remedy
    assert remedy.strip()


@pytest.mark.parametrize("what", BAD)
def test_it_is_refused_with_one_message_and_nothing_stored(place: Home, what: str) -> None:
    words, code, fix = BAD[what]
    refused(place.run("submit", *words), 2, code, fix)
    assert stored(place) == {}
    assert not place.path.exists()


@pytest.mark.parametrize("level", ["quick", "draft", "production"])
def test_the_refusal_of_a_molecule_beyond_the_limit_has_the_cost(place: Home, level: str) -> None:
    said = place.run("submit", "nmr", "C" * 40, "--level", level).stderr
    hours = re.search(r"122 atoms are more than the limit of 100: estimated cost about (\d+) core hours", said)
    assert hours, said
    assert int(hours[1]) > 5


@pytest.mark.parametrize("what", ["an unknown solvent", "a deck without a task"])
def test_as_json_the_error_has_code_message_evidence_and_remedy(place: Home, what: str) -> None:
    words, code, fix = BAD[what]
    ended = place.run("submit", *words, "--json")
    assert (ended.returncode, ended.stderr) == (2, "")
    error = json.loads(ended.stdout)["error"]
    assert set(error) == {"code", "message", "evidence", "remedy"}
    assert error["code"].startswith(code)
    assert fix in error["remedy"]


@pytest.mark.parametrize("search", ["none", "rdkit"])
def test_a_smiles_that_cannot_be_embedded_ends_its_job_with_code_and_remedy(
    place: Home, daemon: Callable[..., Daemon], search: str
) -> None:
    daemon()
    ended = place.run("submit", "nmr", "C1C[C@@H]2C[C@@H]1CC2", "--conformers", search, "--wait", timeout_s=90)
    assert ended.returncode == 1, ended
    assert "embed_failed" in ended.stdout
    assert "remedy:   check stereochemistry and ring strain" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


def test_when_all_conformers_fail_the_job_reports_it_with_the_reason_of_the_first(
    place: Home, daemon: Callable[..., Daemon]
) -> None:
    xtb = place.path.parent / "xtb"
    xtb.write_text("#!/bin/sh\necho '   * xtb version 6.7.1'\necho 'abnormal termination of xtb' >&2\nexit 1\n")
    xtb.chmod(0o755)
    place.extra |= {"QMRUNNER_XTB": str(xtb), "QMRUNNER_MAX_RETRIES": "0"}
    daemon()
    ended = place.run("submit", "conformers", "CCO", "--conformers", "rdkit", "--wait", timeout_s=90)
    assert ended.returncode == 1, ended
    (job,) = place.json("status")["jobs"]
    why = place.json("why", job["id"])
    assert (why["code"], why["class"]) == ("all_conformers_failed", None)
    assert "Check structure, charge and multiplicity" in why["summary"]
    assert why["evidence"]["text"]
    assert why["remedy"]


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("xtb", "by a wrong path"),
        ("xtb", "by an empty PATH"),
        ("crest", "by a wrong path"),
        ("nwchem", "by a wrong path"),
        ("nwchem", "by an empty PATH"),
    ],
)
def test_a_job_whose_engine_is_not_installed_is_refused(place: Home, kind: str, how: str) -> None:
    variable = f"QMRUNNER_{kind.upper()}"
    more = {variable: "/nonexistent"} if how == "by a wrong path" else {variable: "", "PATH": "/nonexistent"}
    ended = place.run("submit", kind, "good.nw" if kind == "nwchem" else "water.xyz", **more)
    refused(ended, 4, "engine_missing", variable)
    assert stored(place) == {}


def test_a_prediction_without_nwchem_is_refused(place: Home) -> None:
    refused(place.run("submit", "nmr", "CCO", QMRUNNER_NWCHEM="/nonexistent"), 4, "engine_missing", "QMRUNNER_NWCHEM")
    assert stored(place) == {}


def test_a_home_below_a_regular_file_is_refused(place: Home) -> None:
    blocked = Home(place.path.parent / "water.xyz" / "home", place.extra)
    refused(
        place.run("submit", "xtb", "water.xyz", QMRUNNER_HOME=str(blocked.path)), 4, "home_unwritable", "QMRUNNER_HOME"
    )
    ended = place.run("run", QMRUNNER_HOME=str(blocked.path))
    # The daemon's stdout is its events: each check that failed is one.
    assert {json.loads(line)["event"] for line in ended.stdout.splitlines()} == {"check", "checks_done"}
    ended.stdout = ""
    refused(ended, 4, "home_unwritable", "QMRUNNER_HOME")
    assert (place.path.parent / "water.xyz").read_text() == WATER


def test_a_store_below_a_regular_file_is_refused(place: Home) -> None:
    url = f"sqlite:///{place.path.parent}/water.xyz/store.db"
    ended = place.run("submit", "xtb", "water.xyz", QMRUNNER_STORE_URL=url)
    refused(ended, 4, "store_unavailable", "writable")
    assert stored(place) == {}


@pytest.fixture
def read_only(place: Home) -> Iterator[Path]:
    """An empty folder on a disk that is mounted read-only: permissions do not bind root."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    folder = place.path.parent / "read-only"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_home_or_store_on_a_read_only_disk_is_refused(place: Home, read_only: Path) -> None:
    ended = place.run("submit", "xtb", "water.xyz", QMRUNNER_HOME=str(read_only / "home"))
    refused(ended, 4, "home_unwritable", "QMRUNNER_HOME")
    ended = place.run("submit", "xtb", "water.xyz", QMRUNNER_STORE_URL=f"sqlite:///{read_only}/store.db")
    refused(ended, 4, "store_unavailable", "writable")
    assert stored(place) == {}


def test_a_damaged_store_is_refused_and_left_as_it_is(place: Home) -> None:
    place.path.mkdir()
    (place.path / "store.db").write_bytes(b"not a database at all\n" * 400)
    for command in (["submit", "xtb", "water.xyz"], ["status"], ["run"]):
        refused(place.run(*command), 4, "store_corrupt", "backup")
    assert (place.path / "store.db").read_bytes() == b"not a database at all\n" * 400
    assert os.listdir(place.path / "jobs") == []


def test_a_store_of_a_newer_program_is_refused(place: Home) -> None:
    from sqlalchemy import text

    assert place.run("db", "upgrade").returncode == 0
    store = Store(place.settings.store)
    with store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    for command in (["submit", "xtb", "water.xyz"], ["run"], ["db", "upgrade"]):
        refused(place.run(*command), 4, "store_newer", "install the version")
    assert place.run("db", "check").returncode == 4
    assert stored(place) == {}


def test_wrong_settings_are_refused_all_at_once_by_every_command(place: Home) -> None:
    for command in (["submit", "xtb", "water.xyz"], ["run"], ["health"]):
        ended = place.run(*command, QMRUNNER_SLOTS="none", QMRUNNER_HOEM="/x")
        refused(ended, 2, "settings_invalid", "environment")
        assert "QMRUNNER_SLOTS" in ended.stderr
        assert "did you mean QMRUNNER_HOME?" in ended.stderr
    assert not place.path.exists()


def test_a_second_daemon_on_the_same_home_is_refused_and_the_first_continues(
    home: Home, daemon: Callable[..., Daemon]
) -> None:
    first = daemon()
    refused(home.run("run"), 4, "home_in_use", "QMRUNNER_HOME")
    assert home.run("health").returncode == 0
    assert first.running()
    assert [worker["pid"] for worker in home.json("status")["workers"]] == [first.pid]
    assert first.stop() == 0
    assert home.processes() == []
