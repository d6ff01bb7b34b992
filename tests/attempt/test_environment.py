"""The environment of an engine: what it gets, what it does not, and that every difference is on record."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmrunner.attempt.environment import Composed, compose
from qmrunner.guardian import process_tree

WORK = Path("/scratch/job/step/1/work")
DAEMON = {"PATH": "/usr/bin", "HOME": "/home/me"}


def composed(*wanted: tuple[str, str], **inherited: str) -> Composed:
    return compose({**DAEMON, **inherited}, dict(wanted), WORK, "job/step/1")


def test_what_conflicts_with_nothing_is_passed_on_and_no_note_is_made() -> None:
    got = composed()
    assert DAEMON.items() <= got.variables.items()
    assert got.variables[process_tree.MARKER] == "job/step/1"
    assert got.conflicts == ()
    assert got.notes() == ()


def test_an_engine_that_wants_nothing_gets_one_thread_utc_and_its_own_temporary_folder() -> None:
    got = composed().variables
    assert (got["OMP_NUM_THREADS"], got["TZ"], got["TMPDIR"]) == ("1", "UTC", str(WORK))


def test_what_the_engine_wants_stands_over_what_was_inherited_and_is_reported_with_both_values() -> None:
    got = composed(("OMP_NUM_THREADS", "2,1"), OMP_NUM_THREADS="64", TZ="Europe/Berlin")
    assert got.variables["OMP_NUM_THREADS"] == "2,1"
    assert got.notes() == ("environment: OMP_NUM_THREADS 64 replaced by 2,1; TZ Europe/Berlin replaced by UTC",)


@pytest.mark.parametrize(
    "name",
    [
        "OMPI_COMM_WORLD_RANK", "OMPI_MCA_btl", "PMIX_SERVER_URI4", "PMI_FD", "SLURM_JOB_ID", "PBS_JOBID", "I_MPI_PIN",
        "LSB_MCPU_HOSTS", "PE_HOSTFILE", "FLUX_JOB_ID", "PALS_RANKID", "COBALT_NODEFILE", "JSM_NAMESPACE_RANK",
        "OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "MKL_DYNAMIC", "GOTO_NUM_THREADS",
        "GFORTRAN_UNBUFFERED_ALL", "NWCHEM_MEMORY_TOTAL",
    ],
)  # fmt: skip
def test_what_would_disturb_an_engine_is_dropped_with_a_reason(name: str) -> None:
    got = composed(**{name: "7"})
    assert name not in got.variables
    assert [(c.name, c.was, c.now) for c in got.conflicts] == [(name, "7", None)]
    assert got.conflicts[0].why
    assert got.notes() == (f"environment: dropped {name}=7",)


def test_many_variables_of_one_launcher_are_reported_by_their_number() -> None:
    got = composed(**{f"SLURM_{i}": "1" for i in range(40)})
    assert got.notes() == ("environment: dropped 40 variables SLURM_*",)


def test_a_secret_of_the_launcher_is_not_written_down() -> None:
    got = composed(SLURM_JWT="abc.def.ghi")
    assert "abc" not in repr(got.conflicts) + "".join(got.notes())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_TOKEN", "hunter2"), ("PGPASSWORD", "hunter2"), ("SSH_AUTH_SOCK", "hunter2"), ("api_key", "hunter2"),
        ("https_proxy", "http://me:hunter2@proxy:3128"), ("DATABASE_URL", "postgresql://me:hunter2@host/db"),
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_reaches_no_engine_and_no_note(name: str, value: str) -> None:
    assert "hunter2" not in repr(composed(**{name: value}))


def test_settings_are_never_passed_on_and_never_reported() -> None:
    got = composed(QMRUNNER_STORE_URL="postgresql://me:secret@host/db")
    assert "secret" not in repr(got)


def test_the_operators_basis_library_stands_and_gets_the_slash_that_nwchem_needs() -> None:
    got = composed(NWCHEM_BASIS_LIBRARY="/opt/basis")
    assert got.variables["NWCHEM_BASIS_LIBRARY"] == "/opt/basis/"
    assert [change.name for change in got.conflicts] == ["NWCHEM_BASIS_LIBRARY"]
    assert composed(NWCHEM_BASIS_LIBRARY="/opt/basis/").conflicts == ()


def test_credentials_of_object_storage_stay_with_the_daemon_and_no_note_mentions_them() -> None:
    got = composed(
        AWS_SECRET_ACCESS_KEY="s", AWS_ENDPOINT_URL="http://minio:9000", QMRUNNER_STORE_URL="postgresql://u:p@h/d"
    )
    assert [name for name in got.variables if name.startswith(("AWS_", "QMRUNNER_"))] == [process_tree.MARKER]
    assert got.notes() == ()
