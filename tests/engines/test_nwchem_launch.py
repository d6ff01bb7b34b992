"""NWChem is started by the launcher of the MPI it was built with, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qmrunner.engines.base import Installed
from qmrunner.engines.nwchem import launch
from qmrunner.errors import NotReadyError

OPEN_MPI_4 = "mpirun (Open MPI) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/\n"
OPEN_RTE_4 = "mpirun.openmpi (OpenRTE) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/\n"
OPEN_MPI_5 = "mpirun (Open MPI) 5.0.7\n\nReport bugs to https://www.open-mpi.org/community/help/\n"
HYDRA = (
    "HYDRA build details:\n    Version:                                 4.0.2\n    Release Date: Thu Apr  7 12:34:45\n"
)
INTEL = "Intel(R) MPI Library for Linux* OS, Version 2021.9 Build 20230307 (id: d82b3071db)\n"
LDD_OPENMPI = (
    "\tlibmpi_mpifh.so.40 => /lib/libmpi_mpifh.so.40 (0x00007)\n\tlibmpi.so.40 => /lib/libmpi.so.40 (0x00007)\n"
)
LDD_MPICH = "\tlibmpichfort.so.12 => /lib/libmpichfort.so.12 (0x0)\n\tlibmpich.so.12 => /lib/libmpich.so.12 (0x0)\n"
STATIC = "\tnot a dynamic executable\n"
PROGRESS_RANK = "(NWChem) 7.2.2\nranks per node, must be at least\n"


def probed(version: str, libraries: str, facts: str = "(NWChem) 7.0.2\n", binary: str = "/opt/bin/nwchem") -> Installed:
    found = Installed("nwchem", binary, facts={"mpirun": "/usr/bin/mpirun"})
    return launch.read_probe(found, [version, libraries, facts])


@pytest.mark.parametrize(
    ("output", "flavour"),
    [
        (OPEN_MPI_4, "openmpi4"),
        (OPEN_RTE_4, "openmpi4"),
        (OPEN_MPI_5, "openmpi5"),
        (HYDRA, "mpich"),
        (INTEL, "mpich"),
        ("mpirun: command of something else\n", None),
        ("", None),
    ],
)
def test_the_launcher_is_known_by_its_version_text(output: str, flavour: str | None) -> None:
    assert launch.launcher_flavour(output) == flavour


def test_the_binary_is_known_by_its_libraries_and_a_static_one_by_its_name() -> None:
    assert launch.binary_flavour(LDD_OPENMPI) == "openmpi"
    assert launch.binary_flavour(LDD_MPICH) == "mpich"
    assert launch.binary_flavour(STATIC) is None
    assert probed(OPEN_MPI_4, STATIC, binary="/usr/bin/nwchem.mpich").facts["binary_flavour"] == "mpich"


def test_libraries_that_the_loader_does_not_find_are_named() -> None:
    assert probed(OPEN_MPI_4, LDD_OPENMPI).facts["libraries_missing"] == []
    broken = LDD_OPENMPI + "\tlibscalapack.so.2 => not found\n"
    assert probed(OPEN_MPI_4, broken).facts["libraries_missing"] == ["libscalapack.so.2"]


def test_the_version_is_read_without_a_run() -> None:
    assert probed(OPEN_MPI_4, LDD_OPENMPI).version == "7.0.2"


@pytest.mark.parametrize(("version", "libraries"), [(HYDRA, LDD_OPENMPI), (OPEN_MPI_4, LDD_MPICH), ("", LDD_OPENMPI)])
def test_a_launcher_of_another_mpi_is_refused_by_name(version: str, libraries: str) -> None:
    with pytest.raises(NotReadyError, match="/usr/bin/mpirun") as refused:
        launch.launch(probed(version, libraries), 2)
    assert refused.value.code == "launcher_mismatch"


def test_a_missing_binary_and_a_missing_launcher_are_reported() -> None:
    with pytest.raises(NotReadyError) as refused:
        launch.launch(Installed("nwchem", None), 1)
    assert refused.value.code == "engine_missing"
    alone = launch.locate({}, lambda name: "/usr/bin/nwchem" if name == "nwchem" else None)
    with pytest.raises(NotReadyError, match="mpirun is not"):
        launch.launch(launch.read_probe(alone, ["", LDD_OPENMPI, ""]), 1)


def test_names_on_path_are_matched_so_that_binary_and_launcher_fit(tmp_path: Path) -> None:
    (tmp_path / "nwchem.mpich").touch()
    (tmp_path / "nwchem").symlink_to(tmp_path / "nwchem.mpich")
    there = {name: str(tmp_path / name) for name in ("nwchem", "mpirun", "mpirun.mpich", "mpirun.openmpi")}
    found = launch.locate({"nwchem": None, "mpirun": None}, there.get)
    assert found.facts["mpirun"] == str(tmp_path / "mpirun.mpich")


def test_configured_paths_come_first() -> None:
    def which(name: str) -> str | None:
        return name if name.startswith("/opt/") else f"/usr/bin/{name}"

    found = launch.locate({"nwchem": "/opt/nwchem", "mpirun": "/opt/mpirun"}, which)
    assert (found.path, found.facts["mpirun"]) == ("/opt/nwchem", "/opt/mpirun")


def test_a_configured_program_that_is_not_there_is_not_replaced_by_another() -> None:
    found = launch.locate({"nwchem": "/nonexistent"}, lambda name: None if name.startswith("/") else f"/usr/bin/{name}")
    assert found.path is None


def test_every_flavour_gets_its_own_flags() -> None:
    four = launch.launch(probed(OPEN_MPI_4, LDD_OPENMPI), 4)
    hydra = launch.launch(probed(HYDRA, LDD_MPICH), 4)
    assert four.argv == ("/usr/bin/mpirun", "-np", "4", "/opt/bin/nwchem")
    assert hydra.argv == ("/usr/bin/mpirun", "-launcher", "fork", "-n", "4", "/opt/bin/nwchem")


def test_every_flavour_gets_its_own_variables(tmp_path: Path) -> None:
    four = launch.environment(probed(OPEN_MPI_4, LDD_OPENMPI), tmp_path)
    five = launch.environment(probed(OPEN_MPI_5, LDD_OPENMPI), tmp_path)
    hydra = launch.environment(probed(HYDRA, LDD_MPICH), tmp_path)
    assert four["OMPI_MCA_hwloc_base_binding_policy"] == "none"
    assert four["OMPI_MCA_btl_vader_single_copy_mechanism"] == "none"
    assert five["PRTE_MCA_hwloc_default_binding_policy"] == "none"
    assert five["OMPI_MCA_smsc"] == "^cma"
    for variables in (four, five, hydra):
        assert variables["OMP_NUM_THREADS"] == "1"
        assert variables["GFORTRAN_UNBUFFERED_PRECONNECTED"] == "1"
        assert variables["TZ"] == "UTC"
        assert variables["TMPDIR"] == str(tmp_path)


def test_sessions_and_shared_memory_files_stay_in_the_attempt(tmp_path: Path) -> None:
    four = launch.private_directories("openmpi4", tmp_path)
    assert set(four.values()) == {str(tmp_path)}
    assert set(four) == {"TMPDIR", "OMPI_MCA_btl_vader_backing_directory"}
    assert "OMPI_MCA_btl_sm_backing_directory" in launch.private_directories("openmpi5", tmp_path)


def test_the_progress_rank_of_an_mpi_pr_build_is_seen() -> None:
    assert probed(OPEN_MPI_4, LDD_OPENMPI, PROGRESS_RANK).facts["progress_rank"] is True
    assert probed(OPEN_MPI_4, LDD_OPENMPI).facts["progress_rank"] is False


def test_probing_runs_nothing_when_nothing_was_found() -> None:
    absent = launch.locate({}, lambda name: None)
    assert absent.path is None
    assert launch.probe_argv(absent) == ()
    assert launch.read_probe(absent, []) == replace(absent)
