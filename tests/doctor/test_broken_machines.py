"""Machines that are broken on purpose: `doctor` names the fault, prints the remedy, and ends with status 4."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

import pytest

from qmrunner.store import schema
from tests.doctor.machines import NO_NWCHEM, Doctor, emulated, mounted, needs_nwchem
from tests.support import ROOT, Home

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def test_a_binary_for_another_machine(doctor: Doctor, other_machine_binary: Path) -> None:
    found = doctor(QMRUNNER_XTB=str(other_machine_binary)).fault("xtb", "exec_format")
    assert str(other_machine_binary) in found["text"]
    assert os.uname().machine in found["text"]


def test_a_configured_program_that_is_not_there(doctor: Doctor) -> None:
    found = doctor(QMRUNNER_NWCHEM="/nowhere/nwchem").fault("nwchem", "engine_missing")
    assert "/nowhere/nwchem" in found["text"]


@needs_nwchem
@pytest.mark.engine
def test_a_basis_library_that_is_not_there(doctor: Doctor) -> None:
    found = doctor(NWCHEM_BASIS_LIBRARY="/nowhere/libraries").fault("basis", "basis_library_missing")
    assert "/nowhere/libraries" in found["text"]


@needs_nwchem
@pytest.mark.engine
def test_a_basis_library_without_its_slash_in_the_file_of_the_user(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / ".nwchemrc").write_text("nwchem_basis_library /usr/share/nwchem/libraries\n")
    found = doctor(HOME=str(tmp_path)).fault("basis", "basis_library_missing")
    assert "/usr/share/nwchem/libraries/`" in found["remedy"]


@needs_nwchem
@pytest.mark.engine
def test_a_launcher_of_another_mpi(doctor: Doctor, tmp_path: Path) -> None:
    launcher = tmp_path / "mpirun"
    launcher.write_text("#!/bin/sh\necho 'HYDRA build details:'; echo 'Version: 4.0.2'\n")
    launcher.chmod(0o755)
    found = doctor(QMRUNNER_MPIRUN=str(launcher)).fault("launcher", "launcher_mismatch")
    assert "openmpi" in found["text"]
    assert "mpich" in found["text"]
    assert "QMRUNNER_MPIRUN" in found["remedy"]


def test_a_temporary_folder_that_is_mounted_read_only(doctor: Doctor, mounts: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    prefix = mounted(mounts, f"mount -t tmpfs -o ro tmpfs {quote(str(folder))}")
    found = doctor(prefix=prefix, TMPDIR=str(folder)).fault("tmpdir", "tmpdir_unusable")
    assert f"TMPDIR={folder}" in found["text"]
    assert "Read-only" in found["text"]


def test_scratch_on_a_tiny_full_disk(doctor: Doctor, mounts: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    there = quote(str(folder))
    prefix = mounted(
        mounts, f"mount -t tmpfs -o size=1m tmpfs {there}\nhead -c 2000000 /dev/zero >{there}/x 2>/dev/null || true"
    )
    told = doctor(prefix=prefix, QMRUNNER_SCRATCH=str(folder))
    told.fault("scratch_space", "scratch_full")
    assert "No space left" in told.fault("scratch", "home_unwritable")["text"]


def test_scratch_without_free_inodes(doctor: Doctor, mounts: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    prefix = mounted(mounts, f"mount -t tmpfs -o size=500m,nr_inodes=100 tmpfs {quote(str(folder))}")
    assert "files" in doctor(prefix=prefix, QMRUNNER_SCRATCH=str(folder)).fault("scratch_space", "scratch_full")["text"]


def test_the_shared_memory_of_a_container_by_default(doctor: Doctor, mounts: list[str]) -> None:
    """64 MiB are a warning: small runs work. The status stays 0, if nothing else is wrong."""
    told = doctor(prefix=mounted(mounts, "mount -t tmpfs -o size=64m tmpfs /dev/shm"))
    found = told.fault("shm", "shm_small", "warn")
    assert "64 of 64 MiB" in found["text"]
    assert "--shm-size" in found["remedy"]


def test_shared_memory_that_is_used_up(doctor: Doctor, mounts: list[str]) -> None:
    script = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    doctor(prefix=mounted(mounts, script)).fault("shm", "shm_exhausted")


def test_a_low_hard_limit_of_the_stack(doctor: Doctor) -> None:
    told = doctor(prefix=["sh", "-c", 'ulimit -Ss 2048; ulimit -Hs 2048; exec "$@"', "sh"])
    found = told.fault("stack", "stack_limit")
    assert "hard limit 2 MiB" in found["text"]
    assert "ulimit" in found["remedy"]


def test_a_limit_that_ends_running_engines(doctor: Doctor) -> None:
    told = doctor(prefix=["sh", "-c", 'ulimit -f 1000000; exec "$@"', "sh"])
    assert "file size" in told.fault("limits", "limits_set", "warn")["text"]


def test_a_kernel_that_does_not_hand_over_orphans(doctor: Doctor) -> None:
    found = doctor(prefix=emulated()).fault("kernel", "kernel_unfit")
    assert "PR_SET_CHILD_SUBREAPER: Invalid argument" in found["text"]
    assert "built for the CPU" in found["remedy"]


def test_a_clock_far_in_the_past(doctor: Doctor, tmp_path: Path) -> None:
    folder = tmp_path / "inject"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import time\ntime.time = lambda: 86400.0\n")
    found = doctor(python_path=str(folder), PYTHONDONTWRITEBYTECODE="1").fault("clock", "clock_in_the_past")
    assert "1970-01-02" in found["text"]


def test_variables_that_disagree_with_those_of_engines(doctor: Doctor, no_scheduler: None) -> None:
    told = doctor(OMP_NUM_THREADS="8", OMPI_MCA_btl="tcp", SLURM_JOB_ID="7", XTBPATH="/opt/xtb")
    found = told.fault("environment", "environment_conflict", "warn")
    for word in ("OMP_NUM_THREADS=8", "OMPI_MCA_btl=tcp", "XTBPATH"):
        assert word in found["text"]
    assert "SLURM_JOB_ID" not in found["text"]  # a batch job needs its variables: engines do not get them
    assert "doctor --env" in found["remedy"]


def test_a_store_of_a_newer_version(doctor: Doctor, home: Home) -> None:
    _store_at(home, "9999")
    found = doctor().fault("store", "store_newer")
    assert "9999" in found["text"]
    assert "upgrade qmrunner" in found["remedy"]


def test_a_store_of_an_older_version(doctor: Doctor, home: Home) -> None:
    _store_at(home, schema.REVISIONS[0])
    found = doctor().fault("store", "store_outdated")
    assert schema.HEAD in found["text"]
    assert "`qmrunner db upgrade`" in found["remedy"]


def test_a_store_that_is_no_database(doctor: Doctor, home: Home) -> None:
    home.path.mkdir()
    (home.path / "store.db").write_text("not a database " * 100)
    doctor().fault("store", "store_corrupt")


def test_a_store_whose_server_does_not_answer(doctor: Doctor) -> None:
    found = doctor(QMRUNNER_STORE_URL="postgresql://me:secret@127.0.0.1:1/jobs").fault(
        "postgresql", "store_unavailable"
    )
    assert "127.0.0.1" in found["text"]
    assert "secret" not in str(found)


def test_a_queue_whose_server_does_not_answer(doctor: Doctor) -> None:
    found = doctor(QMRUNNER_QUEUE_URL="redis://:secret@127.0.0.1:1/0").fault("redis", "queue_unavailable")
    assert "127.0.0.1:1" in found["text"]
    assert "secret" not in str(found)


def test_settings_that_cannot_be_read_hide_nothing_of_the_machine(doctor: Doctor) -> None:
    told = doctor(QMRUNNER_HEART="1")
    assert "QMRUNNER_HEART" in told.fault("settings", "settings_invalid")["text"]
    assert {"cores", "shm", "stack", "clock"} <= set(told.checks)


def test_a_file_of_settings_that_others_may_change(doctor: Doctor, tmp_path: Path) -> None:
    file = tmp_path / "shared.env"
    file.write_text("QMRUNNER_SLOTS=1\n")
    file.chmod(0o666)
    found = doctor(QMRUNNER_CONFIG=str(file)).fault("settings", "settings_file_open", "warn")
    assert f"chmod go-w {file}" in found["remedy"]


def test_a_home_that_is_a_file(doctor: Doctor, home: Home) -> None:
    home.path.write_text("")
    told = doctor()
    told.fault("home", "home_unwritable")
    assert "a file has the name of a folder" in told.checks["jobs"]["remedy"]


@pytest.fixture
def volume() -> Iterator[Path]:
    """A folder that everybody can reach; those of pytest are for their owner only."""
    folder = Path(tempfile.mkdtemp(prefix="qmrunner-volume-", dir="/tmp"))  # others can reach it
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]


@needs_root
def test_a_home_of_another_user(volume: Path) -> None:
    if subprocess.run([*NOBODY, sys.executable, "-c", "import typer"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("this checkout cannot be read by others")
    home = Home(volume / "home")
    home.path.mkdir()
    home.path.chmod(0o755)
    told = Doctor(home)(prefix=NOBODY, HOME="/")
    found = told.fault("home", "home_unwritable")
    assert "Permission denied" in found["text"]
    assert f"`chown -R 65534:65534 {home.path}`" in found["remedy"]
    assert told.checks["root"]["text"].startswith("runs as user id 65534") or NO_NWCHEM
    assert "chown" in told.fault("owner", "owner_wrong")["remedy"]


@needs_root
def test_a_home_of_another_user_seen_by_root(doctor: Doctor, home: Home) -> None:
    home.path.mkdir()
    os.chown(home.path, 1000, 1000)
    found = doctor().fault("owner", "owner_foreign", "warn")
    assert "1000:1000" in found["text"]
    assert "-u 1000:1000" in found["remedy"]


def _store_at(home: Home, revision: str) -> None:
    home.path.mkdir()
    with sqlite3.connect(home.path / "store.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    connection.close()
